//! The servers that this program is itself, each a process of its own: `offhook-bench serve NAME`.
//!
//! One protocol for all: the first line of standard output is the address; for every line on standard
//! input one is written back, with the number of events handled so far; the line `open` also lets those
//! begin that wait for it; the end of standard input is the end of the server. So none of them outlives
//! a benchmark that dies.

mod append;
mod bare;
mod bare_loop;
mod file;
pub(crate) mod fixed;
mod offhook_server;
mod postgres;
mod redis_stream;
mod sqlite;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, ValueEnum};
use tokio::sync::watch;

use bare::Store;
pub(crate) use bare_loop::{LoopOptions, run as bare_loop};
pub(crate) use offhook_server::{ADMIN, CERTIFICATE};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Served {
    /// Answers a fixed 200: what the load generator can do at most.
    Fixed,
    /// offhook, engine `none`.
    None,
    /// offhook with its journal.
    Sqlite,
    /// The same over TLS.
    SqliteTls,
    /// A bare actix-web app.
    Bare,
    /// The bare app and one file: group commit, fdatasync.
    File,
    /// The bare app and a SQLite INSERT per request.
    SqliteNaive,
    /// The bare app and a PostgreSQL INSERT per request.
    Postgres,
    /// The bare app and the bare call of the function that appends.
    Append,
    /// offhook with its journal in PostgreSQL.
    Cluster,
    /// The bare app and a Redis XADD per request.
    Redis,
}

/// What a server is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeOptions {
    pub(crate) server: Served,
    /// Where it keeps what it keeps.
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// The database that it stores in.
    #[arg(long)]
    pub(crate) database: Option<String>,
    /// How many handlers follow the journal, each a consumer of its own.
    #[arg(long, default_value_t = 1)]
    pub(crate) handlers: usize,
    /// Subscribers that every event is relayed to as soon as standard input says `open`, each a
    /// consumer of its own.
    #[arg(long, value_delimiter = ',')]
    pub(crate) relay_to: Vec<SocketAddr>,
    /// Subscribers that every event is relayed to from now on: subscriptions of the settings.
    #[arg(long, value_delimiter = ',')]
    pub(crate) subscribed: Vec<SocketAddr>,
    /// How many requests are on their way to each subscriber at once.
    #[arg(long, default_value_t = 64)]
    pub(crate) concurrency: usize,
    /// It has an admin listener.
    #[arg(long)]
    pub(crate) admin: bool,
    /// Handlers fail the events of this session.
    #[arg(long)]
    pub(crate) failing: Option<String>,
}

pub(crate) fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    let handled = Handled::default();
    let store = match options.server {
        Served::Fixed => return fixed::run(&handled),
        Served::None | Served::Sqlite | Served::SqliteTls | Served::Cluster => {
            return offhook_server::run(options, &handled);
        }
        Served::Bare => Store::Nowhere,
        Served::File => Store::File(file::GroupFile::create(&options.folder.join("bodies"))?),
        Served::SqliteNaive => Store::Sqlite(sqlite::Table::create(&options.folder)?),
        Served::Postgres => Store::Postgres(postgres::Pool::new(options.database.as_deref())?),
        Served::Append => Store::Append(append::Caller::start(options.database.as_deref())?),
        Served::Redis => Store::Redis(Box::new(redis_stream::Stream::new(
            options.database.as_deref(),
        )?)),
    };
    bare::run(store, &handled)
}

/// How many events the handler has seen, and whether it may begin.
#[derive(Debug, Clone, Default)]
struct Handled {
    count: Arc<AtomicU64>,
    open: Arc<watch::Sender<bool>>,
}

impl Handled {
    fn one_more(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the benchmark says so.
    async fn opened(&self) {
        // We hold the sender, so there is no error.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }

    /// Says where to find us, then answers questions until there are none.
    fn announce(&self, address: SocketAddr) -> std::io::Result<()> {
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{address}")?;
        let handled = self.clone();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                if line == "open" {
                    handled.open.send_replace(true);
                }
                let count = handled.count.load(Ordering::Relaxed);
                if writeln!(stdout, "{count}").is_err() {
                    break;
                }
            }
            // As from outside, so that everything is finished first.
            let us = rustix::process::getpid();
            if let Err(error) = rustix::process::kill_process(us, rustix::process::Signal::TERM) {
                eprintln!("cannot end: {error}");
            }
        });
        Ok(())
    }
}
