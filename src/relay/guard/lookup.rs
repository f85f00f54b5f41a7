//! [`Lookup`]: from a host name to addresses, and the resolver that judges them.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Guard, Refusal};

/// Resolves host names.
#[async_trait]
pub trait Lookup: Debug + Send + Sync + 'static {
    /// All addresses that the host has now.
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
        let addresses = tokio::net::lookup_host((host, 0)).await?;
        Ok(addresses.map(|address| address.ip()).collect())
    }
}

/// At least one address, within [`LOOKUP_TIMEOUT`].
pub(super) async fn within_time(lookup: &dyn Lookup, host: &str) -> Result<Vec<IpAddr>, Refusal> {
    match tokio::time::timeout(LOOKUP_TIMEOUT, lookup.lookup(host)).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err(Refusal::no_address(host)),
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(Refusal::unresolved(host, error.to_string())),
        Err(_) => Err(Refusal::too_slow(host)),
    }
}

/// An HTTP client's resolver: a host with a refused address does not resolve.
#[derive(Debug)]
pub struct GuardedResolver {
    guard: Guard,
}

impl GuardedResolver {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.guard.clone();
        Box::pin(async move {
            guard.name(name.as_str())?;
            let addresses = guard.resolve(name.as_str()).await?.into_iter();
            // Port 0 stands for the URL's.
            let addresses = addresses.map(|address| SocketAddr::new(address, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// How long a host may take to resolve.
pub const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
