//! [`Event`]: one event as the server describes it, and how it is shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::{Timestamp, escape_controls};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::output::title;
use super::times;

/// What the server knows of an event. Only a request for a single event returns timeline and body.
#[derive(Deserialize)]
pub(super) struct Event {
    pub(super) id: String,
    source: String,
    pub(super) session: Option<String>,
    /// Its kind.
    event: String,
    /// The event's name in the body.
    name: Option<String>,
    pub(super) received_at: String,
    bytes: u64,
    state: String,
    duplicate_of: Option<String>,
    #[serde(default)]
    timeline: Vec<Step>,
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    at: String,
    what: String,
    consumer: Option<String>,
    attempt: Option<u32>,
    outcome: Option<String>,
}

impl Event {
    /// Its state, or that it is a duplicate.
    pub(super) fn state(&self) -> &str {
        match &self.duplicate_of {
            Some(_) => "duplicate",
            None => &self.state,
        }
    }

    /// Its kind, or its name in the body if that says more.
    pub(super) fn label(&self) -> &str {
        match &self.name {
            Some(name) if self.event == "unknown" && !name.is_empty() => name,
            _ => &self.event,
        }
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut lines = self.fields(now);
        if !self.timeline.is_empty() {
            lines.extend([String::new(), title("timeline")]);
            let received = self.received_at.parse().ok();
            lines.extend(self.timeline.iter().map(|step| step.line(received)));
        }
        lines.extend(self.body_lines());
        lines.join("\n")
    }

    fn fields(&self, now: Timestamp) -> Vec<String> {
        let received = times::time_and_age(&self.received_at, now);
        let size = match self.bytes {
            1 => "1 byte".to_owned(),
            bytes => format!("{bytes} bytes"),
        };
        let fields = [
            ("id", Some(&self.id)),
            ("source", Some(&self.source)),
            ("session", self.session.as_ref()),
            ("event", Some(&self.event)),
            ("name", self.name.as_ref()),
            ("received", Some(&received)),
            ("size", Some(&size)),
            ("state", Some(&self.state)),
            ("duplicate of", self.duplicate_of.as_ref()),
        ];
        let fields = fields.into_iter();
        let known = fields.filter_map(|(name, value)| Some((name, value?)));
        known.map(|(name, value)| field(name, value)).collect()
    }

    fn body_lines(&self) -> Vec<String> {
        if let Some(json) = &self.body {
            return block("body", json.get());
        }
        let Some(base64) = &self.body_base64 else {
            return Vec::new();
        };
        let bytes = STANDARD.decode(base64).ok();
        match bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => block("body, no JSON", &text),
            None => block("body in base64, no text", base64),
        }
    }
}

fn field(name: &str, value: &str) -> String {
    let name = title(&format!("{name:<12}"));
    format!("{name}  {}", escape_controls(value))
}

/// Indents each line, so that no line looks like one of ours.
fn block(heading: &str, text: &str) -> Vec<String> {
    let mut lines = vec![String::new(), title(heading)];
    lines.extend(
        text.lines()
            .map(|line| format!("  {}", escape_controls(line))),
    );
    lines
}

impl Step {
    /// `2025-01-08T12:00:00Z    +12 ms  handler:console, attempt 1: done`
    fn line(&self, received: Option<Timestamp>) -> String {
        let (at, after) = match (self.at.parse::<Timestamp>(), received) {
            (Ok(at), received) => {
                let after = received.map(|received| times::later(at, received));
                (format!("{at:.0}"), after.unwrap_or_default())
            }
            (Err(_), _) => (self.at.clone(), String::new()),
        };
        let what = (self.what != "attempt").then(|| self.what.clone());
        let attempt = self.attempt.map(|attempt| format!("attempt {attempt}"));
        let parts = [what, self.consumer.clone(), attempt];
        let mut text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        if let Some(outcome) = &self.outcome {
            text += &format!(": {outcome}");
        }
        format!(
            "  {}  {after:>8}  {}",
            escape_controls(&at),
            escape_controls(&text)
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(more: &Value) -> String {
        let mut event = json!({
            "id": "0198f9a2", "source": "codeskytz", "session": "408f", "event": "message",
            "name": "message", "received_at": "2025-01-08T12:00:00.250Z", "bytes": 22,
            "state": "done",
        });
        let fields = event.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let event: Event = serde_json::from_str(&event.to_string()).unwrap();
        let text = event.text("2025-01-08T12:03:00Z".parse().unwrap());
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn everything_that_is_known() {
        let steps = json!([
            { "at": "2025-01-08T12:00:00.250Z", "what": "received" },
            { "at": "2025-01-08T12:00:00.262Z", "what": "attempt", "consumer": "handler:crm",
              "attempt": 1, "outcome": "retry: no\u{1b}[2Jline\nforged" },
            { "at": "2025-01-08T12:02:00Z", "what": "dead", "consumer": "handler:crm" },
        ]);
        let expected = "\
id            0198f9a2
source        codeskytz
session       408f
event         message
name          message
received      2025-01-08T12:00:00Z (2 min ago)
size          22 bytes
state         done

timeline
  2025-01-08T12:00:00Z     +0 ms  received
  2025-01-08T12:00:00Z    +12 ms  handler:crm, attempt 1: retry: no\\u{001b}[2Jline\\nforged
  2025-01-08T12:02:00Z    +119 s  dead, handler:crm

body
  {\"a\":\"\\u001b\"}";
        let body = json!({ "a": "\u{1b}" });
        assert_eq!(text(&json!({ "timeline": steps, "body": body })), expected);
    }

    #[test]
    fn bodies_that_are_no_json() {
        let body = |bytes: &[u8]| text(&json!({ "body_base64": STANDARD.encode(bytes) }));
        let form = body(b"a=1\nstate  dead\x1b");
        assert!(
            form.ends_with("\n\nbody, no JSON\n  a=1\n  state  dead\\u{001b}"),
            "{form}"
        );
        let odd = body(b"\xff\xfe");
        assert!(
            odd.ends_with("\n\nbody in base64, no text\n  //4="),
            "{odd}"
        );
    }

    #[test]
    fn the_bodys_own_name_stands_for_what_is_unknown() {
        let label = |event: &str| {
            let event = json!({
                "id": "1", "source": "s", "session": null, "event": event, "name": "groups.upsert",
                "received_at": "", "bytes": 1, "state": "done",
            });
            let event: Event = serde_json::from_value(event).unwrap();
            event.label().to_owned()
        };
        assert_eq!(label("unknown"), "groups.upsert");
        assert_eq!(label("message"), "message");
    }
}
