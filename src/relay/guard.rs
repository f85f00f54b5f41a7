//! [`Guard`]: which URLs and addresses may be posted to, so that a subscription cannot make this
//! machine send requests into its own network (SSRF).
//!
//! A subscriber chooses the URL that this machine connects to. Three things must hold:
//!
//! 1. **Every address is judged**, not the name: all addresses of a host, in every spelling, with the
//!    IPv4 address inside an IPv6 one. One rejected address rejects the host. The table is in
//!    [`ranges`].
//! 2. **The client connects to the addresses that were judged.** A name may have another address a
//!    moment later, so the relay's client resolves through the guard for each connection.
//! 3. **Nothing bypasses it.** A client does not resolve a host that is an address already, and a
//!    proxy resolves for itself. So the relay calls [`Guard::url`] first, and its client follows no
//!    redirects and uses no proxy, whatever `HTTP_PROXY` says.
//!
//! A client of your own connects to the addresses that [`Guard::vet`] returns, and not to the name:
//!
//! ```
//! use offhook::relay::Guard;
//!
//! # #[actix_web::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guard = Guard::default();
//! let url = guard.url("https://93.184.216.34/webhook")?;
//! let addresses = guard.vet(&url).await?;
//! assert_eq!(addresses[0].to_string(), "93.184.216.34:443");
//!
//! let rejected = guard.url("http://0x7f.1/").unwrap_err();
//! assert_eq!(
//!     rejected.to_string(),
//!     "127.0.0.1 is a loopback address, which is not posted to; \
//!      to do so, set relay.allow_private, or add \"127.0.0.1\" to relay.allow"
//! );
//! # Ok(())
//! # }
//! ```

mod exception;
mod lookup;
pub mod ranges;
mod rejected;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use url::{Host, Url};

use exception::bare_name;
use lookup::SharedLookups;

pub use exception::{Exception, ParseExceptionError};
pub use lookup::{LOOKUP_TIMEOUT, Lookup, SystemLookup};
pub use ranges::Range;
pub use rejected::{MAX_URL, RejectedAddress};

/// Decides which URLs and addresses may be posted to. Cheap to clone.
///
/// By default these are the addresses that are reachable from the whole internet.
#[derive(Debug, Clone)]
pub struct Guard {
    allow_private: bool,
    allow: Arc<[Exception]>,
    lookups: SharedLookups,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(false, Vec::new())
    }
}

impl Guard {
    /// A guard with exceptions.
    ///
    /// `allow_private` opens [private](Range::is_private) and loopback addresses, never link-local or
    /// metadata addresses. Each of `allow` opens what it names: a network opens its addresses, a host
    /// name opens every address of that host.
    pub fn new(allow_private: bool, allow: Vec<Exception>) -> Self {
        Self {
            allow_private,
            allow: allow.into(),
            lookups: SharedLookups::new(SystemLookup),
        }
    }

    /// Resolves host names in another way.
    pub fn lookup(mut self, lookup: impl Lookup) -> Self {
        self.lookups = SharedLookups::new(lookup);
        self
    }

    /// Parses a URL and checks everything that can be checked without the network.
    ///
    /// Host names other than `localhost` pass. [`Guard::vet`] judges their addresses.
    ///
    /// # Errors
    ///
    /// When the text is not a URL, is longer than [`MAX_URL`], has another scheme than `http` or
    /// `https`, no host, a user or a password, or port 0; or when its host is an address that may not
    /// be posted to.
    pub fn url(&self, text: &str) -> Result<Url, RejectedAddress> {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.len() > MAX_URL {
            return Err(RejectedAddress::TooLong);
        }
        // The parser drops these silently, and the URL would differ from the text that is shown.
        if text.contains(odd) {
            return Err(RejectedAddress::NotAUrl {
                problem: "it holds a space or a control character".to_owned(),
            });
        }
        let url = Url::parse(text).map_err(|error| RejectedAddress::NotAUrl {
            problem: error.to_string(),
        })?;
        self.check(&url)?;
        Ok(url)
    }

    /// Judges every address that the URL's host has now, and returns them with the URL's port.
    ///
    /// The host may have other addresses a moment later, so connect to these and not to the name.
    ///
    /// # Errors
    ///
    /// As [`Guard::url`]; when one of the addresses may not be posted to; and
    /// [`RejectedAddress::Unresolved`] when the host has no address now.
    pub async fn vet(&self, url: &Url) -> Result<Vec<SocketAddr>, RejectedAddress> {
        self.check(url)?;
        let addresses = match url.host() {
            None => return Err(RejectedAddress::NoHost),
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => self.resolve(name).await?,
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let with_port = |ip| SocketAddr::new(ip, port);
        Ok(addresses.into_iter().map(with_port).collect())
    }

    /// Resolves a host and judges all its addresses.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, RejectedAddress> {
        self.check_name(host)?;
        let addresses = self.lookups.within_time(host).await?;
        if !self.allows_host(host) {
            for address in &addresses {
                self.check_address(host, *address)?;
            }
        }
        Ok(addresses)
    }

    /// Checks everything of a parsed URL that can be checked without the network. Where its host is an
    /// address, that is everything.
    pub(super) fn check(&self, url: &Url) -> Result<(), RejectedAddress> {
        if !matches!(url.scheme(), "http" | "https") {
            let found = url.scheme().to_owned();
            return Err(RejectedAddress::Scheme { found });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(RejectedAddress::Userinfo);
        }
        if url.port() == Some(0) {
            return Err(RejectedAddress::Port);
        }
        match url.host() {
            None => Err(RejectedAddress::NoHost),
            Some(Host::Ipv4(address)) => self.check_address(&address.to_string(), address.into()),
            Some(Host::Ipv6(address)) => self.check_address(&address.to_string(), address.into()),
            Some(Host::Domain(name)) => self.check_name(name),
        }
    }

    /// `localhost` and the names under it are loopback, whatever they resolve to (RFC 6761).
    fn check_name(&self, host: &str) -> Result<(), RejectedAddress> {
        let bare = bare_name(host);
        if bare.is_empty() {
            return Err(RejectedAddress::NoHost);
        }
        let is_local = bare == "localhost" || bare.ends_with(".localhost");
        if !is_local || self.allows_host(host) {
            return Ok(());
        }
        // It passes if one of the two loopback addresses is allowed. The resolver knows which one it
        // has.
        self.check_address(host, Ipv6Addr::LOCALHOST.into())
            .or_else(|_| self.check_address(host, Ipv4Addr::LOCALHOST.into()))
    }

    /// Judges one address of `host`, and the IPv4 addresses inside it.
    fn check_address(&self, host: &str, address: IpAddr) -> Result<(), RejectedAddress> {
        if self.allows_network(address) {
            return Ok(());
        }
        let rejected = |range, inside| RejectedAddress::Address {
            host: host.to_owned(),
            address,
            inside,
            range,
        };
        if let Some(range) = self.closed_range(address) {
            return Err(rejected(range, None));
        }
        for inside in ranges::inside(address) {
            if let Some(range) = self.closed_range(inside.into()) {
                return Err(rejected(range, Some(inside)));
            }
        }
        Ok(())
    }

    /// The range of an address that may not be posted to.
    fn closed_range(&self, address: IpAddr) -> Option<Range> {
        let range = Range::of(address)?;
        let is_open = self.allow_private && range.is_private() || self.allows_network(address);
        (!is_open).then_some(range)
    }

    /// Whether `allow` names this host.
    fn allows_host(&self, host: &str) -> bool {
        let bare = bare_name(host);
        self.allow
            .iter()
            .any(|exception| matches!(exception, Exception::Host(name) if *name == bare))
    }

    /// Whether `allow` names a network that this address is in.
    fn allows_network(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|exception| matches!(exception, Exception::Network(net) if net.contains(&address)))
    }
}
