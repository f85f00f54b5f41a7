//! [`Answer`]: what a gateway answered, whether it accepted the request, and the [`Mask`] that removes
//! secrets from it.

use std::fmt;

use serde_json::Value;

use crate::escape_controls;

/// A gateway's answer, with secrets masked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body's first 64 KiB, as text.
    pub text: String,
    /// The body as JSON, if it is JSON.
    pub json: Option<Value>,
    /// What the answer means.
    pub verdict: Verdict,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// 2xx with JSON or with an empty body: done.
    Accepted,
    /// 2xx, but the JSON says `"success": false`.
    SaysNo,
    /// 2xx, but not JSON. No gateway answers like that.
    NotJson,
    /// 2xx, but more than 64 KiB, so it was not read to its end.
    TooLong,
    /// 3xx: the API is elsewhere. Redirects are not followed.
    Redirect,
    /// 401 or 403: the gateway rejects our credentials.
    Unauthorized,
    /// 404 or 405: the gateway does not know the session or the path.
    NotFound,
    /// 400 or 422: the gateway does not understand the request.
    NotUnderstood,
    /// 408, 425, 429 or 503: try again later.
    Busy,
    /// Another 4xx.
    Refused,
    /// Another 5xx, or a status that HTTP does not know.
    Failed,
}

impl Verdict {
    /// Whether the gateway may answer the same request differently later.
    pub const fn may_change(self) -> bool {
        matches!(
            self,
            Self::SaysNo
                | Self::NotJson
                | Self::TooLong
                | Self::NotFound
                | Self::Busy
                | Self::Failed
        )
    }
}

impl Answer {
    pub(super) fn new(status: u16, body: &[u8], cut: bool, mask: &Mask) -> Self {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        let original: Option<Value> = serde_json::from_str(text).ok().filter(|_| !cut);
        let verdict = verdict(status, text, original.as_ref(), cut);
        let mut json = original.clone();
        if let Some(json) = &mut json {
            mask.json(json);
        }
        let text = match &json {
            // Keeps the text as it came, with the order of its fields.
            Some(_) if json == original => text.to_owned(),
            Some(json) => json.to_string(),
            None => mask.text(text),
        };
        Self {
            status,
            text,
            json,
            verdict,
        }
    }

    /// Whether the gateway accepted the request.
    pub fn accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }
}

/// The status and the beginning of the body, on one line.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begins: String = self.text.chars().take(SHOWN).collect();
        write!(f, "{}", self.status)?;
        if !begins.is_empty() {
            write!(f, " {}", escape_controls(&begins))?;
        }
        if begins.len() < self.text.len() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

fn verdict(status: u16, text: &str, json: Option<&Value>, cut: bool) -> Verdict {
    match status {
        200..=299 if cut => Verdict::TooLong,
        200..=299 => match json {
            None if text.is_empty() => Verdict::Accepted,
            None => Verdict::NotJson,
            Some(json) if json.get("success") == Some(&Value::Bool(false)) => Verdict::SaysNo,
            Some(_) => Verdict::Accepted,
        },
        300..=399 => Verdict::Redirect,
        400 | 422 => Verdict::NotUnderstood,
        401 | 403 => Verdict::Unauthorized,
        404 | 405 => Verdict::NotFound,
        408 | 425 | 429 | 503 => Verdict::Busy,
        402..=499 => Verdict::Refused,
        _ => Verdict::Failed,
    }
}

/// The secrets to remove from a gateway's answer, which may repeat what we sent. It has no `Debug`.
#[derive(Default)]
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
    fn text(&self, text: &str) -> String {
        let secrets = self.0.iter();
        secrets.fold(text.to_owned(), |text, secret| {
            text.replace(secret.as_str(), MASKED)
        })
    }

    /// Removes the secrets from every string, and every value whose name is one for secrets.
    fn json(&self, value: &mut Value) {
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

/// How much of the text `Display` shows, in characters.
const SHOWN: usize = 300;

/// The text that replaces a secret.
pub(super) const MASKED: &str = "***";

/// The minimum length of a source's `path_token`.
const TOKEN: usize = 16;

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

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(status, body.as_bytes(), false, &Mask::default())
    }

    #[test]
    fn what_an_answer_means() {
        let table = [
            (200, r#"{"success":true}"#, Verdict::Accepted, false),
            (201, "[]", Verdict::Accepted, false),
            (204, "", Verdict::Accepted, false),
            (200, r#"{"success":false}"#, Verdict::SaysNo, true),
            (200, "<!doctype html>", Verdict::NotJson, true),
            (301, "", Verdict::Redirect, false),
            (400, "{}", Verdict::NotUnderstood, false),
            (403, "{}", Verdict::Unauthorized, false),
            (404, "{}", Verdict::NotFound, true),
            (405, "{}", Verdict::NotFound, true),
            (410, "{}", Verdict::Refused, false),
            (429, "{}", Verdict::Busy, true),
            (500, "{}", Verdict::Failed, true),
            (503, "{}", Verdict::Busy, true),
            (999, "{}", Verdict::Failed, true),
        ];
        for (status, body, expected, may_change) in table {
            let verdict = answer(status, body).verdict;
            assert_eq!(
                (verdict, verdict.may_change()),
                (expected, may_change),
                "{status} {body}"
            );
        }
        let cut = Answer::new(200, b"[1", true, &Mask::default());
        assert_eq!(cut.verdict, Verdict::TooLong);
    }

    #[test]
    fn it_is_shown_on_one_line_and_without_secrets() {
        let mut mask = Mask::default();
        mask.add("hidden");
        let told = Answer::new(200, b"{\"z\":\"hidden\",\"a\":1}\n", false, &mask);
        assert_eq!(told.text, r#"{"a":1,"z":"***"}"#);
        let plain = Answer::new(200, b" {\"z\":0,\"a\":1}\n", false, &mask);
        assert_eq!(plain.to_string(), r#"200 {"z":0,"a":1}"#);
        let page = Answer::new(500, b"<p>\nhidden\x1b[2J</p>", false, &mask);
        assert_eq!(page.to_string(), r"500 <p>\n***\u{001b}[2J</p>");
        let long = answer(200, &"é".repeat(301)).to_string();
        assert!(
            long.ends_with("é…") && long.chars().count() == 305,
            "{long}"
        );
    }

    #[test]
    fn secrets_are_taken_out_wherever_they_stand() {
        let mut mask = Mask::default();
        mask.add("hid\"den");
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
