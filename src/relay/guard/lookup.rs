//! [`Lookup`]: from a host name to addresses, and the resolver that judges them.
//!
//! The system's lookups block a thread each, for as long as dead name servers let them, and the journal
//! is read on such threads too. So each host is asked about once at a time, however many wait for it,
//! and [`SystemLookup`] takes no more threads than [`SYSTEM_LOOKUPS`].

use std::collections::HashMap;
use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::{Semaphore, oneshot};
use tower_service::Service;

use super::{Guard, Refusal};

/// Resolves host names.
#[async_trait]
pub trait Lookup: Debug + Send + Sync + 'static {
    /// All addresses that the host has now. It is not asked about a host again before it has answered,
    /// for 60 s at most; whoever waits gives up after [`LOOKUP_TIMEOUT`].
    ///
    /// # Errors
    ///
    /// When it has none, or nobody can be asked.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Asks the system: its hosts file and its name servers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        static THREADS: Semaphore = Semaphore::const_new(SYSTEM_LOOKUPS);
        let _thread = THREADS.acquire().await.map_err(io::Error::other)?;
        let addresses = tokio::net::lookup_host((host, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// A [`Lookup`] that is asked about each host once at a time.
#[derive(Debug, Clone)]
pub(super) struct Lookups {
    lookup: Arc<dyn Lookup>,
    asked: Arc<Mutex<HashMap<String, Asked>>>,
}

/// What everybody who asks about one host waits for: its addresses, or what is wrong.
type Asked = Shared<oneshot::Receiver<Result<Vec<IpAddr>, String>>>;

impl Lookups {
    pub(super) fn new(lookup: impl Lookup) -> Self {
        Self {
            lookup: Arc::new(lookup),
            asked: Arc::default(),
        }
    }

    /// At least one address, within [`LOOKUP_TIMEOUT`].
    pub(super) async fn within_time(&self, host: &str) -> Result<Vec<IpAddr>, Refusal> {
        let unresolved = |problem: String| Err(Refusal::unresolved(host, problem));
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.ask(host)).await {
            Ok(Ok(Ok(addresses))) if addresses.is_empty() => Err(Refusal::no_address(host)),
            Ok(Ok(Ok(addresses))) => Ok(addresses),
            Ok(Ok(Err(problem))) => unresolved(problem),
            Ok(Err(_)) => unresolved("it was not looked up to the end".to_owned()),
            Err(_) => Err(Refusal::too_slow(host)),
        }
    }

    /// Asks, or waits with whoever has asked before.
    fn ask(&self, host: &str) -> Asked {
        let mut asked = lock(&self.asked);
        if let Some(asked) = asked.get(host) {
            return asked.clone();
        }
        let (answer, answered) = oneshot::channel();
        let answered = answered.shared();
        asked.insert(host.to_owned(), answered.clone());
        drop(asked);
        let asking = Asking {
            host: host.to_owned(),
            asked: Arc::clone(&self.asked),
        };
        let lookup = Arc::clone(&self.lookup);
        // It goes on when nobody waits any more, as the thread that it blocks does.
        tokio::spawn(async move {
            let found = tokio::time::timeout(LONGEST_LOOKUP, lookup.lookup(&asking.host)).await;
            // Who asks from now on asks anew.
            drop(asking);
            let found = found.unwrap_or_else(|late| Err(late.into()));
            // Nobody may be waiting any more.
            let _ = answer.send(found.map_err(|error| error.to_string()));
        });
        answered
    }
}

/// That a host is being asked about, until this is dropped.
struct Asking {
    host: String,
    asked: Arc<Mutex<HashMap<String, Asked>>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        lock(&self.asked).remove(&self.host);
    }
}

fn lock(asked: &Mutex<HashMap<String, Asked>>) -> MutexGuard<'_, HashMap<String, Asked>> {
    // Nothing here can leave the map half-changed.
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The resolver of the relay's client: a host with a refused address does not resolve.
#[derive(Debug, Clone)]
pub(crate) struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

/// The addresses of a host, all of them judged. Port 0 stands for the URL's.
async fn judged(guard: Guard, name: &str) -> Result<Vec<SocketAddr>, Refusal> {
    guard.name(name)?;
    let addresses = guard.resolve(name).await?.into_iter();
    Ok(addresses
        .map(|address| SocketAddr::new(address, 0))
        .collect())
}

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Refusal;
    type Future = BoxFuture<'static, Result<Self::Response, Refusal>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.guard.clone();
        Box::pin(async move { Ok(judged(guard, name.as_str()).await?.into_iter()) })
    }
}

/// How many lookups the system is asked for at once: few of the 512 threads that a runtime has for what
/// blocks.
const SYSTEM_LOOKUPS: usize = 128;

/// After how long a host is asked about once more that has no answer yet.
const LONGEST_LOOKUP: Duration = Duration::from_secs(60);

/// How long a host may take to resolve.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
