//! [`Mask`]: takes secrets out of what a gateway answers, which may repeat what it was told.

use serde_json::Value;

use crate::signature::Secret;

/// What stands where a secret stood.
pub(super) const MASKED: &str = "***";

/// The secrets that must not be shown. It has no `Debug`.
#[derive(Default)]
pub(super) struct Mask(Vec<String>);

impl Mask {
    pub(super) fn add(&mut self, secret: &str) {
        if !secret.is_empty() {
            self.0.push(secret.to_owned());
        }
    }

    pub(super) fn add_secret(&mut self, secret: &Secret) {
        self.add(&String::from_utf8_lossy(secret.expose()));
    }

    /// The text without them.
    pub(super) fn text(&self, text: &str) -> String {
        let secrets = self.0.iter();
        secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), MASKED)
        })
    }

    /// Takes them out of every string, and whatever stands under a name for secrets.
    pub(super) fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if is_for_secrets(name) && !text.is_empty() => {
                            *text = MASKED.to_owned();
                        }
                        value => self.json(value),
                    }
                }
            }
            _ => (),
        }
    }
}

fn is_for_secrets(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace(['_', '-'], "");
    NAMES.iter().any(|secret| name.ends_with(secret))
}

const NAMES: [&str; 6] = [
    "secret",
    "password",
    "token",
    "apikey",
    "authorization",
    "signingkey",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_wherever_they_stand() {
        let mut mask = Mask::default();
        mask.add_secret(&Secret::new("hid\"den").unwrap());
        mask.add("");
        let mut value = json!({
            "webhook": {"url": "http://me", "webhookSecret": "of another", "api_key": "x"},
            "said": ["was hid\"den", 1, null, {"hasSecret": true, "token": ""}],
        });
        mask.json(&mut value);
        let expected = json!({
            "webhook": {"url": "http://me", "webhookSecret": "***", "api_key": "***"},
            "said": ["was ***", 1, null, {"hasSecret": true, "token": ""}],
        });
        assert_eq!(value, expected);
        assert_eq!(mask.text("hid\"den, hid\"den"), "***, ***");
    }
}
