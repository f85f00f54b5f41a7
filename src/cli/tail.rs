//! `offhook tail`: the events of a running server as they come, also forwarded to a program.

mod blocks;
mod forward;
mod line;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use http::header::HeaderName;
use offhook::http_client::Opened;
use offhook::signature::Secret;
use offhook::{EventKind, Timestamp, escape_controls_in_json};
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use url::Url;

use super::admin::{Server, kinds, read};
use super::client::http_url;
use super::output::{self, Failure, Outcome, Verdict};
use super::replay::moment;
use blocks::{Block, Blocks};
use forward::Forward;
use line::{Event, Skipped, json};

/// Show events as they come, and forward them to a program on this machine
///
/// Each event is shown once and in order, also when the server starts again in between: the command comes back
/// and goes on where it was. It ends with Ctrl-C. Duplicates are left out.
///
/// With --forward the bytes of each event are POSTed, as to a subscriber: with webhook-id, and signed if there is a
/// secret. What the program answers is shown; nothing is sent twice.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tail {
    #[command(flatten)]
    asked: Asked,

    /// POST the bytes of each event there; the next event waits for the answer
    #[arg(long, value_name = "URL", value_parser = program_url)]
    forward: Option<Url>,

    /// The secret that forwarded events are signed with: env:NAME, file:PATH, or the text itself
    #[arg(long, requires = "forward", allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Option<Secret>,

    #[command(flatten)]
    server: Server,
}

#[derive(Args, Serialize)]
struct Asked {
    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = kinds(EventKind::ALL))]
    event: Option<String>,

    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Begin with those received since: 2025-01-08T12:00:00Z, or how long ago, such as 2h; default: now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<Timestamp>,

    #[arg(skip = "event")]
    kinds: &'static str,

    #[arg(skip = true)]
    complete: bool,
}

fn program_url(text: &str) -> Result<Url, String> {
    http_url(text, "http://127.0.0.1:3000/webhook")
}

impl Tail {
    pub(super) fn run(self) -> Outcome {
        let url = self.forward.clone();
        let forward = url.map(|url| Forward::new(self.server.trust(), url, self.secret.clone()));
        let forward = forward.transpose()?;
        actix_rt::System::new().block_on(async {
            let mut terminated = signal(SignalKind::terminate()).map_err(Failure::failed)?;
            tokio::select! {
                ended = self.follow(forward.as_ref()) => ended,
                // Both end it as they should.
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.map_err(Failure::failed)?;
                    Ok(Verdict::Yes)
                }
                _ = terminated.recv() => Ok(Verdict::Yes),
            }
        })
    }

    /// Follows the stream, and comes back when it ends.
    async fn follow(&self, forward: Option<&Forward>) -> Outcome {
        // Until the first answer nothing is known of the server, so a failure is told and not waited for.
        let mut last: Option<String> = None;
        let mut failures = 0;
        loop {
            let resume = last.clone().map(|id| (LAST_EVENT_ID, id));
            let path = ["api", "stream"];
            let opened = self
                .server
                .open(&path, &self.asked, resume.as_slice())
                .await;
            match opened {
                Ok(opened) => {
                    if failures > 0 {
                        output::note("The server is there again.");
                    } else if last.is_none() && std::io::stderr().is_terminal() {
                        let url = self.server.url()?;
                        output::note(&format!("Watching {url}; Ctrl-C ends it"));
                    }
                    failures = 0;
                    if !self.show_all(opened, forward, &mut last).await? {
                        return Ok(Verdict::Yes);
                    }
                }
                Err(error) if last.is_none() || !error.may_pass() => return Err(error.failure),
                Err(error) if failures == 0 => {
                    failures = 1;
                    let why = error.failure.to_string();
                    let why = why.lines().next().unwrap_or_default();
                    output::note(&format!("{why}: waiting for the server to come back"));
                }
                Err(_) => failures += 1,
            }
            tokio::time::sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        }
    }

    /// Shows what comes until the stream ends. `false` if nobody reads that any more.
    async fn show_all(
        &self,
        mut opened: Opened,
        forward: Option<&Forward>,
        last: &mut Option<String>,
    ) -> Result<bool, Failure> {
        let mut blocks = Blocks::default();
        // A connection that breaks is as one that ends: the next one goes on.
        while let Ok(Some(piece)) = opened.next(SILENCE).await {
            if !blocks.add(&piece) {
                return Err(Failure::failed(
                    "the server's answer is no stream of events",
                ));
            }
            while let Some(block) = blocks.next() {
                if !self.show(&block, forward).await? {
                    return Ok(false);
                }
                if block.id.is_some() {
                    *last = block.id;
                }
            }
        }
        Ok(true)
    }

    async fn show(&self, block: &Block, forward: Option<&Forward>) -> Result<bool, Failure> {
        match block.event.as_str() {
            "event" => {}
            "skipped" => {
                if self.server.prints_json() {
                    let line =
                        format!("{{\"skipped\":{}}}\n", escape_controls_in_json(&block.data));
                    return output::try_write(line.as_bytes());
                }
                let skipped: Skipped = read(&block.data)?;
                output::note(&skipped.to_string());
                return Ok(true);
            }
            _ => return Ok(true),
        }
        let event: Event = read(&block.data)?;
        // A body is forwarded once, with the last of its events.
        let is_last = block.id.as_deref() == Some(&*event.seq.to_string());
        let forwarded = match forward.filter(|_| is_last) {
            Some(forward) => Some(forward.event(&self.server, &event).await),
            None => None,
        };
        let mut text = if self.server.prints_json() {
            json(&block.data, forwarded.as_ref())?
        } else {
            event.line(forwarded.as_ref())
        };
        text.push('\n');
        output::try_write(text.as_bytes())
    }
}

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The server sends something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// How long to wait before the server is asked again; the last one again and again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

const EXAMPLES: &str = "\
Examples:
  offhook tail                                     What comes from now on
  offhook tail --from 1h --event message           The messages of the last hour, and those to come
  offhook tail --forward http://127.0.0.1:3000/webhook --secret env:SECRET
                                                   To a program that is being written on this machine
  offhook tail --json | jq -r .id

Exit status: 0 ended by Ctrl-C, 1 when the server cannot be asked or refuses, 2 usage.";
