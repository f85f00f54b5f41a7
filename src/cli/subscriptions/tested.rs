//! `offhook subscriptions test`: one signed test POST, and what the subscriber says to it.

use http::Method;
use offhook::escape_controls;
use serde::Deserialize;
use serde_json::json;

use crate::cli::admin::{self, Server};
use crate::cli::body::block;
use crate::cli::output::{self, Outcome, Verdict, bad, fact, good};

#[derive(Deserialize)]
struct Answer {
    delivered: bool,
    verdict: String,
    /// Missing in the answer of an older server.
    meaning: Option<String>,
    took_ms: u64,
    resolved: Vec<String>,
    resolve_ms: u64,
    first_byte_ms: Option<u64>,
    body_excerpt: Option<String>,
}

pub(super) fn run(server: &Server, session: &str, name: &str) -> Outcome {
    let path = ["api", "subscriptions", session, name, "test"];
    let answer = server.ask(Method::POST, &path, &json!({}))?;
    let Answer { delivered, .. } = admin::read(&answer)?;
    server.show(&answer, |answer: Answer| answer.print())?;
    Ok(Verdict::from(delivered))
}

impl Answer {
    fn print(&self) -> Result<(), output::Failure> {
        let verdict = escape_controls(&self.verdict);
        output::print(&if self.delivered {
            good(&verdict)
        } else {
            bad(&verdict)
        })?;
        if let Some(meaning) = &self.meaning {
            output::print(&fact("means", &escape_controls(meaning)))?;
        }
        if !self.resolved.is_empty() {
            let addresses = self.resolved.join(", ");
            let text = format!("{addresses} (looked up in {} ms)", self.resolve_ms);
            output::print(&fact("address", &text))?;
        }
        if let Some(first) = self.first_byte_ms {
            output::print(&fact("first byte", &format!("after {first} ms")))?;
        }
        output::print(&fact("took", &format!("{} ms", self.took_ms)))?;
        match &self.body_excerpt {
            Some(text) => output::print(&block("it answered", text.lines())),
            None => Ok(()),
        }
    }
}
