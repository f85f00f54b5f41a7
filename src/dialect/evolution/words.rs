//! The words of Evolution API, and the key of a message.

use crate::dialect::object;
use crate::dialect::picked::{Picked, text};
use crate::dialect::whatsapp::{person, phone};
use crate::{ConnectionStatus, MessageStatus, Timestamp};

/// Who has written a message: the one of several ids that is a phone number, or else the person as it is written.
pub(super) fn writer(key: &mut Picked<'_, { KEY.len() }>, is_of_one: bool) -> Option<String> {
    let of_person = ["participantAlt", "participantPn", "participant", "senderPn"];
    let of_chat = ["remoteJidAlt", "remoteJid"];
    let of_chat = of_chat.into_iter().filter(|_| is_of_one);
    let mut ids = of_person.into_iter().chain(of_chat);
    let phone_of = |name: &str| {
        key.get(name)
            .and_then(text)
            .filter(|id| phone(id).is_some())
    };
    if let Some(found) = ids.find_map(phone_of) {
        return Some(person(&found));
    }
    let written = ["participant", "remoteJid"];
    let mut written = written
        .into_iter()
        .filter(|name| is_of_one || *name == "participant");
    written.find_map(|name| key.get(name).and_then(text))
}

/// Seconds, also as the two halves of a number of 64 bits.
pub(super) fn time(json: &str) -> Option<Timestamp> {
    let mut halves = Picked::of(Some(json), ["low", "high"]);
    if !halves.is_object() {
        return object::timestamp(json);
    }
    let mut half = |name: &str| halves.take(name, |json| json.parse::<i64>().ok());
    let (low, high) = (half("low")?, half("high")?);
    let is_half = |half: i64| half.unsigned_abs() <= u64::from(u32::MAX);
    let seconds = (is_half(low) && is_half(high)).then_some((high << 32) | (low & 0xffff_ffff))?;
    Timestamp::from_second(seconds).ok()
}

pub(super) fn status(word: &str) -> MessageStatus {
    match word {
        "ERROR" => MessageStatus::Failed,
        "PENDING" => MessageStatus::Pending,
        "SERVER_ACK" | "SENT" => MessageStatus::Sent,
        "DELIVERY_ACK" | "DELIVERED" => MessageStatus::Delivered,
        "READ" => MessageStatus::Read,
        "PLAYED" => MessageStatus::Played,
        "DELETED" => MessageStatus::Deleted,
        other => other.into(),
    }
}

pub(super) fn connection(word: &str) -> ConnectionStatus {
    match word {
        "open" => ConnectionStatus::Connected,
        "close" => ConnectionStatus::Disconnected,
        "refused" => ConnectionStatus::Failed,
        other => (&*other.to_lowercase()).into(),
    }
}

pub(super) const KEY: [&str; 8] = [
    "remoteJid",
    "fromMe",
    "id",
    "participant",
    "participantAlt",
    "participantPn",
    "remoteJidAlt",
    "senderPn",
];

/// The beginnings of the names of events that have no kind.
pub(super) const WITHOUT_KIND: [&str; 14] = [
    "application.startup",
    "instance.",
    "remove.instance",
    "messages.set",
    "presence.",
    "contacts.",
    "chats.",
    "groups.",
    "group.",
    "group-participants.",
    "labels.",
    "call",
    "typebot.",
    "new.jwt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_in_halves() {
        let table = [
            (
                r#"{"low":1764064800,"high":0,"unsigned":true}"#,
                Some(1_764_064_800),
            ),
            (r#"{"low":-1,"high":0}"#, Some(4_294_967_295)),
            (r#"{"low":1,"high":1}"#, Some(4_294_967_297)),
            (r#"{"low":1}"#, None),
            (r#"{"low":99999999999,"high":0}"#, None),
            ("1764064800", Some(1_764_064_800)),
            ("\"1764064800\"", Some(1_764_064_800)),
            ("[]", None),
        ];
        for (json, seconds) in table {
            assert_eq!(time(json).map(Timestamp::as_second), seconds, "{json}");
        }
    }
}
