//! The forms of a line of the log: text for people, one JSON object for programs, and text with a priority for
//! systemd's journal.
//!
//! What must hold: a line of JSON is one object whatever the texts in it are, with fields of [`FIELDS`] only, and
//! not longer than [`LONGEST`], so that it is never cut.

use std::sync::atomic::{AtomicU8, Ordering};

use log::kv::{Error, Key, Value as KvValue, VisitSource, VisitValue};
use log::{Level, Record};
use serde_json::{Map, Value};

use super::log_settings::LogFormat;
use crate::clock::{Clock as _, SystemClock};
use offhook_handlers::escape_controls_in_json;

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// The journal has a time of its own, and takes the priority from the beginning of the line.
    Journald,
    Json,
    JournaldJson,
}

/// The form in use. Lines may be written before it is set.
static FORM: AtomicU8 = AtomicU8::new(0);

impl Form {
    /// The form for `format`, where standard error is systemd's journal or not.
    pub(super) fn of(format: LogFormat, is_journald: bool) -> Self {
        match (format, is_journald) {
            (LogFormat::Text, false) => Self::Text,
            (LogFormat::Text, true) => Self::Journald,
            (LogFormat::Json, false) => Self::Json,
            (LogFormat::Json, true) => Self::JournaldJson,
        }
    }

    pub(super) fn set(self) {
        FORM.store(self as u8, Ordering::Relaxed);
    }

    pub(super) fn current() -> Self {
        let forms = [Self::Text, Self::Journald, Self::Json, Self::JournaldJson];
        forms[usize::from(FORM.load(Ordering::Relaxed)) % forms.len()]
    }

    pub(super) fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::JournaldJson)
    }

    /// What precedes a line.
    pub(super) fn prefix(self, level: Level) -> &'static str {
        if matches!(self, Self::Text | Self::Json) {
            return "";
        }
        // The priorities of syslog: error, warning, informational, debug.
        match level {
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        }
    }

    /// A line, without its line break, that is not of a record.
    pub(super) fn line(self, level: Level, message: &str) -> String {
        let prefix = self.prefix(level);
        match self {
            Self::Text => format!("{} {level:<5} {message}", now()),
            Self::Journald => format!("{prefix}{message}"),
            Self::Json | Self::JournaldJson => {
                format!(
                    "{prefix}{}",
                    object(level, message, module_path!(), &Map::new())
                )
            }
        }
    }
}

/// Whether standard error is systemd's journal, as `JOURNAL_STREAM` says.
pub(super) fn is_journald() -> bool {
    let Some((device, inode)) = std::env::var("JOURNAL_STREAM").ok().and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    }) else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|stat| stat.st_dev == device && stat.st_ino == inode)
}

pub(super) fn now() -> String {
    SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A record as one JSON object.
pub(super) fn json(record: &Record<'_>) -> String {
    let mut fields = Fields(Map::new());
    // It takes every value.
    let _ = record.key_values().visit(&mut fields);
    let message = record.args().to_string();
    object(record.level(), &message, record.target(), &fields.0)
}

fn object(level: Level, message: &str, target: &str, fields: &Map<String, Value>) -> String {
    let write = |message: &str| {
        let own = [
            ("at", now()),
            ("level", level.as_str().to_owned()),
            ("message", message.to_owned()),
            ("target", target.to_owned()),
        ];
        let own = own.map(|(name, text)| format!("\"{name}\":{}", Value::from(text)));
        let fields = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        let pairs: Vec<String> = own.into_iter().chain(fields).collect();
        escape_controls_in_json(&format!("{{{}}}", pairs.join(",")))
    };
    let line = write(message);
    if line.len() <= LONGEST {
        return line;
    }
    // An escape takes 6 bytes for one of the text.
    let kept = beginning(message, LONGEST_MESSAGE);
    write(&format!(
        "{kept}… ({} more bytes)",
        message.len() - kept.len()
    ))
}

/// At most `limit` bytes of a text.
fn beginning(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The fields of a record that the log has.
struct Fields(Map<String, Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: KvValue<'kvs>) -> Result<(), Error> {
        if FIELDS.contains(&key.as_str()) {
            let mut field = Field(Value::Null);
            value.visit(&mut field)?;
            if !field.0.is_null() {
                self.0.insert(key.as_str().to_owned(), field.0);
            }
        }
        Ok(())
    }
}

/// Numbers stay numbers, everything else is a text.
struct Field(Value);

impl VisitValue<'_> for Field {
    fn visit_any(&mut self, value: KvValue<'_>) -> Result<(), Error> {
        let text = value.to_string();
        let kept = beginning(&text, LONGEST_FIELD);
        self.0 = if kept.len() < text.len() {
            format!("{kept}…").into()
        } else {
            text.into()
        };
        Ok(())
    }

    fn visit_null(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn visit_u64(&mut self, value: u64) -> Result<(), Error> {
        self.0 = value.into();
        Ok(())
    }
}

/// What a line of JSON has beside `at`, `level`, `message` and `target`.
const FIELDS: [&str; 12] = [
    "actor", "attempt", "consumer", "event", "outcome", "peer", "refused", "session", "settings",
    "source", "status", "took_ms",
];

/// The longest line, in bytes; the queue takes 64 KiB.
const LONGEST: usize = 60 * 1024;

const LONGEST_MESSAGE: usize = 6 * 1024;

const LONGEST_FIELD: usize = 256;

#[cfg(test)]
mod tests {
    use log::kv::{Source as _, ToValue as _};

    use super::*;

    fn read(line: &str) -> Value {
        assert!(!line.contains(['\n', '\r', '\u{1b}', '\u{9b}']), "{line}");
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(value.is_object(), "{line}");
        value
    }

    #[test]
    fn a_line_of_json_has_the_listed_fields_only() {
        let (none, some): (Option<u16>, _) = (None, Some(503_u16));
        let key_values: &[(&str, KvValue<'_>)] = &[
            ("event", KvValue::from_display(&"\u{9b}31m\n\"")),
            ("status", some.to_value()),
            ("attempt", none.to_value()),
            ("body", KvValue::from("secret")),
        ];
        let args = format_args!("two\nlines\u{1b}[31m");
        let record = Record::builder()
            .args(args)
            .level(Level::Warn)
            .target("offhook::relay")
            .key_values(&key_values)
            .build();
        let mut value = read(&json(&record));
        value.as_object_mut().unwrap().remove("at").unwrap();
        let expected = serde_json::json!({
            "level": "WARN", "message": "two\nlines\u{1b}[31m", "target": "offhook::relay",
            "event": "\u{9b}31m\n\"", "status": 503,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn no_text_makes_a_line_of_json_too_long() {
        for odd in ["\u{0}", "é", "\u{2028}", "\"", "𝄞"] {
            let long = odd.repeat(100_000);
            let values: Vec<(&str, KvValue<'_>)> = FIELDS
                .iter()
                .map(|name| (*name, KvValue::from(long.as_str())))
                .collect();
            let record = Record::builder()
                .level(Level::Info)
                .key_values(&values)
                .build();
            assert!(json(&record).len() <= LONGEST);
            let mut fields = Fields(Map::new());
            values.visit(&mut fields).unwrap();
            let line = object(Level::Info, &long, "t", &fields.0);
            assert!(line.len() <= LONGEST, "{odd:?}: {}", line.len());
            let message = read(&line)["message"].as_str().unwrap().to_owned();
            assert!(message.ends_with("more bytes)"), "{odd:?}");
        }
    }

    #[test]
    fn the_journal_gets_a_priority_and_no_time() {
        assert_eq!(Form::Journald.line(Level::Warn, "a"), "<4>a");
        assert_eq!(Form::Journald.line(Level::Error, "a"), "<3>a");
        assert!(Form::Text.line(Level::Info, "a").ends_with("Z INFO  a"));
        let json = Form::JournaldJson.line(Level::Info, "a");
        assert_eq!(read(json.strip_prefix("<6>").unwrap())["message"], "a");
    }
}
