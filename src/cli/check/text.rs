//! What would run, as text: the facts of the JSON summary in an order for readers, some of them in words.

use std::time::Duration;

use bytesize::ByteSize;
use humantime::format_duration;
use offhook::escape_controls;
use serde_json::Value;

use super::super::output::title;

/// The summary as text. `without_handlers` says what becomes of events where there is no handler.
pub(super) fn text(summary: &Value, without_handlers: &str) -> String {
    let mut entries = Vec::new();
    for (key, value) in in_order(summary) {
        if key == "warnings" {
            let warnings = value.as_array().into_iter().flatten();
            let warnings: Vec<String> = warnings
                .filter_map(|warning| warning.as_str().map(str::to_owned))
                .collect();
            entries.extend((!warnings.is_empty()).then(|| entry(key, &warnings)));
            continue;
        }
        let Value::Array(items) = value else {
            let facts = facts(key, value);
            entries.extend((!facts.is_empty()).then(|| entry(key, &facts)));
            continue;
        };
        let count = match (key, items.len()) {
            ("handlers", 0) => without_handlers.to_owned(),
            ("gateways", count @ 1..) => format!("{count}, told at the start where to send"),
            (_, count) => count.to_string(),
        };
        entries.push(entry(key, &[count]));
        for item in items {
            let name = item["name"].as_str().unwrap_or_default();
            entries.push(entry(&format!("  {name}"), &facts("", item)));
        }
    }
    entries.join("\n")
}

/// A name, and lines in a column after it.
fn entry(name: &str, lines: &[String]) -> String {
    let mut text = title(&format!("{:<13}", escape_controls(name)));
    for (index, line) in lines.iter().enumerate() {
        let before = if index == 0 { "" } else { "\n             " };
        text += &format!("{before}  {}", escape_controls(line));
    }
    text
}

/// The fields of an object, one a line, or the one value.
fn facts(key: &str, value: &Value) -> Vec<String> {
    if !value.is_object() {
        return in_words(key, value, value).into_iter().collect();
    }
    let fields = in_order(value).filter_map(|(key, field)| {
        let label = match key {
            "sessions" if value["paths"].is_array() => "sessions with secrets of their own:",
            key => key.trim_end_matches("_seconds"),
        };
        Some(format!("{label} {}", in_words(key, field, value)?))
    });
    fields.collect()
}

/// The fields of an object that are shown, in the order of [`SHOWN`].
fn in_order(object: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let keys = SHOWN.split(' ');
    keys.filter_map(|key| Some((key, object.get(key)?)))
}

/// A value of the object `of`; `None` if there is nothing to say.
fn in_words(key: &str, value: &Value, of: &Value) -> Option<String> {
    let text = match (key, value) {
        ("admin", Value::Null) => "none".to_owned(),
        ("scheme", Value::Null) => "none: unsigned, the path holds a token".to_owned(),
        ("events" | "sessions", Value::Null) => "all".to_owned(),
        ("retention_size", Value::Null) => "no limit".to_owned(),
        ("documented_key" | "never_again" | "probe", Value::Bool(false)) | (_, Value::Null) => {
            return None;
        }
        ("documented_key", _) => DOCUMENTED.to_owned(),
        ("never_again", _) => NEVER_AGAIN.to_owned(),
        ("secret_known", _) if of["secret"] == false => return None,
        ("secret_known", Value::Bool(false)) if of["kind"] == "codeskytz" => UNKNOWN.to_owned(),
        ("secret_known", Value::Bool(false)) => UNKNOWN_OF_KIND.to_owned(),
        ("workers", _) if value == 0 => "one a core".to_owned(),
        (_, Value::Bool(true)) => "yes".to_owned(),
        (_, Value::Bool(false)) => "no".to_owned(),
        (_, Value::String(text)) => text.clone(),
        (_, Value::Number(seconds)) if key.ends_with("_seconds") => {
            let time = Duration::try_from_secs_f64(seconds.as_f64()?).ok()?;
            format_duration(time).to_string()
        }
        ("retention_size", Value::Number(bytes)) if bytes.as_u64()? < TOO_SMALL => {
            let size = ByteSize::b(bytes.as_u64()?).display().iec();
            format!("{size}: too small, little more than the newest event is kept")
        }
        (
            "max_body" | "max_in_flight" | "min_body_rate" | "retention_size",
            Value::Number(bytes),
        ) => ByteSize::b(bytes.as_u64()?).display().iec().to_string(),
        ("command", _) | (_, Value::Number(_)) => value.to_string(),
        (_, Value::Array(items)) => {
            let items = items.iter().filter_map(|item| in_words("", item, of));
            let between = if key == "warnings" { " " } else { ", " };
            items.collect::<Vec<_>>().join(between)
        }
        (_, Value::Object(fields)) => {
            let words = |(name, value)| Some(format!("{name} {}", in_words(key, value, of)?));
            let fields = fields.iter().filter_map(words);
            fields.collect::<Vec<_>>().join(", ")
        }
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The journal's tables alone take about a quarter of this.
const TOO_SMALL: u64 = 1024 * 1024;

const DOCUMENTED: &str =
    "yes: its secret is printed in the gateway's documentation, so it is public";
const NEVER_AGAIN: &str = "yes: Evolution never sends again what was answered 401, so a wrong secret loses events for good";
const UNKNOWN: &str = "no: no source has that secret, so what it sends would be refused";
const UNKNOWN_OF_KIND: &str =
    "no: no source with the scheme of this kind has that secret, so what it sends would be refused";

/// The keys that are shown, in their order. The promise begins with the engine.
pub(super) const SHOWN: &str = "bind health_path tls sources admin promise journal handlers subscriptions gateways limits fingerprint \
    certificate key names ends client_ca min_version paths scheme keys secrets documented_key never_again probe use path command env reject_codes kind url shape webhook_url \
    token signed secret secret_known headers dialect session sessions quiet_after_seconds \
    quiet_sessions_seconds instance shares lease_seconds append_timeout_seconds retention_seconds retention_size dedup_window_seconds \
    dedup_window_unkeyed_seconds events order timeout_seconds concurrency max_body max_in_flight workers \
    max_connections request_timeout_seconds min_body_rate keep_alive_seconds drain_delay_seconds warnings";

#[cfg(test)]
mod tests {
    use offhook::Source;
    use offhook::dialect::Evolution;
    use offhook::settings::{Settings, TlsSettings};
    use offhook::signature::{Generic, Secret, Secrets, Token};

    use super::super::summary;
    use super::*;

    #[test]
    fn keys_of_a_scheme_and_tls_or_its_lack() {
        let mut settings = Settings::default();
        let source = Source::new("g").secret(Secret::new("hidden").unwrap());
        settings
            .sources
            .push(source.scheme(Generic::new("X-Sig").prefix("v1=")));
        let admin = settings.admin.get_or_insert_default();
        admin.bind = "0.0.0.0:5001".parse().unwrap();
        settings.server.tls = Some(TlsSettings::new("/no/server.pem", "/no/server.key"));
        let text = text(&summary(&settings), "none");
        let text = anstream::adapter::strip_str(&text).to_string();
        for line in [
            "  keys algorithm sha256, encoding hex, header X-Sig, prefix v1=, template {body}, tolerance 5m\n",
            "  certificate /no/server.pem\n",
            "  warnings admin.bind 0.0.0.0:5001 is not loopback, and there is no [admin.tls]: everyone on the way can read the admin token.\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn likely_mistakes_are_told() {
        let mut settings = Settings::default();
        let source = Source::new("e").secret(Secret::new("hidden").unwrap());
        let source = source.dialect(Evolution).scheme(Token::telegram());
        settings.sources.push(source);
        let text = text(&summary(&settings), "none");
        let text = anstream::adapter::strip_str(&text).to_string();
        let line = "warnings       sources e: one of its secrets has fewer than 16 characters";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_source_in_words() {
        let secret = || Secret::new("hidden").unwrap();
        let source = Source::new("g").secret(secret()).secret(secret());
        let source = source.session("408f", Secrets::new(vec![secret()]));
        let mut settings = Settings::default();
        settings.sources.push(source);
        let text = text(&summary(&settings), "none");
        let text = anstream::adapter::strip_str(&text).to_string();
        let expected = [
            "  g            paths /webhook, /webhook/{session}",
            "               scheme x-webhook-signature",
            "               secrets 2",
            "               dialect codeskytz",
            "               sessions with secrets of their own: 408f\n",
        ];
        let expected = expected.join("\n");
        assert!(text.contains(&expected), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
