//! [`Report`]: what was sent to a gateway, what it answered, and what to do if it did not accept.

use offhook::escape_controls;
use offhook::gateway::{Answer, Call, Shape, Unanswered, Verdict};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::output::{self, Failure, bad, good, title};

/// One exchange with a gateway. It holds no secret.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) ok: bool,
    warnings: Vec<String>,
    sent: Sent,
    answer: Option<Answered>,
    /// Why there is no answer.
    error: Option<String>,
    hint: Option<String>,
    #[serde(skip)]
    done: &'static str,
    #[serde(skip)]
    shape: Shape,
}

#[derive(Serialize)]
struct Sent {
    method: String,
    url: String,
    /// The names of the headers; the values are secrets.
    headers: Vec<String>,
    body: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct Answered {
    status: u16,
    /// The body as JSON, or as text if it is not JSON.
    body: Value,
    #[serde(skip)]
    text: String,
}

impl Report {
    /// `done` is the word for an accepted request.
    pub(super) fn new(done: &'static str, call: &Call, warnings: Vec<String>) -> Self {
        let body = call.body().map(str::to_owned);
        let sent = Sent {
            method: call.method().to_owned(),
            url: call.url().to_owned(),
            headers: call.gateway().header_names().map(str::to_owned).collect(),
            body: body.and_then(|json| RawValue::from_string(json).ok()),
        };
        Self {
            ok: false,
            warnings,
            sent,
            answer: None,
            error: None,
            hint: None,
            done,
            shape: call.gateway().in_shape(),
        }
    }

    pub(super) fn answered(&mut self, answer: Result<Answer, Unanswered>) {
        match answer {
            Ok(answer) => {
                self.ok = answer.accepted();
                self.hint = hint(&answer, self.shape, !self.sent.headers.is_empty());
                let text = answer.text().to_owned();
                let body = answer.json().cloned();
                self.answer = Some(Answered {
                    status: answer.status(),
                    body: body.unwrap_or_else(|| text.clone().into()),
                    text,
                });
            }
            Err(unanswered) => {
                self.hint = Some(hint_unanswered(&unanswered).to_owned());
                self.error = Some(escape_controls(&unanswered.to_string()).into_owned());
            }
        }
    }

    pub(super) fn print_sent(&self) -> Result<(), Failure> {
        let Sent {
            method, url, body, ..
        } = &self.sent;
        output::print(&format!("{} {url}", title(method)))?;
        for name in &self.sent.headers {
            output::print(&format!("  {name}: ***"))?;
        }
        match body {
            Some(body) => output::print(&format!("  {}", escape_controls(body.get()))),
            None => Ok(()),
        }
    }

    pub(super) fn print_answer(&self) -> Result<(), Failure> {
        if let Some(Answered { status, text, .. }) = &self.answer {
            output::print(&title(&format!("answered {status}")))?;
            let begins: String = text.chars().take(LONGEST_TEXT).collect();
            for line in begins.lines() {
                output::print(&format!("  {}", escape_controls(line)))?;
            }
            if begins.len() < text.len() {
                output::print("  … (--json prints more)")?;
            }
        }
        match (self.ok, &self.error) {
            (true, _) => output::print(&good(self.done))?,
            (false, None) => output::print(&bad(&format!("not {}", self.done)))?,
            (false, Some(error)) => {
                output::print(&bad(&format!("not {}: {error}", self.done)))?;
            }
        }
        if let Some(hint) = &self.hint {
            output::note(hint);
        }
        Ok(())
    }

    pub(super) fn print_json(&self) -> Result<(), Failure> {
        output::print_json(self)
    }
}

/// What to do after an answer that does not accept the request.
fn hint(answer: &Answer, shape: Shape, with_headers: bool) -> Option<String> {
    let others = Shape::ALL.iter().filter(|(_, other)| *other != shape);
    let others: Vec<_> = others.map(|(name, _)| format!("--shape {name}")).collect();
    let others = others.join(" or ");
    let hint = match answer.verdict() {
        Verdict::Accepted => return None,
        Verdict::SaysNo => "The gateway says that it was no success.".to_owned(),
        Verdict::NotJson => {
            "That is no answer of a gateway: is --gateway the base of its API, and \
                             not that of its pages?"
                .to_owned()
        }
        Verdict::TooLong => {
            "The answer is longer than 64 KiB: is that the gateway's API?".to_owned()
        }
        Verdict::Redirect => {
            "The API is elsewhere, and redirects are not followed: give its own URL with --gateway."
                .to_owned()
        }
        Verdict::Unauthorized if with_headers => {
            "The gateway rejects the value of --header or --api-key for this session.".to_owned()
        }
        Verdict::Unauthorized => "The gateway asks who we are: say it with --api-key, or with \
                                  --header 'Authorization: Bearer …'."
            .to_owned(),
        Verdict::NotFound => format!(
            "No such session, or a gateway of another shape (this was --shape {shape}): try {others}."
        ),
        Verdict::NotUnderstood => format!(
            "The gateway understands something else (this was --shape {shape}): is the session's \
             id right? If it is, try {others}."
        ),
        Verdict::Busy => "The gateway is busy; try again later.".to_owned(),
        Verdict::Failed => "The gateway failed: its log may say why.".to_owned(),
        _ => "The gateway refuses it; its log may say why.".to_owned(),
    };
    Some(hint)
}

const fn hint_unanswered(unanswered: &Unanswered) -> &'static str {
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
