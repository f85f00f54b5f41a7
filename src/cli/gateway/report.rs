//! What was sent to a gateway, what it answered, and what to do if it did not accept.

use offhook::escape_controls;
use offhook::gateway::{Answer, Call, Shape, Unanswered, Verdict};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::output::{self, Failure, bad, good, title};

/// What is sent to a gateway. It holds no secret.
#[derive(Serialize)]
pub(super) struct Sent {
    method: String,
    url: String,
    /// The names of the headers; the values are secrets.
    headers: Vec<String>,
    body: Option<Box<RawValue>>,
    #[serde(skip)]
    shape: Shape,
}

impl Sent {
    pub(super) fn new(call: &Call) -> Self {
        let gateway = call.gateway();
        let body = call.body().map(str::to_owned);
        Self {
            method: call.method().to_owned(),
            url: call.url().to_owned(),
            headers: gateway.header_names().map(str::to_owned).collect(),
            body: body.and_then(|json| RawValue::from_string(json).ok()),
            shape: gateway.in_shape(),
        }
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        output::print(&format!("{} {}", title(&self.method), self.url))?;
        for name in &self.headers {
            output::print(&format!("  {name}: ***"))?;
        }
        match &self.body {
            Some(body) => output::print(&format!("  {}", escape_controls(body.get()))),
            None => Ok(()),
        }
    }
}

/// One exchange with a gateway.
pub(super) struct Exchange {
    pub(super) sent: Sent,
    /// The word for an accepted request.
    pub(super) done: &'static str,
    pub(super) answer: Result<Answer, Unanswered>,
}

impl Exchange {
    pub(super) fn is_accepted(&self) -> bool {
        self.answer.as_ref().is_ok_and(Answer::accepted)
    }

    pub(super) fn print_answer(&self) -> Result<(), Failure> {
        if let Ok(answer) = &self.answer {
            output::print(&title(&format!("answered {}", answer.status)))?;
            let text = &answer.text;
            let beginning: String = text.chars().take(LONGEST_TEXT).collect();
            for line in beginning.lines() {
                output::print(&format!("  {}", escape_controls(line)))?;
            }
            if beginning.len() < text.len() {
                output::print("  … (--json prints more)")?;
            }
        }
        let done = self.done;
        let verdict = match &self.answer {
            Ok(answer) if answer.accepted() => good(done),
            Ok(_) => bad(&format!("not {done}")),
            Err(error) => {
                let error = error.to_string();
                bad(&format!("not {done}: {}", escape_controls(&error)))
            }
        };
        output::print(&verdict)?;
        if let Some(hint) = self.hint() {
            output::note(&hint);
        }
        Ok(())
    }

    pub(super) fn print_json(&self, warnings: &[String]) -> Result<(), Failure> {
        // A body that is not JSON is shown as text.
        let answer = self.answer.as_ref().ok().map(|answer| {
            let body = answer
                .json
                .clone()
                .unwrap_or_else(|| answer.text.clone().into());
            json!({ "status": answer.status, "body": body })
        });
        let error = self.answer.as_ref().err().map(ToString::to_string);
        output::print_json(&json!({
            "ok": self.is_accepted(),
            "warnings": warnings,
            "sent": self.sent,
            "answer": answer,
            "error": error.as_deref().map(escape_controls),
            "hint": self.hint(),
        }))
    }

    /// What to do if the gateway has not accepted the request.
    fn hint(&self) -> Option<String> {
        match &self.answer {
            Ok(answer) => hint(answer, self.sent.shape, !self.sent.headers.is_empty()),
            Err(unanswered) => Some(hint_unanswered(unanswered).to_owned()),
        }
    }
}

/// What to do after an answer that does not accept the request.
fn hint(answer: &Answer, shape: Shape, with_headers: bool) -> Option<String> {
    let others = Shape::ALL.iter().filter(|(_, other)| *other != shape);
    let others: Vec<_> = others.map(|(name, _)| format!("--shape {name}")).collect();
    let others = others.join(" or ");
    let hint = match answer.verdict {
        Verdict::Accepted => return None,
        Verdict::SaysNo => "The gateway says that it was no success.",
        Verdict::NotJson => {
            "That is no answer of a gateway: is --gateway the base of its API, and not that of its \
             pages?"
        }
        Verdict::TooLong => "The answer is longer than 64 KiB: is that the gateway's API?",
        Verdict::Redirect => {
            "The API is elsewhere, and redirects are not followed: give its own URL with --gateway."
        }
        Verdict::Unauthorized if with_headers => {
            "The gateway rejects the value of --header or --api-key for this session."
        }
        Verdict::Unauthorized => {
            "The gateway asks for authorization: give it with --api-key, or with --header \
             'Authorization: Bearer …'."
        }
        Verdict::NotFound => &format!(
            "No such session, or a gateway of another shape (this was --shape {shape}): try {others}."
        ),
        Verdict::NotUnderstood => &format!(
            "The gateway understands something else (this was --shape {shape}): is the session's \
             id right? If it is, try {others}."
        ),
        Verdict::Busy => "The gateway is busy; try again later.",
        Verdict::Failed => "The gateway failed: its log may say why.",
        _ => "The gateway refuses it; its log may say why.",
    };
    Some(hint.to_owned())
}

/// What to do when there is no answer.
fn hint_unanswered(unanswered: &Unanswered) -> &'static str {
    match unanswered {
        Unanswered::Refused => "Is the gateway running, and is that its port?",
        Unanswered::TimedOut(_) => {
            "The gateway is too busy, or a firewall on the way drops the packets."
        }
        Unanswered::Unreachable(_) => "Are the gateway's name and port right, and http or https?",
        _ => "What answered there speaks no HTTP as a gateway does: is it https instead of http?",
    }
}

/// The length at which a page is cut, enough to recognize it.
const LONGEST_TEXT: usize = 4000;
