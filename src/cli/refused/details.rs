//! One refused request, with all that is known of it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::body::body;
use super::super::output::{self, Failure, bad, counted, fact};
use super::WAITS;

#[derive(Deserialize)]
pub(super) struct Details {
    id: String,
    at: String,
    source: Option<String>,
    session: Option<String>,
    path: String,
    method: String,
    status: u16,
    peer: Option<String>,
    bytes: Option<u64>,
    findings: Vec<Finding>,
    headers: Vec<(String, String)>,
    kept: String,
    sha256: Option<String>,
    suggestion: Option<String>,
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Finding {
    why: String,
    advice: String,
}

impl Finding {
    pub(super) fn print(&self) -> Result<(), Failure> {
        let why = offhook::escape_controls(&self.why);
        output::print(&format!("{} {why}", bad("refused:")))?;
        output::print(&format!("  {}", offhook::escape_controls(&self.advice)))
    }
}

impl Details {
    pub(super) fn print(&self) -> Result<(), Failure> {
        let none = || "none".to_owned();
        let request = format!("{} {}", self.method, self.path);
        let bytes = self.bytes.map_or_else(none, |bytes| counted(bytes, "byte"));
        for (name, value) in [
            ("id", &self.id),
            ("at", &self.at),
            ("request", &request),
            ("from", &self.peer.clone().unwrap_or_else(none)),
            ("source", &self.source.clone().unwrap_or_else(none)),
            ("session", &self.session.clone().unwrap_or_else(none)),
            ("answered", &self.status.to_string()),
            ("body", &format!("{bytes} ({})", self.kept)),
        ] {
            output::print(&fact(name, value))?;
        }
        if let Some(hash) = &self.sha256 {
            output::print(&fact("sha256", hash))?;
        }
        for (name, value) in &self.headers {
            output::print(&fact("header", &format!("{name}: {value}")))?;
        }
        if let Some(body) = body(self.body.as_deref(), self.body_base64.as_deref()) {
            output::print(&format!("{body}\n"))?;
        }
        if self.findings.is_empty() {
            output::print(WAITS)?;
        }
        for finding in &self.findings {
            finding.print()?;
        }
        if let Some(suggestion) = &self.suggestion {
            let shown: Vec<_> = suggestion.lines().map(offhook::escape_controls).collect();
            output::print(&format!("\nThis would accept it:\n\n{}", shown.join("\n")))?;
        }
        Ok(())
    }
}
