//! Outlines of events: what must be known of an event to hand it over in order and to find it again, without
//! its content.
//!
//! They are kept with bodies that have a `Content-Encoding`, so that such a body is decoded only for a
//! handler that reads it. Other bodies are read again, which costs little.

use super::name::cut;
use super::reader::unknown;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::EventKind;
use crate::{ConnectionEvent, Event, MessageEvent, StatusEvent, UnknownReason};

/// The event with its name, its session, and what tells its conversation and its status; each is at most
/// 1,024 bytes long.
pub(crate) fn outline(event: &Event) -> Event {
    let mut outline = match event {
        Event::Message(event) => Event::Message(of_message(event)),
        Event::Sent(event) => Event::Sent(of_message(event)),
        Event::Change(event) => Event::Change(of_message(event)),
        Event::Status(event) => {
            let mut outline = StatusEvent::default();
            outline.message_id = short(&event.message_id);
            outline.recipient = short(&event.recipient);
            outline.status =
                { event.status.as_ref() }.map(|status| (&*cut(status.as_str())).into());
            Event::Status(outline)
        }
        Event::Connection(_) => Event::Connection(ConnectionEvent::default()),
        // The reason is with the content, and with what is odd.
        Event::Unknown(_) => unknown(UnknownReason::UnknownName),
        Event::Source(event) => return Event::Source(event.clone()),
        #[allow(unreachable_patterns)]
        _ => unknown(UnknownReason::UnknownName),
    };
    if let Some(name) = event.name() {
        outline.set_name(&cut(name));
    }
    if let Some(session) = event.session_id() {
        outline.set_session_id(&cut(session));
    }
    outline
}

fn of_message(event: &MessageEvent) -> MessageEvent {
    let mut outline = MessageEvent::default();
    outline.message_id = short(&event.message_id);
    // Its lane is all that it is for.
    outline.from = short(if event.chat.is_some() {
        &event.chat
    } else {
        &event.from
    });
    outline
}

fn short(text: &Option<String>) -> Option<String> {
    text.as_deref().map(|text| cut(text).into_owned())
}

/// Gives the texts of an outline to `put`: its kind, name, message id, sender (chat or person; of a status the
/// recipient) and status. The session is kept elsewhere.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn write_outline(event: &Event, mut put: impl FnMut(Option<&str>)) {
    let (message_id, from, status) = match event {
        Event::Message(event) | Event::Sent(event) | Event::Change(event) => {
            (&event.message_id, &event.from, None)
        }
        Event::Status(event) => (&event.message_id, &event.recipient, event.status.as_ref()),
        _ => (&None, &None, None),
    };
    put(Some(event.kind().as_str()));
    put(event.name());
    put(message_id.as_deref());
    put(from.as_deref());
    put(status.map(|status| status.as_str()));
}

/// Reads an outline of the texts that [`write_outline`] gave. `None` if `take` has none.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn read_outline(mut take: impl FnMut() -> Option<Option<String>>) -> Option<Event> {
    let kind = take()?;
    let [name, message_id, from, status] = [take()?, take()?, take()?, take()?];
    let message = |message_id, from| {
        let mut event = MessageEvent::default();
        (event.message_id, event.from) = (message_id, from);
        event
    };
    let mut outline = match kind?.parse().ok() {
        Some(EventKind::Message) => Event::Message(message(message_id, from)),
        Some(EventKind::Sent) => Event::Sent(message(message_id, from)),
        Some(EventKind::Change) => Event::Change(message(message_id, from)),
        Some(EventKind::Status) => {
            let mut event = StatusEvent::default();
            event.message_id = message_id;
            event.recipient = from;
            event.status = status.map(|status| status.as_str().into());
            Event::Status(event)
        }
        Some(EventKind::Connection) => Event::Connection(ConnectionEvent::default()),
        // Of a later version, too.
        _ => unknown(UnknownReason::UnknownName),
    };
    if let Some(name) = name {
        outline.set_name(&name);
    }
    Some(outline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Codeskytz, Dialect as _};

    #[test]
    fn an_outline_is_read_as_it_was_written() {
        let bodies = [
            r#"{"event":"message","sessionId":"1","messageId":"m","from":"+1","message":"long","x":1}"#,
            r#"{"event":"status","messageId":"m","status":"read","timestamp":5}"#,
            r#"{"status":"connected"}"#,
            r#"{"event":"presence","a":1}"#,
            "[]",
        ];
        for body in bodies {
            let mut event = outline(&Codeskytz.events(&body.into())[0]);
            let mut texts = Vec::new();
            write_outline(&event, |text| texts.push(text.map(str::to_owned)));
            let mut texts = texts.into_iter();
            let read = read_outline(|| texts.next()).unwrap();
            if let Some(session) = event.session_id() {
                assert_eq!(session, "1");
                let mut read = read;
                read.set_session_id("1");
                assert_eq!(read, event);
            } else {
                assert_eq!(read, event, "{body}");
            }
            assert!(event.extra_mut().is_some_and(|extra| extra.is_empty()));
        }
        assert_eq!(read_outline(|| None), None);
    }

    #[test]
    fn an_outline_is_short() {
        let long = "x".repeat(100_000);
        let body = format!(r#"{{"messageId":"{long}","from":"{long}","message":"{long}"}}"#);
        let Event::Message(outline) = outline(&Codeskytz.events(&body.into())[0]) else {
            panic!()
        };
        assert_eq!(outline.message, None);
        assert_eq!(outline.from, Some(cut(&long).into_owned()));
        assert_eq!(outline.message_id, outline.from);
    }
}
