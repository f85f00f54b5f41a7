//! `offhook check`: lists every problem of the settings, or shows what would run.

mod json;
mod text;

use clap::Args;
use offhook::Source;
use offhook::settings::{DOCUMENTED_KEY, Problem, Problems, Settings};
use serde::Serialize;

use super::SettingsFile;
use super::output::{self, Outcome, Verdict};

/// Say what is wrong with a settings file, or what would run
///
/// Secrets are read to find missing ones, and are never shown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    file: SettingsFile,

    /// Print one JSON object instead, problems too
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    ok: bool,
    problems: Vec<Place>,
    summary: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Place {
    place: String,
    text: String,
}

impl From<&Problem> for Place {
    fn from(Problem { place, text }: &Problem) -> Self {
        let (place, text) = (place.clone(), text.clone());
        Self { place, text }
    }
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        if self.json {
            let report = Report::new(Settings::load(&self.file.settings));
            output::print_json(&report)?;
            return Ok(Verdict::from(report.ok));
        }
        let settings = self.file.load("nothing would start")?;
        let file = self.file.settings.display();
        output::print(&format!("{file}: {}\n", output::good("no problem")))?;
        output::print(&text::summary(&settings))?;
        Ok(Verdict::Yes)
    }
}

impl Report {
    fn new(loaded: Result<Settings, Problems>) -> Self {
        let (problems, summary) = match loaded {
            Ok(settings) => (Vec::new(), Some(json::summary(&settings))),
            Err(problems) => (problems.list().iter().map(Place::from).collect(), None),
        };
        Self {
            ok: summary.is_some(),
            problems,
            summary,
        }
    }
}

/// Whether one of the source's secrets is the key printed in the gateway's documentation.
pub(super) fn has_documented_key(source: &Source) -> bool {
    let mut secrets = source.secrets.iter();
    secrets.any(|secret| secret.is(DOCUMENTED_KEY))
}

const EXAMPLES: &str = "\
Examples:
  offhook check
  offhook check --settings /etc/offhook.toml
  offhook check --json | jq .summary.fingerprint

Exit status: 0 no problem, 1 problems, 2 usage.";
