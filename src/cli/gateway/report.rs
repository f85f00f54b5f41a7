//! What was sent to a gateway, what it answered, and what to do if it did not accept.

use offhook::escape_controls;
use offhook::gateway::{Answer, Call, Gateway, Kind, Shape, Unanswered, Verdict};
use serde_json::{Value, json};

use super::super::output::{Failure, bad, good, print, title};

/// The request as JSON. It holds no secret: of the headers only the names.
pub(super) fn sent(call: &Call) -> Value {
    json!({
        "method": call.method(),
        "url": call.url(),
        "headers": call.gateway().header_names().collect::<Value>(),
        "body": call.body().and_then(|body| serde_json::from_str::<Value>(body).ok()),
    })
}

/// Prints the same, with the body as it is sent.
pub(super) fn print_sent(call: &Call) -> Result<(), Failure> {
    print(&format!("{} {}", title(call.method()), call.url()))?;
    for name in call.gateway().header_names() {
        print(&format!("  {name}: ***"))?;
    }
    match call.body() {
        Some(body) => print(&format!("  {}", escape_controls(body))),
        None => Ok(()),
    }
}

/// The answer as JSON. A body that is not JSON is shown as text.
pub(super) fn answered(answer: &Answer) -> Value {
    let body = answer.json.clone();
    let body = body.unwrap_or_else(|| answer.text.clone().into());
    json!({ "status": answer.status, "body": body })
}

/// Prints the last answer and what came of all. `done` is the word for an accepted request.
pub(super) fn print_outcome(
    answer: &Result<Answer, Unanswered>,
    done: &str,
) -> Result<(), Failure> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let error = error.to_string();
            return print(&bad(&format!("not {done}: {}", escape_controls(&error))));
        }
    };
    print_answer(answer)?;
    match (answer.accepted(), answer.unchanged) {
        (true, false) => print(&good(done)),
        (true, true) => print(&good(&format!("{done} already, nothing was changed"))),
        (false, _) => print(&bad(&format!("not {done}"))),
    }
}

/// Prints one answer.
pub(super) fn print_answer(answer: &Answer) -> Result<(), Failure> {
    print(&title(&format!("answered {}", answer.status)))?;
    let beginning: String = answer.text.chars().take(LONGEST_TEXT).collect();
    for line in beginning.lines() {
        print(&format!("  {}", escape_controls(line)))?;
    }
    if beginning.len() < answer.text.len() {
        print("  … (--json prints more)")?;
    }
    Ok(())
}

/// What to do if the gateway has not accepted the request.
pub(super) fn hint(gateway: &Gateway, answer: &Result<Answer, Unanswered>) -> Option<String> {
    let (kind, shape) = (gateway.kind(), gateway.in_shape());
    let others = Shape::ALL.iter().filter(|(_, other)| *other != shape);
    let others: Vec<_> = others.map(|(name, _)| format!("--shape {name}")).collect();
    let others = others.join(" or ");
    let hint = match answer.as_ref().map(|answer| answer.verdict) {
        Ok(Verdict::Accepted) => return None,
        Ok(Verdict::SaysNo) => "The gateway says that it was no success.",
        Ok(Verdict::NotJson) => {
            "That is not the answer of a gateway: is --gateway the base of its API, and not that of \
             its pages?"
        }
        Ok(Verdict::TooLong) => "The answer is longer than 64 KiB: is that the gateway's API?",
        Ok(Verdict::Redirect) => {
            "The API is elsewhere, and redirects are not followed: give its own URL with \
             --gateway."
        }
        Ok(Verdict::Unauthorized) if !gateway.is_authorized() => {
            "The gateway asks for authorization: give it with --api-key, or with --header \
             'Authorization: Bearer …'."
        }
        Ok(Verdict::Unauthorized) => {
            "The gateway rejects the value of --header or --api-key for this session."
        }
        Ok(Verdict::NotFound) if kind == Kind::Telegram => {
            "Telegram knows no such bot: is --api-key its whole token?"
        }
        Ok(Verdict::NotFound) if kind != Kind::Codeskytz => &format!(
            "The gateway knows no such session; or --gateway is not the base of the API of a gateway of the kind \
             {kind}."
        ),
        Ok(Verdict::NotUnderstood) if kind.takes_verify_token() => {
            "Meta asks the webhook URL for its challenge before it answers: does the URL lead to a running server, \
             and has its source with the scheme meta this verify token?"
        }
        Ok(Verdict::NotUnderstood) if kind != Kind::Codeskytz => {
            "The gateway understands something else: its answer may say why."
        }
        Ok(Verdict::NotFound) => &format!(
            "The gateway knows no such session, or no webhook of it; or it is a gateway of another \
             shape (this was --shape {shape}): try {others}."
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

/// The length at which a page is cut, enough to recognize it.
const LONGEST_TEXT: usize = 4000;
