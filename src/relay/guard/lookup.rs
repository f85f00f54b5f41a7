//! [`Lookup`]: from a host name to addresses.
//!
//! Each of the system's lookups blocks a thread, for as long as dead name servers let it, and the
//! journal is read on such threads too. So a host is looked up once at a time, however many attempts
//! wait for it, and [`SystemLookup`] takes at most [`MAX_SYSTEM_LOOKUPS`] threads.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::Shared;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::rejected::RejectedAddress;

/// Resolves host names.
#[async_trait]
pub trait Lookup: Debug + Send + Sync + 'static {
    /// All addresses that the host has now.
    ///
    /// While a lookup of a host runs, no other one of that host is started, for 60 s at most. An
    /// attempt waits for it for [`LOOKUP_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// When the host has no address, or no name server answers.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the system: its hosts file and its name servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        static THREADS: Semaphore = Semaphore::const_new(MAX_SYSTEM_LOOKUPS);
        let _thread = THREADS.acquire().await.map_err(io::Error::other)?;
        let addresses = tokio::net::lookup_host((host, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// A [`Lookup`] whose running lookups are shared: each host is looked up once at a time.
#[derive(Debug, Clone)]
pub(super) struct SharedLookups {
    lookup: Arc<dyn Lookup>,
    running: Arc<Mutex<HashMap<String, RunningLookup>>>,
}

/// A lookup that all attempts to one host wait for: its addresses, or what is wrong.
type RunningLookup = Shared<oneshot::Receiver<Result<Vec<IpAddr>, String>>>;

impl SharedLookups {
    pub(super) fn new(lookup: impl Lookup) -> Self {
        Self {
            lookup: Arc::new(lookup),
            running: Arc::default(),
        }
    }

    /// At least one address, within [`LOOKUP_TIMEOUT`].
    pub(super) async fn within_time(&self, host: &str) -> Result<Vec<IpAddr>, RejectedAddress> {
        let problem = match timeout(LOOKUP_TIMEOUT, self.find_or_start(host)).await {
            Ok(Ok(Ok(addresses))) if !addresses.is_empty() => return Ok(addresses),
            Ok(Ok(Ok(_))) => "it has no address".to_owned(),
            Ok(Ok(Err(problem))) => problem,
            Ok(Err(_)) => "it was not looked up to the end".to_owned(),
            Err(_) => format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs()),
        };
        Err(RejectedAddress::Unresolved {
            host: host.to_owned(),
            problem,
        })
    }

    /// The running lookup of this host, or a new one.
    fn find_or_start(&self, host: &str) -> RunningLookup {
        let mut running = lock(&self.running);
        if let Some(lookup) = running.get(host) {
            return lookup.clone();
        }
        let (answer, answered) = oneshot::channel();
        let answered = answered.shared();
        running.insert(host.to_owned(), answered.clone());
        drop(running);
        let entry = RunningEntry {
            host: host.to_owned(),
            running: Arc::clone(&self.running),
        };
        let lookup = Arc::clone(&self.lookup);
        // A task of its own: the thread that it blocks goes on too when no attempt waits any more.
        tokio::spawn(async move {
            let found = timeout(LONGEST_LOOKUP, lookup.lookup(&entry.host)).await;
            // Before the answer, so that an attempt after it starts a new lookup.
            drop(entry);
            let found = found.unwrap_or_else(|late| Err(late.into()));
            // It fails when no attempt waits any more.
            let _ = answer.send(found.map_err(|error| error.to_string()));
        });
        answered
    }
}

/// The entry of a running lookup, which is removed when this is dropped.
struct RunningEntry {
    host: String,
    running: Arc<Mutex<HashMap<String, RunningLookup>>>,
}

impl Drop for RunningEntry {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.host);
    }
}

fn lock(
    running: &Mutex<HashMap<String, RunningLookup>>,
) -> MutexGuard<'_, HashMap<String, RunningLookup>> {
    // No panic can leave the map half-changed.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many lookups of the system run at the same time: few of the 512 blocking threads of a runtime.
const MAX_SYSTEM_LOOKUPS: usize = 128;

/// After this time a lookup without an answer is given up, and the next attempt starts another.
const LONGEST_LOOKUP: Duration = Duration::from_secs(60);

/// How long a host may take to resolve.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
