//! Is everything that was acknowledged still there after `kill -9`?
//!
//! [`verify`] starts an offhook server in a new folder, loads it, kills it at a random moment, and starts
//! it again on the same folder, many times. At the end the server may catch up and is stopped. Then what
//! it acknowledged is compared with what its handler received: these are the [`Figures`].
//!
//! [`verify_cluster`] does the same with several instances on a PostgreSQL database of its own, which is killed too.
//!
//! The server is a program of its own. The crate knows only its command line, its settings, its HTTP and
//! the file of its handler `jsonl`.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use offhook_durability::{Error, Plan, verify};
//!
//! # async fn run() -> Result<(), Error> {
//! let (program, load) = ("target/release/offhook".into(), Duration::from_secs(1));
//! let plan = Plan { program, load, kills: 10, seed: 42 };
//! let figures = verify(&plan, |acknowledged| println!("{acknowledged} so far")).await?;
//! assert!(figures.durable, "{}", figures.text());
//! # Ok(())
//! # }
//! ```

mod client;
mod cluster;
mod database;
mod error;
mod figures;
mod folder;
mod handled;
mod ledger;
mod load;
mod place;
mod server;
mod subscriber;
mod text;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

pub use crate::cluster::{ClusterPlan, verify_cluster};
pub use crate::error::Error;
pub use crate::figures::{Cluster, Figures};
pub use crate::place::Place;

use crate::error::io;
use crate::folder::Folder;
use crate::handled::Handled;
use crate::load::Load;
use crate::server::Server;

/// What a run does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The `offhook` program.
    pub program: PathBuf,
    /// How often the server is killed.
    pub kills: u32,
    /// The longest time that the server is loaded before each kill.
    pub load: Duration,
    /// Runs with the same seed make the same random choices.
    pub seed: u64,
}

/// Runs the plan. Calls `progress` after each kill with the number of messages acknowledged so far.
///
/// The folder is made in the system's temporary folder. It is removed at the end if nothing is wrong. If
/// the future is dropped halfway, the server is killed and the folder is removed. Needs a tokio runtime
/// with I/O and time.
///
/// # Errors
///
/// When the run cannot be completed: the server does not start, or ends by itself, or a file cannot be
/// read or written. A loss is not an error, it is in the figures.
pub async fn verify(plan: &Plan, mut progress: impl FnMut(usize)) -> Result<Figures, Error> {
    let started = Instant::now();
    let folder = Folder::new()?;
    let place = Place::of(&folder.path);
    let load = Load::new(plan.seed, &folder.secret);
    let mut killed_while_starting = 0;
    for kill in 0..plan.kills {
        let starting = load_and_kill(plan, &folder, &load, kill == 0).await?;
        killed_while_starting += u32::from(starting);
        progress(load.ledger.borrow().acknowledged.len());
    }
    let handled = catch_up(plan, &folder, &load).await?;
    let mut figures = Figures {
        place,
        seed: plan.seed,
        kills: plan.kills,
        killed_while_starting,
        seconds: started.elapsed().as_secs_f64(),
        ..Figures::compare("sqlite", &load.ledger.borrow(), &handled.seen)
    };
    if !figures.durable {
        figures.folder = Some(folder.keep());
    }
    Ok(figures)
}

/// Starts the server and kills it. Returns whether it was killed before it had started.
async fn load_and_kill(
    plan: &Plan,
    folder: &Folder,
    load: &Load,
    first: bool,
) -> Result<bool, Error> {
    let mut server = Server::start(&plan.program, &folder.path)?;
    let (starting, moment) = {
        let mut rng = load.rng.borrow_mut();
        (!first && rng.u32(..KILLED_STARTING) == 0, rng.f64())
    };
    if starting {
        sleep(START.mul_f64(moment)).await;
        server.kill()?;
        return Ok(true);
    }
    let url = server.listening().await?;
    let mut sending = pin!(load.send_all(url));
    // The load only ends earlier if no connection works any more.
    let ended = timeout(plan.load.mul_f64(moment), &mut sending).await;
    server.kill()?;
    if ended.is_err() {
        sending.await;
    }
    Ok(false)
}

/// Lets the server run until its handler has every acknowledged message, then stops it.
async fn catch_up(plan: &Plan, folder: &Folder, load: &Load) -> Result<Handled, Error> {
    let failed = io(folder.handled.display());
    let mut server = Server::start(&plan.program, &folder.path)?;
    server.listening().await?;
    let mut handled = Handled::open(&folder.handled).map_err(&failed)?;
    let mut idle_since = Instant::now();
    loop {
        let grown = handled.read_on().map_err(&failed)?;
        if grown {
            idle_since = Instant::now();
        }
        let idle = idle_since.elapsed();
        let complete = !grown && handled.seen.missing(&load.ledger.borrow()) == 0;
        if complete && idle >= QUIET || idle >= PATIENCE {
            break;
        }
        sleep(LOOK).await;
    }
    server.stop().await?;
    handled.read_on().map_err(&failed)?;
    Ok(handled)
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
