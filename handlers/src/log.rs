//! [`LogHandler`]: prints one line per event to standard output.

use std::borrow::Cow;
use std::io;

use async_trait::async_trait;

use crate::lines::LineWriter;
use crate::{
    ConnectionStatus, Delivery, Event, EventHandler, Extra, HandlerError, MessageAction,
    MessageEvent, MessageStatus, MessageType, SourceChange, SourceEvent, escape_controls,
};

/// Prints one line for each event (`use = "log"`).
///
/// ```text
/// New message from +1234567890: Hello!
/// New message from +1234567890: [image] Check this out!
/// Sent message to +1234567890: Hello!
/// Message 3EB0C767D0F2B64C7C5B edited: Hello you!
/// Message 3EB0C767D0F2B64C7C5B status: read
/// Connection status: connected
/// Unknown event presence (session 408f7372)
/// Source codeskytz is quiet since 2026-01-08T12:00:00Z
/// Source codeskytz session 408f7372 is heard again
/// ```
///
/// An absent field is shown as `-`, and one of the wrong type as its JSON. Control characters are
/// escaped, so that no sender can forge a line.
#[derive(Debug)]
pub struct LogHandler {
    stdout: LineWriter,
}

impl LogHandler {
    /// Starts the thread that prints.
    ///
    /// # Errors
    ///
    /// When the system cannot start another thread.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            stdout: LineWriter::stdout()?,
        })
    }
}

#[async_trait]
impl EventHandler for LogHandler {
    async fn handle(&self, event: &Event, _: &Delivery) -> Result<(), HandlerError> {
        let line = line(event);
        let line = escape_controls(&line).into_owned();
        self.stdout.write(line.into_bytes()).await?;
        Ok(())
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Message(event) => {
            let from = shown(event.from.as_deref(), &event.extra, "from");
            format!("New message from {from}: {}", content(event))
        }
        Event::Sent(event) => {
            let to = event.chat.as_deref().unwrap_or(ABSENT);
            format!("Sent message to {to}: {}", content(event))
        }
        Event::Change(event) => {
            let id = event.target.as_deref().unwrap_or(ABSENT);
            let action = event.action.as_ref().map_or(ABSENT, MessageAction::as_str);
            match content(event) {
                Cow::Borrowed(ABSENT) => format!("Message {id} {action}"),
                content => format!("Message {id} {action}: {content}"),
            }
        }
        Event::Status(event) => {
            let id = shown(event.message_id.as_deref(), &event.extra, "messageId");
            let status = event.status.as_ref().map(MessageStatus::as_str);
            let status = shown(status, &event.extra, "status");
            format!("Message {id} status: {status}")
        }
        Event::Connection(event) => {
            let status = event.status.as_ref().map(ConnectionStatus::as_str);
            let status = shown(status, &event.extra, "status");
            format!("Connection status: {status}")
        }
        Event::Unknown(event) => {
            let name = event.name.as_deref().unwrap_or(ABSENT);
            let session = event.session_id.as_deref().unwrap_or(ABSENT);
            format!("Unknown event {name} (session {session})")
        }
        Event::Source(event) => source_line(event),
    }
}

/// What a message says, with its type if it is not a text.
fn content(event: &MessageEvent) -> Cow<'_, str> {
    let message = shown(event.message.as_deref(), &event.extra, "message");
    let kind = match &event.kind {
        None | Some(MessageType::Text) => return message.into(),
        Some(kind) => kind,
    };
    let text = match event.caption() {
        "" => message,
        caption => caption,
    };
    match text {
        "" | ABSENT => format!("[{kind}]").into(),
        text => format!("[{kind}] {text}").into(),
    }
}

fn source_line(event: &SourceEvent) -> String {
    let mut subject = format!("Source {}", event.source);
    if let Some(session) = &event.session_id {
        subject += &format!(" session {session}");
    }
    match (event.change, event.last_event_at) {
        (SourceChange::Quiet, Some(at)) => format!("{subject} is quiet since {at}"),
        (SourceChange::Quiet, None) => format!("{subject} is quiet: no event of it is known"),
        (SourceChange::Resumed, _) => format!("{subject} is heard again"),
    }
}

/// The field's text; or its JSON if it has another type; or [`ABSENT`].
fn shown<'a>(value: Option<&'a str>, extra: &'a Extra, field: &str) -> &'a str {
    value
        .or_else(|| extra.get(field).filter(|json| json.len() <= 80))
        .unwrap_or(ABSENT)
}

const ABSENT: &str = "-";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StatusEvent, UnknownEvent, UnknownReason};

    fn message(kind: Option<&str>, text: Option<&str>, caption: Option<&str>) -> Event {
        Event::Message(MessageEvent {
            from: Some("+1234567890".into()),
            kind: kind.map(MessageType::from),
            message: text.map(str::to_owned),
            caption: caption.map(str::to_owned),
            ..MessageEvent::default()
        })
    }

    #[test]
    fn the_line_of_each_message() {
        let table = [
            (message(Some("text"), Some("Hello!"), None), "Hello!"),
            (message(None, Some("Hello!"), None), "Hello!"),
            (message(Some("text"), None, None), "-"),
            (message(Some("image"), None, Some("Look!")), "[image] Look!"),
            (message(Some("image"), Some(""), Some("")), "[image]"),
            (message(Some("text"), Some("Hello!"), Some("")), "Hello!"),
            (message(Some("sticker"), None, None), "[sticker]"),
            (message(Some("poll"), Some("Tea?"), None), "[poll] Tea?"),
        ];
        for (event, text) in table {
            assert_eq!(
                line(&event),
                format!("New message from +1234567890: {text}")
            );
        }
    }

    #[test]
    fn the_lines_of_own_messages_and_changes() {
        let mut own = MessageEvent {
            chat: Some("+1".into()),
            message: Some("Hi".into()),
            target: Some("ABC".into()),
            ..MessageEvent::default()
        };
        assert_eq!(line(&Event::Sent(own.clone())), "Sent message to +1: Hi");
        own.action = Some(MessageAction::Edited);
        assert_eq!(line(&Event::Change(own.clone())), "Message ABC edited: Hi");
        own = MessageEvent {
            action: Some(MessageAction::Deleted),
            message: None,
            ..own
        };
        assert_eq!(line(&Event::Change(own)), "Message ABC deleted");
    }

    #[test]
    fn a_field_of_the_wrong_type_shows_as_json() {
        let mut event = StatusEvent {
            message_id: Some("ABC".into()),
            ..StatusEvent::default()
        };
        assert_eq!(line(&Event::Status(event.clone())), "Message ABC status: -");
        event.extra.push("status", "3".into());
        assert_eq!(line(&Event::Status(event.clone())), "Message ABC status: 3");
        event.status = Some(MessageStatus::Read);
        assert_eq!(line(&Event::Status(event)), "Message ABC status: read");
    }

    #[test]
    fn the_line_of_an_unknown_event() {
        let mut event = UnknownEvent::new(UnknownReason::UnknownName);
        event.name = Some("presence".into());
        event.session_id = Some("408f".into());
        let text = line(&Event::Unknown(event));
        assert_eq!(text, "Unknown event presence (session 408f)");
    }

    #[test]
    fn the_line_of_a_source() {
        let after = std::time::Duration::from_secs(1800);
        let mut event = SourceEvent::new(SourceChange::Quiet, "codeskytz", after);
        let shown = |event: &SourceEvent| line(&Event::Source(event.clone()));
        let text = "Source codeskytz is quiet: no event of it is known";
        assert_eq!(shown(&event), text);
        event.last_event_at = Some("2026-01-08T12:00:00Z".parse().unwrap());
        let text = "Source codeskytz is quiet since 2026-01-08T12:00:00Z";
        assert_eq!(shown(&event), text);
        event.session_id = Some("408f".into());
        let text = "Source codeskytz session 408f is quiet since 2026-01-08T12:00:00Z";
        assert_eq!(shown(&event), text);
        event.change = SourceChange::Resumed;
        assert_eq!(
            shown(&event),
            "Source codeskytz session 408f is heard again"
        );
    }
}
