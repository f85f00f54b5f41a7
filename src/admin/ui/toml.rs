//! Settings as lines of `settings.toml`.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// The text of a table with its sections.
pub(super) fn text(settings: &Value) -> String {
    let mut text = String::new();
    if let Value::Object(fields) = settings {
        section(&mut text, "", fields);
    }
    text.trim_start().to_owned()
}

fn section(text: &mut String, name: &str, fields: &Map<String, Value>) {
    for (key, value) in fields.iter().filter(|(_, value)| !is_section(value)) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} = {}", bare(key), inline(value));
    }
    for (key, value) in fields.iter().filter(|(_, value)| is_section(value)) {
        let name = if name.is_empty() {
            bare(key)
        } else {
            format!("{name}.{}", bare(key))
        };
        match value {
            Value::Object(fields) => {
                let _ = writeln!(text, "\n[{name}]");
                section(text, &name, fields);
            }
            Value::Array(items) => {
                for fields in items.iter().filter_map(Value::as_object) {
                    let _ = writeln!(text, "\n[[{name}]]");
                    section(text, &name, fields);
                }
            }
            _ => {}
        }
    }
}

/// A table that is not small, or a list of tables.
fn is_section(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.len() > 5 || fields.values().any(Value::is_object),
        Value::Array(items) => items.first().is_some_and(Value::is_object),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{} = {}", bare(key), inline(value)))
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
        // JSON's escapes of a text are TOML's too.
        other => other.to_string(),
    }
}

/// A key, in quotes where it needs them.
fn bare(key: &str) -> String {
    let is_bare = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_bare {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let settings = json!({
            "server": { "bind": "127.0.0.1:5000", "workers": 0, "a": 1, "b": 2, "c": 3, "d": [1, 2] },
            "sources": [{ "name": "a\"b\n", "sessions": { "x.y": { "secrets": ["…"] } }, "probe": false }],
            "empty": [],
            "retry": { "first": "1s", "factor": 2.5 },
        });
        let text = text(&settings);
        let read = config::Config::builder()
            .add_source(config::File::from_str(&text, config::FileFormat::Toml))
            .build()
            .unwrap_or_else(|error| panic!("{error}: {text}"));
        let read: Value = read.try_deserialize().unwrap();
        assert_eq!(read, settings, "{text}");
    }
}
