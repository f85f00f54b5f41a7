//! The line that shows an event, with what came of forwarding it; and one for what was left out.

use std::fmt;

use offhook::{Timestamp, escape_controls, escape_controls_in_json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::output::{Failure, bad, counted, good};
use super::forward::Forwarded;

/// What is shown of an event.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) seq: u64,
    pub(super) source: String,
    pub(super) session: Option<String>,
    pub(super) event: String,
    pub(super) name: Option<String>,
    pub(super) received_at: String,
    pub(super) bytes: u64,
}

/// Events that the server has left out.
#[derive(Deserialize)]
pub(super) struct Skipped {
    /// How many, where that is known.
    events: Option<u64>,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.events {
            Some(1) => f.write_str("1 event in between is not kept any more"),
            Some(events) => write!(f, "{events} events in between are not kept any more"),
            None => {
                f.write_str("The server has another journal; this begins with its oldest event")
            }
        }
    }
}

/// The event as it came, and what came of forwarding it.
pub(super) fn json(data: &str, forwarded: Option<&Forwarded>) -> Result<String, Failure> {
    let Some(forwarded) = forwarded else {
        return Ok(escape_controls_in_json(data));
    };
    #[derive(Serialize)]
    struct Line<'a> {
        event: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        took_ms: Option<u128>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    }
    let done = forwarded.as_ref().ok();
    let line = Line {
        event: serde_json::from_str(data).map_err(Failure::failed)?,
        status: done.map(|(status, _)| status.as_u16()),
        took_ms: done.map(|(_, took)| took.as_millis()),
        error: forwarded.as_ref().err().map(String::as_str),
    };
    let line = serde_json::to_string(&line).map_err(Failure::failed)?;
    Ok(escape_controls_in_json(&line))
}

impl Event {
    /// `2025-01-08T12:00:00Z  0198f9a2…  codeskytz  message  214 bytes  408f…  → 200 OK, 3 ms`
    pub(super) fn line(&self, forwarded: Option<&Forwarded>) -> String {
        let at = self.received_at.parse::<Timestamp>();
        let at = at.map_or(self.received_at.clone(), |at| format!("{at:.0}"));
        // The name in the body says more than the kind `unknown`.
        let name = self.name.as_ref().filter(|_| self.event == "unknown");
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&self.event);
        let size = counted(self.bytes, "byte");
        let session = self.session.as_deref().unwrap_or("-");
        let cells = [&at, &self.id, &*self.source, name, &*size, session];
        let cells = cells.map(|cell| escape_controls(cell).into_owned());
        let line = cells.join("  ");
        match forwarded {
            None => line,
            Some(Ok((status, took))) => {
                let said = format!("→ {status}, {} ms", took.as_millis());
                let said = if status.is_success() {
                    good(&said)
                } else {
                    bad(&said)
                };
                format!("{line}  {said}")
            }
            Some(Err(why)) => {
                let why = why.lines().next().unwrap_or_default();
                format!("{line}  {}", bad(&format!("→ {}", escape_controls(why))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;
    use serde_json::json;

    use super::*;

    fn event(more: &serde_json::Value) -> Event {
        let mut event = json!({
            "id": "0198f9a2", "seq": 7, "source": "codeskytz", "session": "408f",
            "event": "message", "name": "message", "received_at": "2025-01-08T12:00:00.25Z",
            "bytes": 214,
        });
        let fields = event.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn an_event_is_a_line() {
        let plain = |event: &Event, forwarded: Option<&Forwarded>| {
            let line = event.line(forwarded);
            anstream::adapter::strip_str(&line).to_string()
        };
        let message = event(&json!({}));
        let line = "2025-01-08T12:00:00Z  0198f9a2  codeskytz  message  214 bytes  408f";
        assert_eq!(plain(&message, None), line);
        let took = Duration::from_millis(3);
        let ok = Ok((StatusCode::OK, took));
        assert_eq!(
            plain(&message, Some(&ok)),
            format!("{line}  → 200 OK, 3 ms")
        );
        let gone = Err("connection refused\nmore".to_owned());
        assert_eq!(
            plain(&message, Some(&gone)),
            format!("{line}  → connection refused")
        );
        let odd = event(&json!({ "event": "unknown", "name": "a\nb", "session": null }));
        assert!(plain(&odd, None).ends_with(r"codeskytz  a\nb  214 bytes  -"));
    }

    #[test]
    fn what_was_left_out_is_told() {
        for (data, expected) in [
            (
                json!({ "kind": "event", "from": 1, "to": 41, "events": 41, "why": "removed" }),
                "41 events in between are not kept any more",
            ),
            (
                json!({ "kind": "event", "from": 7, "to": 7, "events": 1, "why": "removed" }),
                "1 event in between is not kept any more",
            ),
            (
                json!({ "kind": "event", "why": "other_journal" }),
                "The server has another journal; this begins with its oldest event",
            ),
        ] {
            let skipped: Skipped = serde_json::from_value(data).unwrap();
            assert_eq!(skipped.to_string(), expected);
        }
    }

    #[test]
    fn what_came_of_it_is_in_the_json() {
        let took = Duration::from_millis(3);
        let ok = Ok((StatusCode::CREATED, took));
        let line = json(r#"{"id":"7"}"#, Some(&ok)).unwrap();
        assert_eq!(line, r#"{"event":{"id":"7"},"status":201,"took_ms":3}"#);
        let failed = json(r#"{"id":"7"}"#, Some(&Err("no".to_owned()))).unwrap();
        assert_eq!(failed, r#"{"event":{"id":"7"},"error":"no"}"#);
        assert_eq!(json(r#"{"id":"7"}"#, None).unwrap(), r#"{"id":"7"}"#);
    }
}
