//! [`Report`]: what happened to one event, and how that is shown.

use offhook::escape_controls;
use serde::Serialize;

use super::client::{self, Answer};
use super::output::{self, Failure};

/// What happened to one event.
pub(super) struct Report<'a> {
    pub(super) url: &'a str,
    pub(super) event: &'static str,
    pub(super) bytes: usize,
    pub(super) millis: Option<f64>,
    pub(super) answer: Result<Answer, String>,
}

#[derive(Serialize)]
struct Json<'a> {
    url: &'a str,
    event: &'a str,
    bytes: usize,
    status: Option<u16>,
    body: Option<&'a str>,
    latency_ms: Option<f64>,
    error: Option<&'a str>,
}

impl Report<'_> {
    pub(super) fn good(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_ok_and(|answer| (200..300).contains(&answer.status))
    }

    pub(super) fn print_json(&self) -> Result<(), Failure> {
        let answer = self.answer.as_ref().ok();
        output::print_json(&Json {
            url: self.url,
            event: self.event,
            bytes: self.bytes,
            status: answer.map(|answer| answer.status),
            body: answer.map(|answer| answer.body.as_str()),
            latency_ms: self.millis,
            error: self.answer.as_ref().err().map(String::as_str),
        })
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        output::print(&format!("sent      {} ({} bytes)", self.event, self.bytes))?;
        output::print(&format!("to        {}", self.url))?;
        match &self.answer {
            Ok(answer) => {
                let status = answer.status.to_string();
                let status = if self.good() {
                    output::good(&status)
                } else {
                    output::bad(&status)
                };
                let body = escape_controls(&answer.body);
                output::print(&format!("answered  {status} {body}"))?;
                output::print(&format!("in        {} ms", self.millis.unwrap_or_default()))?;
                if !self.good() {
                    output::note(&client::advice(answer.status));
                }
            }
            Err(error) => {
                let none = output::bad("no answer:");
                output::note(&format!(
                    "{none} {error}\n{}",
                    client::advice_unreached(error)
                ));
            }
        }
        Ok(())
    }
}
