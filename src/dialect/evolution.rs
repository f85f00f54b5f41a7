//! [`Evolution`]: the events of Evolution API. What a message says is read in `evolution/content.rs`, its words and keys in
//! `evolution/words.rs`.

mod content;
mod words;

use bytestring::ByteString;

use self::words::{KEY, WITHOUT_KIND, connection, status, time, writer};
use super::collector::{Collector, gateway, name_of, owned};
use super::content::ContentHash;
use super::picked::{Picked, each, text};
use super::whatsapp::{chat_type, person};
use super::{ContentHasher, Dialect};
use crate::{
    ChatType, ConnectionEvent, ConnectionStatus, Event, MessageAction, MessageEvent, StatusEvent,
    UnknownReason,
};

/// The dialect of [Evolution API](https://doc.evolution-api.com): `{event, instance, data, sender, …}`.
///
/// The body also has the instance's API key, which is in no typed event. `date_time` is a local time that says it
/// is UTC, so statuses and connections have no time.
///
/// ```
/// use offhook::dialect::{Dialect, Evolution};
///
/// let body = r#"{"event":"messages.upsert","data":{"key":{"remoteJid":"4917@s.whatsapp.net"},"message":{"conversation":"Hi"}}}"#;
/// let events = Evolution.events(&body.into());
/// let message = events[0].as_message().unwrap();
/// assert_eq!((message.from(), message.message()), ("+4917", "Hi"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Evolution;

gateway!(Evolution, "evolution", SECRET_FIELDS);

/// What surrounds the data of a body.
struct Envelope<'a> {
    name: &'a str,
    session: Option<&'a str>,
    /// Our own chat id.
    me: Option<&'a str>,
}

impl Evolution {
    fn read(&self, body: &ByteString, all: &mut Collector<'_>) {
        let whole = match Picked::of_body(body, ["event", "instance", "data", "sender"]) {
            Ok(whole) => whole,
            Err(reason) => return all.broken(reason),
        };
        let (session, me) = (
            whole.get("instance").and_then(text),
            whole.get("sender").and_then(text),
        );
        let unknown = |all: &mut Collector<'_>, name: Option<&str>, reason| {
            all.unknown_with((name, session.as_deref()), reason, &whole, &[API_KEY], None);
        };
        let name = match name_of(whole.get("event")) {
            Ok(name) => name,
            Err(reason) => return unknown(all, None, reason),
        };
        let envelope = Envelope {
            name: &name,
            session: session.as_deref(),
            me: me.as_deref(),
        };
        let data = whole.get("data");
        match &*name {
            "messages.upsert" | "send.message" => each(data, |one| envelope.message(one, all)),
            "messages.edited" | "send.message.update" => {
                each(data, |one| envelope.protocol(one, all));
            }
            "messages.delete" => each(data, |one| envelope.deleted(one, all)),
            "messages.update" => each(data, |one| envelope.update(one, all)),
            "connection.update" | "status.instance" | "logout.instance" | "qrcode.updated" => {
                each(data, |one| envelope.connection(one, all));
            }
            other => {
                let is_known = WITHOUT_KIND.iter().any(|known| other.starts_with(known));
                let reason = if is_known {
                    UnknownReason::NoKind
                } else {
                    UnknownReason::UnknownName
                };
                unknown(all, Some(other), reason);
            }
        }
    }
}

impl Envelope<'_> {
    fn message(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut data = Picked::of(json, MESSAGE);
        let event = |all: &mut Collector<'_>| {
            let mut key = data.inner("key", KEY);
            let mut event = self.of_key(&mut key);
            event.message_id = key.text("id");
            let name = data.words("pushName");
            event.from_name = name.filter(|name| event.from_me != Some(true) || name != OWN_NAME);
            event.timestamp = data.take("messageTimestamp", time);
            event.reply_to = data.inner("contextInfo", ["stanzaId"]).words("stanzaId");
            content::read(data.get("message"), &mut event);
            event.extra = all.extra(&data, &[]);
            if event.from_me == Some(true) {
                Event::Sent(event)
            } else {
                Event::Message(event)
            }
        };
        let json = json.unwrap_or_default();
        // An own message may come twice, with another status.
        all.push(event, |hasher| {
            hasher.object(json, &["messageTimestamp", "status"])
        });
    }

    /// A message of the protocol itself: an edit, or a deletion.
    fn protocol(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut data = Picked::of(json, ["key", "type", "editedMessage", "timestampMs"]);
        let edited = data
            .get("editedMessage")
            .filter(|edited| edited.starts_with('{'));
        let is_deletion = matches!(data.get("type"), Some("\"REVOKE\"" | "0"));
        if data.is_object() && edited.is_none() && !is_deletion {
            let named = (Some(self.name), self.session);
            return all.unknown(named, UnknownReason::NoKind, &data);
        }
        let event = |all: &mut Collector<'_>| {
            let mut key = data.inner("key", KEY);
            let mut event = self.of_key(&mut key);
            event.target = key.text("id");
            if edited.is_some() {
                content::read(edited, &mut event);
                event.action = Some(MessageAction::Edited);
            } else if is_deletion {
                event.action = Some(MessageAction::Deleted);
            }
            event.timestamp = data.time("timestampMs");
            event.extra = all.extra(&data, &[]);
            Event::Change(event)
        };
        let json = json.unwrap_or_default();
        // Its time too: a text may be changed back to an earlier one.
        all.push(event, |hasher| hasher.object(json, &[]));
    }

    /// The data is the key of a message, or a row with a key.
    fn deleted(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let row = Picked::of(json, ["key"]);
        let of_row = row.get("key").filter(|key| key.starts_with('{'));
        let event = |all: &mut Collector<'_>| {
            let mut key = Picked::of(of_row.or(json), KEY);
            let mut event = self.of_key(&mut key);
            event.target = key.text("id");
            event.action = Some(MessageAction::Deleted);
            event.extra = all.extra(&row, &[]);
            Event::Change(event)
        };
        let json = of_row.or(json).unwrap_or_default();
        all.push(event, |hasher| hasher.object(json, &[]));
    }

    /// What the key of a message says of it.
    fn of_key(&self, key: &mut Picked<'_, { KEY.len() }>) -> MessageEvent {
        let mut event = MessageEvent::default();
        (event.name, event.session_id) = owned((Some(self.name), self.session));
        event.chat = key.text("remoteJid");
        event.chat_type = event.chat.as_deref().and_then(chat_type);
        event.from_me = key.flag("fromMe");
        event.from = if event.from_me == Some(true) {
            self.me.map(person)
        } else {
            let has_own = !matches!(event.chat_type, Some(ChatType::Group | ChatType::Broadcast));
            writer(key, has_own)
        };
        event
    }

    fn update(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut data = Picked::of(json, UPDATE);
        let event = |all: &mut Collector<'_>| {
            let mut key = data.inner("key", ["id"]);
            let mut event = StatusEvent::default();
            (event.name, event.session_id) = owned((Some(self.name), self.session));
            event.message_id = data.text("keyId").or_else(|| key.text("id"));
            event.status = data.text("status").map(|word| status(&word));
            event.chat = data.text("remoteJid");
            event.chat_type = event.chat.as_deref().and_then(chat_type);
            event.from_me = data.flag("fromMe");
            event.recipient = data.words("participant").as_deref().map(person);
            event.extra = all.extra(&data, &[]);
            Event::Status(event)
        };
        let json = json.unwrap_or_default();
        all.push(event, |hasher| hasher.object(json, &["messageId"]));
    }

    fn connection(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut data = Picked::of(json, CONNECTION);
        let event = |all: &mut Collector<'_>| {
            let mut event = ConnectionEvent::default();
            (event.name, event.session_id) = owned((Some(self.name), self.session));
            match self.name {
                "status.instance" => {
                    event.status = Some(ConnectionStatus::Disconnected);
                    event.reason = data.scalar("disconnectionReasonCode");
                }
                "logout.instance" => event.status = Some(ConnectionStatus::LoggedOut),
                "qrcode.updated" => {
                    event.qr = data.inner("qrcode", ["code"]).words("code");
                    // Without a code there are no more of them.
                    event.status = Some(if event.qr.is_some() {
                        ConnectionStatus::Qr
                    } else {
                        ConnectionStatus::Failed
                    });
                    event.reason = { event.qr.is_none() }
                        .then(|| data.words("message"))
                        .flatten();
                }
                _ => event.status = data.text("state").map(|word| connection(&word)),
            }
            event.reason = event.reason.or_else(|| data.scalar("statusReason"));
            event.extra = all.extra(&data, &[]);
            Event::Connection(event)
        };
        all.push(event, |_| false);
    }
}

/// The field with the instance's API key.
const API_KEY: &str = "apikey";

pub(super) const SECRET_FIELDS: &[&str] = &[API_KEY];

/// What stands for the name of who sends from this number.
const OWN_NAME: &str = "Você";

const MESSAGE: [&str; 5] = [
    "key",
    "pushName",
    "message",
    "messageTimestamp",
    "contextInfo",
];

const UPDATE: [&str; 6] = [
    "key",
    "keyId",
    "remoteJid",
    "fromMe",
    "participant",
    "status",
];

const CONNECTION: [&str; 5] = [
    "state",
    "statusReason",
    "disconnectionReasonCode",
    "qrcode",
    "message",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_key_is_in_no_event() {
        for name in [
            "presence.update",
            "new",
            "messages.upsert",
            "messages.edited",
            "logout.instance",
        ] {
            let body = format!(r#"{{"event":"{name}","data":{{"type":5}},"apikey":"hidden"}}"#);
            let events = Evolution.events(&body.into());
            assert!(!format!("{events:?}").contains("hidden"), "{events:?}");
        }
        let events = Evolution.events(&r#"{"apikey":"hidden"}"#.into());
        assert!(!format!("{events:?}").contains("hidden"), "{events:?}");
    }
}
