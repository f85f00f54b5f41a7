//! [`Mask`] removes secrets from what a gateway answers, and from what is shown of a request.

use serde_json::Value;

/// The secrets to remove from a gateway's answer, which may repeat what we sent. It has no `Debug`.
#[derive(Clone, Default)]
pub(super) struct Mask(Vec<String>);

impl Mask {
    pub(super) fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.push(secret.to_owned());
        }
    }

    /// Hides a URL: as a whole, and each of its parts that is as long as a token, because a gateway may
    /// repeat parts of it. The session is not a secret.
    pub(super) fn add_url(&mut self, url: &str, session: &str) {
        self.add(url);
        let (_, rest) = url.split_once("://").unwrap_or_default();
        let parts = rest.split(['/', '?', '#', '&', '=']).skip(1);
        for part in parts.filter(|part| part.len() >= TOKEN && *part != session) {
            self.add(part);
        }
    }

    /// Removes the secrets from a text.
    pub(super) fn text(&self, text: &str) -> String {
        let secrets = self.0.iter();
        secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), MASKED)
        })
    }

    /// Removes the secrets from every string, and every value whose name is one for secrets.
    pub(super) fn json(&self, value: &mut Value) {
        hide_named(value);
        self.strings(value);
    }

    fn strings(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.strings(item)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.strings(value)),
            _ => (),
        }
    }
}

/// Hides every value whose name is one for secrets.
pub(super) fn hide_named(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(hide_named),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if is_for_secrets(name) && !text.is_empty() => {
                        *text = MASKED.to_owned();
                    }
                    value if is_for_headers(name) => hide_values(value),
                    value => hide_named(value),
                }
            }
        }
        _ => (),
    }
}

/// Hides every text but the names of headers, which are keys or stand under `name`.
fn hide_values(value: &mut Value) {
    match value {
        Value::String(text) => *text = MASKED.to_owned(),
        Value::Array(items) => items.iter_mut().for_each(hide_values),
        Value::Object(fields) => {
            let values = fields.iter_mut().filter(|(name, _)| *name != "name");
            values.for_each(|(_, value)| hide_values(value));
        }
        _ => (),
    }
}

fn is_for_secrets(name: &str) -> bool {
    let name = plain(name);
    name == "key" || NAMES.iter().any(|secret| name.ends_with(secret))
}

/// Headers that a gateway sends with each event: they are what it proves itself with.
fn is_for_headers(name: &str) -> bool {
    ["headers", "customheaders"].contains(&plain(name).as_str())
}

fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], "")
}

/// The text that replaces a secret.
pub(super) const MASKED: &str = "***";

/// The minimum length of a source's `path_token`.
const TOKEN: usize = 16;

const NAMES: [&str; 8] = [
    "secret",
    "password",
    "token",
    "apikey",
    "authorization",
    "signingkey",
    "hmackey",
    "jwtkey",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_wherever_they_stand() {
        let mut mask = Mask::default();
        mask.add("hid\"den");
        mask.add("");
        let mut value = json!({
            "webhook": {"url": "http://me", "webhookSecret": "of another", "api_key": "x"},
            "said": ["was hid\"den", 1, null, {"hasSecret": true, "token": ""}],
            "hmac": {"key": "of another"},
            "headers": {"jwt_key": "of another", "X-Key": "of another"},
            "customHeaders": [{"name": "X-Key", "value": "of another"}],
        });
        mask.json(&mut value);
        let expected = json!({
            "webhook": {"url": "http://me", "webhookSecret": "***", "api_key": "***"},
            "said": ["was ***", 1, null, {"hasSecret": true, "token": ""}],
            "hmac": {"key": "***"},
            "headers": {"jwt_key": "***", "X-Key": "***"},
            "customHeaders": [{"name": "X-Key", "value": "***"}],
        });
        assert_eq!(value, expected);
        assert_eq!(mask.text("hid\"den, hid\"den"), "***, ***");
    }

    #[test]
    fn a_hidden_url_is_taken_out_in_parts_too() {
        let mut mask = Mask::default();
        let session = "408f7372-0000-0000-0000-000000000000";
        let url =
            format!("https://me.example/webhook/hidden-hidden-16/{session}?key=hidden-hidden-17");
        mask.add_url(&url, session);
        let said =
            format!("<p>{url}</p> POST /webhook/hidden-hidden-16/{session}?key=hidden-hidden-17");
        let shown = mask.text(&said);
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(
            shown.contains(&format!("POST /webhook/***/{session}?key=***")),
            "{shown}"
        );
    }
}
