//! [`JsonlHandler`]: appends one JSON line per event to a file.

use std::io;
use std::path::Path;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::append;
use crate::lines::LineWriter;
use crate::{Delivery, Event, EventHandler, EventId, EventKind, HandlerError, Timestamp};

/// Appends one line for each event to a file (`use = "jsonl"`).
///
/// ```json
/// {"id":"…","source":"codeskytz","session":"408f…","event":"message","name":"message",
///  "received_at":"2026-01-08T12:00:00Z","attempt":1,"replay":false,"body":{…}}
/// ```
///
/// (on one line). `event` is the kind, `name` the event's name in the body. `body` is the exact JSON
/// text of the body, except that line breaks between tokens become spaces. If the body is not JSON,
/// there is `body_base64` instead. A body with a `Content-Encoding` is decoded first.
///
/// The line is on disk before the handler reports success, in the file that has the name: a file that was
/// renamed or removed, as logrotate does, is made again. Its folder is not. A line that a crash or a full
/// disk has cut off is not continued. A new file can be read by its owner only. A symbolic link is followed.
/// A FIFO or a device gets the lines too, but there success means only that it took them.
#[derive(Debug)]
pub struct JsonlHandler {
    file: LineWriter,
}

impl JsonlHandler {
    /// Opens the file at `path` for appending, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, or its folder is missing. The error names the file.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            file: LineWriter::append(path.as_ref())?,
        })
    }

    /// Checks whether the file at `path` could be opened, and creates nothing.
    ///
    /// # Errors
    ///
    /// When it is a folder, when this user may not write to it, or when its folder is missing.
    pub fn check(path: impl AsRef<Path>) -> io::Result<()> {
        append::check(path.as_ref())
    }
}

#[async_trait]
impl EventHandler for JsonlHandler {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        self.file.write(line(event, delivery)?).await?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Line<'a> {
    id: EventId,
    source: &'a str,
    session: Option<&'a str>,
    event: EventKind,
    name: Option<&'a str>,
    received_at: Timestamp,
    attempt: u32,
    replay: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

fn line(event: &Event, delivery: &Delivery) -> Result<Vec<u8>, serde_json::Error> {
    let content = delivery.content();
    let body = serde_json::from_slice::<&RawValue>(content).ok();
    let mut line = serde_json::to_vec(&Line {
        id: delivery.id(),
        source: delivery.source(),
        session: delivery.session(),
        event: event.kind(),
        name: event.name(),
        received_at: delivery.received_at(),
        attempt: delivery.attempt(),
        replay: delivery.is_replay(),
        body,
        body_base64: body.is_none().then(|| STANDARD.encode(content)),
    })?;
    // JSON allows raw line breaks only between tokens; in a string they are escaped.
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{MessageEvent, Received};

    fn written(body: &'static [u8]) -> String {
        let received = Arc::new(Received::new("codeskytz", body));
        let event = Event::Message(MessageEvent::default());
        String::from_utf8(line(&event, &Delivery::new(received, 1, false)).unwrap()).unwrap()
    }

    #[test]
    fn the_body_stays_exact_on_one_line() {
        let line = written(b"{\"a\" : 1e400,\r\n \"a\":\"\\ud800\\n\"}");
        assert!(
            line.ends_with("\"body\":{\"a\" : 1e400,   \"a\":\"\\ud800\\n\"}}"),
            "{line}"
        );
        assert!(!line.contains('\n'));
        assert!(
            line.contains(r#""received_at":"1970-01-01T00:00:00Z","attempt":1,"replay":false"#)
        );
    }

    #[test]
    fn what_is_not_json_is_kept_as_base64() {
        assert!(written(b"{").ends_with(r#""body_base64":"ew=="}"#));
        assert!(written(b"\"\xff\"").ends_with(r#""body_base64":"Iv8i"}"#));
        assert!(written(b"").ends_with(r#""body_base64":""}"#));
    }

    #[tokio::test]
    async fn a_line_is_written_before_success_is_reported() {
        let directory = std::env::temp_dir().join(format!("offhook-jsonl-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("events.jsonl");
        let handler = JsonlHandler::append(&path).unwrap();
        for count in 1..=3 {
            let received = Arc::new(Received::new("s", "{}"));
            let event = Event::Message(MessageEvent::default());
            let delivery = Delivery::new(received, count, false);
            handler.handle(&event, &delivery).await.unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), count as usize);
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_an_error() {
        // Linux' device that is always full.
        let Ok(handler) = JsonlHandler::append("/dev/full") else {
            return;
        };
        let received = Arc::new(Received::new("s", "{}"));
        let event = Event::Message(MessageEvent::default());
        let outcome = handler
            .handle(&event, &Delivery::new(received, 1, false))
            .await;
        assert!(!outcome.unwrap_err().is_reject());
    }
}
