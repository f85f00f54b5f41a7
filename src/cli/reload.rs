//! `offhook reload`: has a running server load its settings again.

use std::time::Duration;

use clap::Args;
use http::Method;
use offhook::escape_controls;
use serde::Deserialize;
use serde_json::json;

use super::admin::Server;
use super::output::{self, Outcome, good};

/// Have a running server load its settings again, and say what has changed
///
/// Waits until the server has done it. If there is a problem, nothing has changed: each problem is printed, and
/// the exit status is 1. A server also reloads by itself when its settings file changes, and on SIGHUP.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Reload {
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Deserialize)]
struct Answer {
    outcome: String,
    changes: Vec<String>,
    finished: Option<bool>,
}

impl Reload {
    pub(super) fn run(self) -> Outcome {
        let fields = json!({ "dry_run": self.dry_run });
        let answer =
            self.server
                .ask_patiently(Method::POST, &["api", "reload"], &fields, PATIENCE)?;
        self.server.show(&answer, |answer: Answer| {
            let heading = match answer.outcome.as_str() {
                "reloaded" => "reloaded",
                "would_reload" => "would be reloaded",
                _ => "nothing to reload: the file says what runs already",
            };
            output::print(&good(heading))?;
            for change in &answer.changes {
                output::print(&format!("  {}", escape_controls(change)))?;
            }
            if answer.finished == Some(false) {
                output::note("Some handlers and subscriptions still finish what they have begun.");
            }
            Ok(())
        })
    }
}

/// The server takes a changed file after a second at most, unless it is refused.
const PATIENCE: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  offhook reload
  offhook reload --dry-run
  offhook reload --json | jq -r '.changes[]'

Exit status: 0 done, 1 problems in the settings or the server cannot be asked, 2 usage.";
