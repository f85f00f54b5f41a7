//! Test events in the gateway's documented shape.

use clap::ValueEnum;
use offhook::Timestamp;
use serde::Serialize;

/// The kinds that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// A text message
    Message,
    /// A message was read
    Status,
    /// A session connected
    Connection,
}

/// The body's fields in the documented order. Fields that the kind does not have are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    event: &'a str,
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    timestamp: String,
}

/// Events of one kind, each with its own message id.
#[derive(Debug)]
pub(super) struct Samples {
    kind: Kind,
    // A random number, so that the ids of two runs differ.
    run: u32,
}

impl Samples {
    pub(super) fn new(kind: Kind) -> Self {
        // The last bytes of a UUID are random.
        let [.., a, b, c, d] = *uuid::Uuid::now_v7().as_bytes();
        let run = u32::from_be_bytes([a, b, c, d]);
        Self { kind, run }
    }

    /// The body of event `number`, sent at `now`.
    pub(super) fn body(&self, number: u64, now: Timestamp) -> String {
        let message_id = Some(format!("3EB0{:08X}{number:08X}", self.run));
        let bare = Body {
            event: "",
            session_id: SESSION,
            message_id: None,
            from: None,
            message: None,
            r#type: None,
            status: None,
            timestamp: format!("{now:.3}"),
        };
        let body = match self.kind {
            Kind::Message => Body {
                event: "message",
                message_id,
                from: Some("+1234567890"),
                message: Some("Hello!"),
                r#type: Some("text"),
                ..bare
            },
            Kind::Status => Body {
                event: "status",
                message_id,
                status: Some("read"),
                ..bare
            },
            Kind::Connection => Body {
                event: "connection",
                status: Some("connected"),
                ..bare
            },
        };
        serde_json::to_string(&body).expect("texts can be written as JSON")
    }

    /// A description of the event, in the words of the `log` handler.
    pub(super) fn description(&self) -> &'static str {
        match self.kind {
            Kind::Message => "message from +1234567890: Hello!",
            Kind::Status => "status: read",
            Kind::Connection => "connection status: connected",
        }
    }
}

const SESSION: &str = "408f7372-f7c9-4299-a8db-326bc5548a73";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_shape() {
        let run = 0xABCD_0001;
        let now = "2025-01-08T12:00:00Z".parse().unwrap();
        let body = |kind| Samples { kind, run }.body(31, now);
        let session = SESSION;
        assert_eq!(
            body(Kind::Message),
            format!(
                r#"{{"event":"message","sessionId":"{session}","messageId":"3EB0ABCD00010000001F","from":"+1234567890","message":"Hello!","type":"text","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
        assert_eq!(
            body(Kind::Status),
            format!(
                r#"{{"event":"status","sessionId":"{session}","messageId":"3EB0ABCD00010000001F","status":"read","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
        assert_eq!(
            body(Kind::Connection),
            format!(
                r#"{{"event":"connection","sessionId":"{session}","status":"connected","timestamp":"2025-01-08T12:00:00.000Z"}}"#
            )
        );
    }
}
