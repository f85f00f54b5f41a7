//! `offhook verify-durability`: is everything that was acknowledged still there after `kill -9`?
//!
//! One run starts its own server in a new folder, loads it, kills it at a random moment, and starts it
//! again on the same folder, many times. At the end the server may catch up and is stopped. Then what it
//! acknowledged ([`load`]) is compared with what its handler received ([`verdict`]).

mod load;
mod server;
mod verdict;

use std::time::Duration;

use clap::Args;
use futures_util::FutureExt as _;
use offhook::clock::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

use self::load::{CONNECTIONS, Load};
use self::server::{Folder, Server};
use self::verdict::{Figures, Handled, Place};
use super::client::Client;
use super::output::{self, Failure, Outcome, Verdict, progress_bar};

/// Kill a server under load again and again, and check that it loses nothing
///
/// Starts this program's own server in a temporary folder (set by TMPDIR), sends it signed messages of
/// many conversations, kills it with SIGKILL at random moments, and starts it again on the same folder.
/// Then compares: every acknowledged message must have reached the handler, and those of one
/// conversation in the order they were sent. Other servers on this machine are left alone.
///
/// SIGKILL shows that nothing acknowledged is only in the process's memory. It does not show what a
/// power cut does, which depends on the system and the disk; offhook synchronises its file before it
/// answers.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyDurability {
    /// How often the server is killed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,

    /// The longest time that the server is loaded before each kill
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: f64,

    /// Repeat the random choices of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.01..=3600.0).contains(&number) => Ok(number),
        _ => Err("expected seconds, from 0.01 to 3600".to_owned()),
    }
}

impl VerifyDurability {
    pub(super) fn run(self) -> Outcome {
        let figures = actix_rt::System::new().block_on(async {
            let refused = |error| Failure::failed(format!("listening to signals: {error}"));
            let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
            // Dropping the run halfway also stops its server and removes its folder.
            tokio::select! {
                figures = self.verify() => figures,
                _ = interrupt.recv() => Err(Failure::failed(INTERRUPTED)),
                _ = terminate.recv() => Err(Failure::failed(INTERRUPTED)),
            }
        })?;
        if self.json {
            output::print_json(&figures)?;
        } else {
            output::print(&figures.text())?;
        }
        Ok(Verdict::from(figures.durable))
    }

    async fn verify(&self) -> Result<Figures, Failure> {
        let started = SystemClock.monotonic();
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let folder = Folder::new()?;
        let place = Place::of(&folder.path);
        let load = Load::new(seed, &folder.secret);
        let killed_while_starting = self.kill_repeatedly(&folder, &load).await?;
        let handled = catch_up(&folder, &load).await?;
        let mut figures = Figures {
            place,
            seed,
            kills: self.kills,
            killed_while_starting,
            seconds: (SystemClock.monotonic() - started).as_secs_f64(),
            ..Figures::compare(&load.ledger.borrow(), &handled)
        };
        if !figures.durable {
            // The folder is kept for inspection.
            figures.folder = Some(folder.keep());
        }
        Ok(figures)
    }

    /// Loads and kills the server. Returns how often it was killed before it had started.
    async fn kill_repeatedly(&self, folder: &Folder, load: &Load) -> Result<u32, Failure> {
        let bar = progress_bar(
            self.kills.into(),
            "{bar:40} {pos}/{len} kills  {msg} acknowledged",
        );
        let mut while_starting = 0;
        for kill in 0..self.kills {
            let mut server = Server::start(folder)?;
            let (starting, moment) = {
                let mut rng = load.rng.borrow_mut();
                (kill > 0 && rng.u32(..KILLED_STARTING) == 0, rng.f64())
            };
            if starting {
                tokio::time::sleep(START.mul_f64(moment)).await;
                while_starting += 1;
                server.kill()?;
            } else {
                let client = Client::new(server.listening().await?, CONNECTIONS)?;
                let sending = load.send_all(&client).shared();
                let moment = Duration::from_secs_f64(self.seconds * moment);
                // The load only ends earlier if no connection works any more.
                let _ = tokio::time::timeout(moment, sending.clone()).await;
                server.kill()?;
                sending.await;
            }
            bar.inc(1);
            bar.set_message(load.ledger.borrow().acknowledged.len().to_string());
        }
        bar.finish_and_clear();
        Ok(while_starting)
    }
}

/// Lets the server run until its handler has every acknowledged message, then stops it.
async fn catch_up(folder: &Folder, load: &Load) -> Result<Handled, Failure> {
    let failed = |error| Failure::failed(format!("{}: {error}", folder.handled.display()));
    let mut server = Server::start(folder)?;
    server.listening().await?;
    let mut handled = Handled::open(&folder.handled).map_err(failed)?;
    let mut idle_since = SystemClock.monotonic();
    loop {
        let grown = handled.read_on().map_err(failed)?;
        let now = SystemClock.monotonic();
        if grown {
            idle_since = now;
        }
        let idle = now - idle_since;
        let complete = !grown && handled.missing(&load.ledger.borrow()) == 0;
        if complete && idle >= QUIET || idle >= PATIENCE {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    server.stop().await?;
    handled.read_on().map_err(failed)?;
    Ok(handled)
}

const INTERRUPTED: &str = "interrupted; the server was ended and its folder removed";

/// One in this many kills happens while the server starts.
const KILLED_STARTING: u32 = 6;

/// The approximate time that a start takes.
const START: Duration = Duration::from_millis(80);

/// When everything is there, the run ends after the handler's file has not grown for this long.
const QUIET: Duration = Duration::from_millis(300);

/// If nothing happens for this long, what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

const LOOK: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
Examples:
  offhook verify-durability
  offhook verify-durability --kills 100 --seconds 3
  offhook verify-durability --seed 42 --json
  TMPDIR=/var/lib offhook verify-durability      On the disk that will hold the journal

Exit status: 0 durable, 1 not (or it could not be tried), 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long() {
        assert_eq!(seconds("0.3"), Ok(0.3));
        for odd in ["", "0", "-1", "NaN", "inf", "3601", "1s"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
    }
}
