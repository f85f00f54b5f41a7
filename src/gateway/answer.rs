//! [`Answer`]: what a gateway answered, and whether it accepted the request.

use std::fmt;

use serde_json::Value;

use super::mask::Mask;
use crate::escape_controls;

/// A gateway's answer, with secrets masked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as text. Of one that is longer than 64 KiB only its length.
    pub text: String,
    /// The body as JSON, if it is JSON.
    pub json: Option<Value>,
    /// What the answer means.
    pub verdict: Verdict,
    /// Whether it already was as it should be, so that nothing was sent to change it.
    pub unchanged: bool,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// 2xx with JSON or with an empty body: done.
    Accepted,
    /// 2xx, but the JSON says `"success": false` or `"ok": false`.
    SaysNo,
    /// 2xx, but not JSON, or not the JSON of such a gateway.
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
            // Without its names nothing says which of its values are secrets.
            None if cut => format!("({} bytes and more)", body.len()),
            None => mask.text(text),
        };
        Self {
            status,
            text,
            json,
            verdict,
            unchanged: false,
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
            Some(json) if says_no(json) => Verdict::SaysNo,
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

fn says_no(json: &Value) -> bool {
    let mut words = ["success", "ok"].into_iter();
    words.any(|word| json.get(word) == Some(&Value::Bool(false)))
}

/// How much of the text `Display` shows, in characters.
const SHOWN: usize = 300;

#[cfg(test)]
mod tests {
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
            (200, r#"{"ok":false}"#, Verdict::SaysNo, true),
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
}
