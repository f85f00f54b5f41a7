//! `offhook verify-durability`: is everything that was acknowledged still there after `kill -9`?
//!
//! One run starts its own server in a new folder, loads it, kills it at a random moment, and starts it
//! again on the same folder, many times. At the end the server may catch up and is stopped. Then what it
//! acknowledged ([`ledger`]) is compared with what its handler received ([`handled`]).

mod folder;
mod handled;
mod ledger;
mod load;
mod server;
mod verdict;

use std::cell::RefCell;
use std::time::Duration;

use clap::Args;
use fastrand::Rng;
use futures_util::FutureExt as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offhook::clock::{Clock as _, SystemClock};
use tokio::signal::unix::{SignalKind, signal};

use self::folder::Folder;
use self::handled::Handled;
use self::ledger::Ledger;
use self::load::{CONNECTIONS, Load};
use self::server::Server;
use self::verdict::{Figures, Place};
use super::client::Client;
use super::output::{self, Failure, Outcome, Verdict};

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
    let number = text.parse().ok();
    let number = number.filter(|number| (0.01..=3600.0).contains(number));
    number.ok_or_else(|| "expected seconds, from 0.01 to 3600".to_owned())
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
                _ = interrupt.recv() => Err(interrupted()),
                _ = terminate.recv() => Err(interrupted()),
            }
        })?;
        match self.json {
            true => output::print_json(&figures)?,
            false => output::print(&figures.text())?,
        }
        Ok(Verdict::from(figures.durable))
    }

    async fn verify(&self) -> Result<Figures, Failure> {
        let started = SystemClock.monotonic();
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let folder = Folder::new()?;
        let place = Place::of(folder.path());
        let run = Run {
            rng: RefCell::new(Rng::with_seed(seed)),
            ledger: RefCell::new(Ledger::new()),
            seconds: self.seconds,
            bar: progress_bar(self.kills),
            folder,
        };
        let killed_while_starting = run.kill(self.kills).await?;
        let handled = run.catch_up().await?;
        run.bar.finish_and_clear();
        let mut figures = Figures::compare(&run.ledger.borrow(), &handled);
        figures.seed = seed;
        figures.kills = self.kills;
        figures.killed_while_starting = killed_while_starting;
        figures.place = place;
        figures.seconds = (SystemClock.monotonic() - started).as_secs_f64();
        if !figures.durable {
            // The folder is kept for inspection.
            figures.folder = Some(run.folder.keep());
        }
        Ok(figures)
    }
}

/// A run in progress.
struct Run {
    folder: Folder,
    rng: RefCell<Rng>,
    ledger: RefCell<Ledger>,
    seconds: f64,
    bar: ProgressBar,
}

impl Run {
    /// Loads and kills the server `kills` times. Returns how often it was killed before it had started.
    async fn kill(&self, kills: u32) -> Result<u32, Failure> {
        let mut while_starting = 0;
        for kill in 0..kills {
            let mut server = Server::start(&self.folder)?;
            let (starting, moment) = {
                let mut rng = self.rng.borrow_mut();
                (kill > 0 && rng.u32(..KILLED_STARTING) == 0, rng.f64())
            };
            if starting {
                tokio::time::sleep(START.mul_f64(moment)).await;
                while_starting += 1;
                server.kill()?;
            } else {
                let url = server.listening().await?;
                let client = Client::new(url, CONNECTIONS)?;
                let load = Load::new(&client, &self.ledger, &self.rng, self.folder.secret());
                let load = load.run().shared();
                let moment = Duration::from_secs_f64(self.seconds * moment);
                // The load only ends earlier if no connection works any more.
                let _ = tokio::time::timeout(moment, load.clone()).await;
                server.kill()?;
                load.await;
            }
            self.bar.inc(1);
            let acknowledged = self.ledger.borrow().acknowledged();
            self.bar.set_message(acknowledged.to_string());
        }
        Ok(while_starting)
    }

    /// Lets the server run until its handler has every acknowledged message, then stops it.
    async fn catch_up(&self) -> Result<Handled, Failure> {
        let mut server = Server::start(&self.folder)?;
        server.listening().await?;
        let mut handled = Handled::new(&self.folder.handled());
        let mut idle_since = SystemClock.monotonic();
        loop {
            let grown = handled.read_on()?;
            let now = SystemClock.monotonic();
            if grown {
                idle_since = now;
            }
            let idle = now - idle_since;
            let complete = !grown && handled.has_all_of(&self.ledger.borrow());
            if complete && idle >= QUIET || idle >= PATIENCE {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        server.stop().await?;
        handled.read_on()?;
        Ok(handled)
    }
}

fn interrupted() -> Failure {
    Failure::failed("interrupted; the server was ended and its folder removed")
}

/// A progress bar on standard error, if that is a terminal.
fn progress_bar(kills: u32) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(kills.into()), ProgressDrawTarget::stderr());
    let template = "{bar:40} {pos}/{len} kills  {msg} acknowledged";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

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
