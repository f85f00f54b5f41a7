//! What the engine must do besides the contract. Each test has a schema of its own in the server of this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::shared::Times;
use super::{Postgres, PostgresError, PostgresOptions};
use crate::clock::{Clock, SystemClock};
use crate::journal::Memory;
use crate::journal::contract::{Instances, Provider};

mod answers;
mod checks;
mod documents;
mod faults;
mod history;
mod joining;
mod keys;
mod leases;
mod locks;
mod logged;
mod logs;
mod model;
mod proxy;
mod server;
mod standbys;
#[cfg(feature = "sqlite")]
mod verifying;

use server::Server;

/// Two instances on one journal.
struct InDatabase;

#[async_trait]
impl Provider for InDatabase {
    async fn open(&self, clock: Arc<dyn Clock>) -> Instances {
        let Some(server) = Server::shared() else {
            // It has said that nothing is tested.
            let journal = Arc::new(Memory::new(clock, 3));
            return Instances::new(journal.clone(), journal);
        };
        let options = options(server).shares(3);
        let first = open_at(options.clone(), &clock).await;
        let second = open_at(options, &clock).await;
        Instances::new(Arc::new(first), Arc::new(second))
    }
}

/// Options with a schema that no other test has.
fn options(server: &Server) -> PostgresOptions {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let options = PostgresOptions::new(&server.url()).unwrap();
    options.schema(format!("test_{number}")).unwrap()
}

/// Opens an instance whose stored times are those of `clock`.
async fn open_at(options: PostgresOptions, clock: &Arc<dyn Clock>) -> Postgres {
    let times = Times::of(Arc::clone(clock));
    Postgres::open(options, Arc::new(SystemClock), times)
        .await
        .unwrap()
}

async fn open(options: &PostgresOptions) -> Postgres {
    try_open(options).await.unwrap()
}

async fn try_open(options: &PostgresOptions) -> Result<Postgres, PostgresError> {
    Postgres::connect(options.clone(), Arc::new(SystemClock)).await
}

/// The system's clock on a machine that can be suspended. It counts how often it is asked for the time.
#[derive(Debug, Default)]
struct OwnClock {
    suspended_seconds: AtomicU64,
    looks: AtomicU64,
}

impl OwnClock {
    fn suspend(&self, seconds: u64) {
        self.suspended_seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }
}

impl Clock for OwnClock {
    fn now(&self) -> crate::Timestamp {
        SystemClock.now()
    }

    fn monotonic(&self) -> Instant {
        self.looks.fetch_add(1, Ordering::SeqCst);
        SystemClock.monotonic()
    }

    fn since_boot(&self) -> Duration {
        self.looks.fetch_add(1, Ordering::SeqCst);
        let suspended = self.suspended_seconds.load(Ordering::SeqCst);
        SystemClock.since_boot() + Duration::from_secs(suspended)
    }
}

/// Ten times what is expected, or more.
const HANG: Duration = Duration::from_secs(60);

mod contract {
    use super::InDatabase;

    crate::journal_contract!(InDatabase);
}
