//! [`Guard`]: which URLs and addresses may be posted to, so that a subscription cannot make this
//! machine send requests into its own network (SSRF).
//!
//! A subscriber chooses the URL that this machine connects to. Three things must hold:
//!
//! 1. **Every address is judged**, not the name: all addresses of a host, in every spelling, with the
//!    IPv4 address inside an IPv6 one. One rejected address rejects the host. [`Range`] lists
//!    what is closed.
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
        if text.len() > MAX_URL {
            return Err(RejectedAddress::TooLong);
        }
        // The parser drops these silently, and the URL would differ from the text that is shown.
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let problem = "it holds a space or a control character";
            return Err(RejectedAddress::NotAUrl(problem.to_owned()));
        }
        let url = Url::parse(text).map_err(|error| RejectedAddress::NotAUrl(error.to_string()))?;
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
        Ok(addresses.into_iter().map(|ip| (ip, port).into()).collect())
    }

    /// Resolves a host and judges all its addresses.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, RejectedAddress> {
        self.check_name(host)?;
        let found = self.lookups.within_time(host).await;
        let addresses = found.map_err(|problem| RejectedAddress::Unresolved {
            host: host.to_owned(),
            problem,
        })?;
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
            return Err(RejectedAddress::Scheme(url.scheme().to_owned()));
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
        let named = Exception::Host(bare_name(host));
        self.allow.contains(&named)
    }

    /// Whether `allow` names a network that this address is in.
    fn allows_network(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|exception| matches!(exception, Exception::Network(net) if net.contains(&address)))
    }
}

/// Why a URL is not posted to, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectedAddress {
    /// The text is not a URL.
    #[error("it is no URL: {0}; expected one such as https://crm.example/webhook")]
    NotAUrl(String),
    /// The URL has more than [`MAX_URL`] bytes.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// The scheme is neither `http` nor `https`.
    #[error("its scheme is {0}; only http and https are possible")]
    Scheme(String),
    /// The URL has a user or a password.
    #[error("it has a user or a password, which are not sent; leave out what is before the @")]
    Userinfo,
    /// The port is 0.
    #[error("its port is 0, which no server can listen on")]
    Port,
    /// The URL has no host.
    #[error("it has no host; expected a URL such as https://crm.example/webhook")]
    NoHost,
    /// The host is, or has, an address that is not posted to.
    #[error("{}", address_text(host, *address, *inside, *range))]
    Address {
        /// The host as the URL has it.
        host: String,
        /// Its address.
        address: IpAddr,
        /// The IPv4 address inside it, if that one is the reason.
        inside: Option<Ipv4Addr>,
        /// The range that the address is in.
        range: Range,
    },
    /// The host has no address now.
    #[error("the host {host} does not resolve: {problem}")]
    Unresolved {
        /// The host as the URL has it.
        host: String,
        /// What the resolver said.
        problem: String,
    },
}

impl RejectedAddress {
    /// Whether the host did not resolve, which may change without a change of the URL or the settings.
    pub fn is_unresolved(&self) -> bool {
        matches!(self, Self::Unresolved { .. })
    }
}

/// What was found, why it is rejected, and what would open it.
fn address_text(host: &str, address: IpAddr, inside: Option<Ipv4Addr>, range: Range) -> String {
    let shown = address.to_string();
    let mut subject = host.to_owned();
    let mut named = format!("\"{host}\"");
    if host != shown {
        subject += &format!(" has the address {shown}, which");
        named += &format!(" or \"{shown}\"");
    }
    let article = if range == Range::Unspecified {
        "an"
    } else {
        "a"
    };
    let verb = inside.map_or("is".to_owned(), |inside| format!("holds {inside},"));
    let found = format!("{subject} {verb} {article} {range} address");
    if range.is_private() {
        format!(
            "{found}, which is not posted to; \
             to do so, set relay.allow_private, or add {named} to relay.allow"
        )
    } else {
        format!(
            "{found}, which is never posted to, even with relay.allow_private; \
             if it must be, add {named} to relay.allow"
        )
    }
}

/// The longest URL that is accepted, in bytes.
pub const MAX_URL: usize = 2048;
