//! [`Lookup`]: from a host name to addresses.
//!
//! Each of the system's lookups blocks a thread, for as long as dead name servers let it, and the
//! journal is read on such threads too. So a host is looked up once at a time, however many attempts
//! wait for it, and [`SystemLookup`] takes at most [`MAX_SYSTEM_LOOKUPS`] threads.

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

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

/// A lookup that all attempts to one host wait for.
#[derive(Debug)]
struct RunningLookup {
    task: AbortHandle,
    found: Shared<BoxFuture<'static, Found>>,
}

/// The addresses of a host, or what is wrong.
type Found = Result<Vec<IpAddr>, String>;

impl SharedLookups {
    pub(super) fn new(lookup: impl Lookup) -> Self {
        Self {
            lookup: Arc::new(lookup),
            running: Arc::default(),
        }
    }

    /// At least one address, within [`LOOKUP_TIMEOUT`]; or why there is none.
    pub(super) async fn within_time(&self, host: &str) -> Found {
        let late = |_| format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs());
        let found = timeout(LOOKUP_TIMEOUT, self.find_or_start(host)).await;
        let addresses = found.map_err(late)??;
        if addresses.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(addresses)
    }

    /// The running lookup of this host, or a new one.
    fn find_or_start(&self, host: &str) -> Shared<BoxFuture<'static, Found>> {
        // No panic can leave the map half-changed.
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, lookup| !lookup.task.is_finished());
        if let Some(lookup) = running.get(host) {
            return lookup.found.clone();
        }
        let (lookup, name) = (Arc::clone(&self.lookup), host.to_owned());
        // A task of its own: the thread that it blocks goes on too when no attempt waits any more.
        let task = tokio::spawn(async move {
            let found = timeout(LONGEST_LOOKUP, lookup.lookup(&name)).await;
            let found = found.unwrap_or_else(|late| Err(late.into()));
            found.map_err(|error| error.to_string())
        });
        let handle = task.abort_handle();
        let found = async { task.await.unwrap_or_else(|_| Err(BROKEN_OFF.to_owned())) };
        let found = found.boxed().shared();
        let lookup = RunningLookup {
            task: handle,
            found: found.clone(),
        };
        running.insert(host.to_owned(), lookup);
        found
    }
}

/// The lookup panicked, or the runtime ends.
const BROKEN_OFF: &str = "it was not looked up to the end";

/// How many lookups of the system run at the same time: few of the 512 blocking threads of a runtime.
const MAX_SYSTEM_LOOKUPS: usize = 128;

/// After this time a lookup without an answer is given up, and the next attempt starts another.
const LONGEST_LOOKUP: Duration = Duration::from_secs(60);

/// How long a host may take to resolve.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
