//! What was sent to a gateway, what it answered, and what to do if it did not accept.

use offhook::escape_controls;
use offhook::gateway::{Answer, Call, Shape, Unanswered, Verdict};
use serde_json::{Value, json};

use super::super::output::{self, Failure, bad, good, title};

/// What is sent to a gateway. It holds no secret.
pub(super) struct Sent {
    method: String,
    url: String,
    /// The names of the headers; the values are secrets.
    headers: Vec<String>,
    body: Option<String>,
    shape: Shape,
    /// The word for an accepted request.
    done: &'static str,
}

impl Sent {
    pub(super) fn new(call: &Call, done: &'static str) -> Self {
        let gateway = call.gateway();
        Self {
            method: call.method().to_owned(),
            url: call.url().to_owned(),
            headers: gateway.header_names().map(str::to_owned).collect(),
            body: call.body().map(str::to_owned),
            shape: gateway.in_shape(),
            done,
        }
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        output::print(&format!("{} {}", title(&self.method), self.url))?;
        for name in &self.headers {
            output::print(&format!("  {name}: ***"))?;
        }
        match &self.body {
            Some(body) => output::print(&format!("  {}", escape_controls(body))),
            None => Ok(()),
        }
    }

    pub(super) fn print_answer(&self, answer: &Result<Answer, Unanswered>) -> Result<(), Failure> {
        let done = self.done;
        let verdict = match answer {
            Ok(answer) => {
                output::print(&title(&format!("answered {}", answer.status)))?;
                let beginning: String = answer.text.chars().take(LONGEST_TEXT).collect();
                for line in beginning.lines() {
                    output::print(&format!("  {}", escape_controls(line)))?;
                }
                if beginning.len() < answer.text.len() {
                    output::print("  … (--json prints more)")?;
                }
                if answer.accepted() {
                    good(done)
                } else {
                    bad(&format!("not {done}"))
                }
            }
            Err(error) => bad(&format!(
                "not {done}: {}",
                escape_controls(&error.to_string())
            )),
        };
        output::print(&verdict)?;
        if let Some(hint) = self.hint(answer) {
            output::note(&hint);
        }
        Ok(())
    }

    pub(super) fn print_json(
        &self,
        answer: &Result<Answer, Unanswered>,
        warnings: &[String],
    ) -> Result<(), Failure> {
        // A body that is not JSON is shown as text.
        let body = |answer: &Answer| {
            let text = || answer.text.clone().into();
            answer.json.clone().unwrap_or_else(text)
        };
        let answered = answer.as_ref().ok();
        let error = answer.as_ref().err().map(ToString::to_string);
        let sent = self.body.as_deref().map(serde_json::from_str::<Value>);
        output::print_json(&json!({
            "ok": answered.is_some_and(Answer::accepted),
            "warnings": warnings,
            "sent": {
                "method": self.method,
                "url": self.url,
                "headers": self.headers,
                "body": sent.and_then(Result::ok),
            },
            "answer": answered.map(|answer| json!({"status": answer.status, "body": body(answer)})),
            "error": error.as_deref().map(escape_controls),
            "hint": self.hint(answer),
        }))
    }

    /// What to do if the gateway has not accepted the request.
    fn hint(&self, answer: &Result<Answer, Unanswered>) -> Option<String> {
        let shape = self.shape;
        let others = Shape::ALL.iter().filter(|(_, other)| *other != shape);
        let others: Vec<_> = others.map(|(name, _)| format!("--shape {name}")).collect();
        let others = others.join(" or ");
        let hint = match answer.as_ref().map(|answer| answer.verdict) {
            Ok(Verdict::Accepted) => return None,
            Ok(Verdict::SaysNo) => "The gateway says that it was no success.",
            Ok(Verdict::NotJson) => {
                "That is no answer of a gateway: is --gateway the base of its API, and not that of \
                 its pages?"
            }
            Ok(Verdict::TooLong) => "The answer is longer than 64 KiB: is that the gateway's API?",
            Ok(Verdict::Redirect) => {
                "The API is elsewhere, and redirects are not followed: give its own URL with \
                 --gateway."
            }
            Ok(Verdict::Unauthorized) if self.headers.is_empty() => {
                "The gateway asks for authorization: give it with --api-key, or with --header \
                 'Authorization: Bearer …'."
            }
            Ok(Verdict::Unauthorized) => {
                "The gateway rejects the value of --header or --api-key for this session."
            }
            Ok(Verdict::NotFound) => &format!(
                "No such session, or a gateway of another shape (this was --shape {shape}): try \
                 {others}."
            ),
            Ok(Verdict::NotUnderstood) => &format!(
                "The gateway understands something else (this was --shape {shape}): is the \
                 session's id right? If it is, try {others}."
            ),
            Ok(Verdict::Busy) => "The gateway is busy; try again later.",
            Ok(Verdict::Failed) => "The gateway failed: its log may say why.",
            Ok(_) => "The gateway refuses it; its log may say why.",
            Err(Unanswered::Refused) => "Is the gateway running, and is that its port?",
            Err(Unanswered::TimedOut(_)) => {
                "The gateway is too busy, or a firewall on the way drops the packets."
            }
            Err(Unanswered::Unreachable(_)) => {
                "Are the gateway's name and port right, and http or https?"
            }
            Err(_) => {
                "What answered there speaks no HTTP as a gateway does: is it https instead of http?"
            }
        };
        Some(hint.to_owned())
    }
}

/// The length at which a page is cut, enough to recognize it.
const LONGEST_TEXT: usize = 4000;
