//! [`Meta`]: the webhooks of Meta's WhatsApp Cloud API, of which one body holds many events. What a message says
//! is read in `meta/content.rs`.

mod content;

use std::collections::HashMap;

use bytestring::ByteString;

use self::content::MESSAGE;
use super::collector::{Collector, gateway, owned};
use super::content::ContentHash;
use super::picked::{Picked, each, scalar, text};
use super::whatsapp::is_digits;
use super::{ContentHasher, Dialect, object};
use crate::{
    ChatType, Event, MessageAction, MessageError, MessageEvent, StatusEvent, UnknownReason,
};

/// The dialect of Meta's [WhatsApp Cloud API](https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks):
/// `{object, entry: [{id, changes: [{field, value}]}]}`.
///
/// A body may hold events of several phone numbers. The session of an event is the id of its phone number, or
/// else that of the account. Bodies about anything but WhatsApp are one [`Event::Unknown`].
///
/// ```
/// use offhook::dialect::{Dialect, Meta};
///
/// let body = r#"{"object":"whatsapp_business_account","entry":[{"id":"9","changes":[{"field":"messages","value":{
///     "messages":[{"from":"4917","type":"text","text":{"body":"Hi"}},{"from":"4918","type":"sticker"}]}}]}]}"#;
/// let events = Meta.events(&body.into());
/// assert_eq!(events.len(), 2);
/// assert_eq!(events[0].as_message().unwrap().from(), "+4917");
/// assert_eq!(events[1].session_id(), Some("9"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Meta;

gateway!(Meta, "meta");

impl Meta {
    fn read(&self, body: &ByteString, all: &mut Collector<'_>) {
        let whole = match Picked::of_body(body, ["object", "entry"]) {
            Ok(whole) => whole,
            Err(reason) => return all.broken(reason),
        };
        let name = whole.get("object").and_then(text);
        if name.as_deref() == Some(WHATSAPP) {
            each(whole.get("entry"), |entry| of_entry(entry, all));
            return;
        }
        let mut account = None;
        each(whole.get("entry"), |entry| {
            account = account
                .take()
                .or_else(|| Picked::of(entry, ["id"]).scalar("id"));
        });
        let reason = match whole.get("object") {
            None => UnknownReason::NoName,
            Some(_) if name.is_none() => UnknownReason::NameNotText,
            Some(_) => UnknownReason::NoKind,
        };
        all.unknown((name.as_deref(), account.as_deref()), reason, &whole);
    }
}

/// The changes of one account.
fn of_entry(json: Option<&str>, all: &mut Collector<'_>) {
    let entry = Picked::of(json, ["id", "changes"]);
    let account = entry.get("id").and_then(scalar);
    each(entry.get("changes"), |json| {
        let change = Picked::of(json, ["field", "value"]);
        let value = change.inner("value", VALUE);
        let phone = value
            .inner("metadata", ["phone_number_id"])
            .scalar("phone_number_id")
            .filter(|phone| !phone.is_empty());
        let name = change.get("field").and_then(text);
        let change_of = Change {
            name: name.as_deref(),
            session: phone.as_deref().or(account.as_deref()),
            persons: persons(value.get("contacts")),
        };
        let mut is_empty = true;
        let mut items = |name: &str, one: &mut dyn FnMut(&str)| {
            let list = value.get(name).unwrap_or_default();
            object::for_each_item(list, |item| {
                is_empty = false;
                one(item);
            });
        };
        items("messages", &mut |json| change_of.message(json, false, all));
        items("message_echoes", &mut |json| {
            change_of.message(json, true, all);
        });
        items("statuses", &mut |json| change_of.status(json, all));
        if is_empty {
            let reason = match change.get("field") {
                None => UnknownReason::NoName,
                Some(_) if name.is_none() => UnknownReason::NameNotText,
                Some(_) => UnknownReason::NoKind,
            };
            all.unknown((change_of.name, change_of.session), reason, &change);
        }
    });
}

/// What surrounds the messages and statuses of one change.
struct Change<'a> {
    name: Option<&'a str>,
    session: Option<&'a str>,
    /// The names of the persons, by their numbers and ids.
    persons: HashMap<String, String>,
}

impl Change<'_> {
    fn message(&self, json: &str, is_own: bool, all: &mut Collector<'_>) {
        let mut message = Picked::of(Some(json), MESSAGE);
        let word = message.get("type").and_then(text);
        if matches!(word.as_deref(), Some("system" | "request_welcome")) {
            return all.unknown((self.name, self.session), UnknownReason::NoKind, &message);
        }
        let event = |all: &mut Collector<'_>| {
            let mut event = MessageEvent::default();
            (event.name, event.session_id) = owned((self.name, self.session));
            event.message_id = message.text("id");
            event.from_me = message.is_object().then_some(is_own);
            self.persons(&mut message, is_own, &mut event);
            event.timestamp = message.time("timestamp");
            event.reply_to = message.inner("context", ["id"]).words("id");
            let action = match word.as_deref() {
                Some("edit") => {
                    let mut edit = message.inner("edit", ["original_message_id", "message"]);
                    event.target = edit.text("original_message_id");
                    let mut edited = edit.inner("message", MESSAGE);
                    content::read(&mut edited, &mut event);
                    Some(MessageAction::Edited)
                }
                Some("revoke") => {
                    let mut revoke = message.inner("revoke", ["original_message_id"]);
                    event.target = revoke.text("original_message_id");
                    Some(MessageAction::Deleted)
                }
                _ => {
                    content::read(&mut message, &mut event);
                    None
                }
            };
            event.extra = all.extra(&message, &[]);
            if action.is_some() {
                event.action = action;
                return Event::Change(event);
            }
            if is_own {
                Event::Sent(event)
            } else {
                Event::Message(event)
            }
        };
        // Of a change the time too: a text may be changed back to an earlier one.
        let without: &[&str] = match word.as_deref() {
            Some("edit" | "revoke") => &[],
            _ => &["timestamp"],
        };
        all.push(event, |hasher| hasher.object(json, without));
    }

    /// Who wrote a message, and where. A person without a phone number has an id.
    fn persons(
        &self,
        message: &mut Picked<'_, { MESSAGE.len() }>,
        is_own: bool,
        event: &mut MessageEvent,
    ) {
        let number = message.words("from");
        let id = message.words("from_user_id");
        let ids = [&number, &id].into_iter().flatten();
        let names: Vec<&String> = ids.filter_map(|id| self.persons.get(id)).collect();
        event.from_name = names.first().map(|name| (*name).clone());
        let writer = number.or(id);
        event.from = writer.as_deref().map(person);
        let group = message.words("group_id");
        event.chat_type = Some(ChatType::Private);
        if group.is_some() {
            event.chat_type = Some(ChatType::Group);
            event.chat = group;
        } else if is_own {
            event.chat = message.words("to").or_else(|| message.words("to_user_id"));
        } else {
            event.chat = writer;
        }
        event.chat_type = event.chat_type.take().filter(|_| event.chat.is_some());
    }

    fn status(&self, json: &str, all: &mut Collector<'_>) {
        let mut status = Picked::of(Some(json), STATUS);
        let event = |all: &mut Collector<'_>| {
            let mut event = StatusEvent::default();
            (event.name, event.session_id) = owned((self.name, self.session));
            event.message_id = status.text("id");
            event.status = status.text("status").map(|word| (&*word).into());
            event.from_me = status.is_object().then_some(true);
            event.chat = status
                .words("recipient_id")
                .or_else(|| status.words("recipient_user_id"));
            let is_group = status.get("recipient_type") == Some("\"group\"");
            event.recipient = if is_group {
                let participant = status.words("recipient_participant_id");
                participant.or_else(|| status.words("recipient_participant_user_id"))
            } else {
                event.chat.clone()
            };
            event.recipient = event.recipient.as_deref().map(person);
            let chat_type = if is_group {
                ChatType::Group
            } else {
                ChatType::Private
            };
            event.chat_type = event.chat.is_some().then_some(chat_type);
            event.timestamp = status.time("timestamp");
            event.error = status.get("errors").and_then(error);
            event.extra = all.extra(&status, &[]);
            Event::Status(event)
        };
        all.push(event, |hasher| hasher.object(json, &["timestamp"]));
    }
}

/// The names that stand beside the messages.
fn persons(contacts: Option<&str>) -> HashMap<String, String> {
    let mut persons = HashMap::new();
    object::for_each_item(contacts.unwrap_or_default(), |json| {
        let mut contact = Picked::of(Some(json), ["wa_id", "user_id", "profile"]);
        let Some(name) = contact.inner("profile", ["name"]).words("name") else {
            return;
        };
        for id in ["wa_id", "user_id"] {
            if let Some(id) = contact.words(id).filter(|_| persons.len() < MAX_PERSONS) {
                persons.insert(id, name.clone());
            }
        }
    });
    persons
}

/// The first of several errors.
fn error(json: &str) -> Option<MessageError> {
    let mut first = None;
    object::for_each_item(json, |item| first = first.or(Some(item)));
    let mut told = Picked::of(first, ["code", "title", "message", "error_data"]);
    let mut error = MessageError::default();
    error.code = told.scalar("code");
    error.title = told.words("title").or_else(|| told.words("message"));
    error.detail = told.inner("error_data", ["details"]).words("details");
    told.is_object().then_some(error)
}

/// A person: a phone number is nothing but digits.
fn person(id: &str) -> String {
    if is_digits(id) {
        format!("+{id}")
    } else {
        id.to_owned()
    }
}

/// The object of bodies about WhatsApp.
const WHATSAPP: &str = "whatsapp_business_account";

/// So many names beside the messages are known.
const MAX_PERSONS: usize = 4096;

const VALUE: [&str; 5] = [
    "metadata",
    "contacts",
    "messages",
    "message_echoes",
    "statuses",
];

const STATUS: [&str; 9] = [
    "id",
    "status",
    "timestamp",
    "recipient_id",
    "recipient_user_id",
    "recipient_type",
    "recipient_participant_id",
    "recipient_participant_user_id",
    "errors",
];
