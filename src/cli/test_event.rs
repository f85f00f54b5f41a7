//! `offhook test`: a test event through the checks of a source of a running server.

use clap::Args;
use http::Method;
use offhook::{EventKind, escape_controls};
use serde::{Deserialize, Serialize};

use super::admin::{Server, kinds};
use super::output::{self, Outcome, good};

/// Have a running server receive a test event, signed with a source's own secret
///
/// The server makes and signs it, so nothing of the secret is needed here, and it passes the checks of any request.
/// It has the header `offhook-test: true`, for handlers and for subscribers, and by default the session
/// offhook-test. `send` sends over the network instead; `subscriptions test` tests one subscriber.
#[derive(Args, Serialize)]
#[command(after_help = EXAMPLES)]
pub(super) struct Test {
    /// The source; default: the first of the settings
    source: Option<String>,

    /// Its session; default: offhook-test
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Its kind; default: message
    #[arg(long, value_name = "KIND", value_parser = kinds(TESTABLE))]
    event: Option<String>,

    /// Only say which consumers would get it
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,

    #[command(flatten)]
    #[serde(skip)]
    server: Server,
}

/// The kinds that the documented gateway has.
const TESTABLE: [EventKind; 4] = [
    EventKind::Message,
    EventKind::Status,
    EventKind::Connection,
    EventKind::Unknown,
];

#[derive(Deserialize)]
struct Answer {
    source: String,
    session: String,
    reaches: Vec<String>,
    event: Option<String>,
}

impl Test {
    pub(super) fn run(self) -> Outcome {
        let answer = self.server.ask(Method::POST, &["api", "test"], &self)?;
        self.server
            .show(&answer, |answer: Answer| output::print(&answer.text()))
    }
}

impl Answer {
    fn text(&self) -> String {
        let (source, session) = (
            escape_controls(&self.source),
            escape_controls(&self.session),
        );
        let reaches = match self.reaches.join(", ") {
            names if names.is_empty() => "no consumer".to_owned(),
            names => escape_controls(&names).into_owned(),
        };
        match &self.event {
            Some(event) => good(&format!(
                "{source} has received {} of session {session}; it reaches {reaches}",
                escape_controls(event)
            )),
            None => format!("a test of {source}, session {session}, would reach {reaches}"),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook test                                     A message from the first source
  offhook test shop --event status --session 408f
  offhook test --dry-run                           Who would get it

Exit status: 0 received, 1 when the source does not accept it or the server cannot be asked, 2 usage.";
