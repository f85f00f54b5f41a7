//! [`Guard`]: which addresses may be posted to, so that a subscription is no way into our own network.
//!
//! Whoever may register a URL chooses where this machine connects to. Three things must hold:
//!
//! 1. **Every address is judged**, not the name: all that a host resolves to, in every spelling, with
//!    the IPv4 address inside an IPv6 one. One refused address refuses the host. The table is in
//!    [`ranges`].
//! 2. **What was judged is what is connected to**: the relay's client resolves through the guard, so a
//!    name that answers differently the second time is judged the second time. Another client connects
//!    to the addresses that [`Guard::vet`] returns.
//! 3. **Nothing goes round it.** A client asks no resolver about a host that is an address already,
//!    and a proxy resolves for itself. So [`Guard::url`] is called before a request, and the client
//!    follows no redirects and uses no proxy, whatever `HTTP_PROXY` says.
//!
//! ```
//! use offhook::relay::Guard;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let guard = Guard::default();
//! guard.url("https://crm.example/webhook")?;
//!
//! let refusal = guard.url("http://0x7f.1/").unwrap_err();
//! assert_eq!(
//!     refusal.to_string(),
//!     "127.0.0.1 is a loopback address, which is not posted to; \
//!      to do so, set relay.allow_private, or add \"127.0.0.1\" to relay.allow"
//! );
//! # Ok(())
//! # }
//! ```

mod exception;
mod lookup;
pub mod ranges;
mod refusal;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use lookup::Lookups;
use url::{Host, Url};

pub use exception::{Exception, ParseExceptionError};
pub(crate) use lookup::GuardedResolver;
pub use lookup::{LOOKUP_TIMEOUT, Lookup, SystemLookup};
pub use ranges::Range;
pub use refusal::Refusal;

/// Says which URLs and addresses may be posted to. Cheap to clone.
///
/// By default: whatever is reachable from the whole internet, and nothing else.
#[derive(Debug, Clone)]
pub struct Guard {
    allow_private: bool,
    allow: Arc<[Exception]>,
    lookup: Lookups,
}

impl Default for Guard {
    fn default() -> Self {
        Self::new(false, Vec::new())
    }
}

impl Guard {
    /// A guard that makes exceptions.
    ///
    /// `allow_private` opens [private](Range::is_private) and loopback addresses, never link-local or
    /// metadata. Each of `allow` opens what it names, whatever that is: a network its addresses, a
    /// host name whatever that host resolves to.
    pub fn new(allow_private: bool, allow: Vec<Exception>) -> Self {
        Self {
            allow_private,
            allow: allow.into(),
            lookup: Lookups::new(SystemLookup),
        }
    }

    /// Resolves host names in another way.
    pub fn lookup(mut self, lookup: impl Lookup) -> Self {
        self.lookup = Lookups::new(lookup);
        self
    }

    /// What can be told of a URL without asking the network.
    ///
    /// Host names other than `localhost` pass: only [`Guard::vet`] tells what is behind them.
    ///
    /// # Errors
    ///
    /// When it is no URL, not `http` or `https`, longer than [`MAX_URL`], has no host, a user or a
    /// password, or port 0; or when its host is an address that may not be posted to.
    pub fn url(&self, text: &str) -> Result<Url, Refusal> {
        let odd = |c: char| c.is_whitespace() || c.is_control();
        if text.len() > MAX_URL {
            return Err(Refusal::TooLong);
        }
        // The parser leaves these out without a word; what is shown should be what is meant.
        if text.contains(odd) {
            return Err(Refusal::NotAUrl {
                problem: "it holds a space or a control character".to_owned(),
            });
        }
        let url = Url::parse(text).map_err(|error| Refusal::NotAUrl {
            problem: error.to_string(),
        })?;
        self.check(&url)?;
        Ok(url)
    }

    /// Judges every address that the URL's host has now, and says which they are.
    ///
    /// They may be others a moment later: connect to these, without asking again.
    ///
    /// # Errors
    ///
    /// As [`Guard::url`]; when one of the addresses may not be posted to; and
    /// [`Refusal::Unresolved`] when there are none now.
    pub async fn vet(&self, url: &Url) -> Result<Vec<SocketAddr>, Refusal> {
        self.check(url)?;
        let addresses = match url.host() {
            None => return Err(Refusal::NoHost),
            Some(Host::Ipv4(address)) => vec![address.into()],
            Some(Host::Ipv6(address)) => vec![address.into()],
            Some(Host::Domain(name)) => self.resolve(name).await?,
        };
        let port = url.port_or_known_default().unwrap_or_default();
        let addresses = addresses.into_iter();
        Ok(addresses.map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// The resolver of the relay's client, which fails when any address of a host is refused.
    pub(crate) fn resolver(&self) -> GuardedResolver {
        GuardedResolver::new(self.clone())
    }

    /// The addresses of a host, all of them judged.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Refusal> {
        let addresses = self.lookup.within_time(name).await?;
        if !self.names(name) {
            for address in &addresses {
                self.address(name, *address)?;
            }
        }
        Ok(addresses)
    }

    /// What can be told of a URL that is parsed already: all, where its host is an address.
    pub(super) fn check(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            let found = url.scheme().to_owned();
            return Err(Refusal::Scheme { found });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo);
        }
        if url.port() == Some(0) {
            return Err(Refusal::Port);
        }
        match url.host() {
            None => Err(Refusal::NoHost),
            Some(Host::Ipv4(address)) => self.address(&address.to_string(), address.into()),
            Some(Host::Ipv6(address)) => self.address(&address.to_string(), address.into()),
            Some(Host::Domain(name)) => self.name(name),
        }
    }

    /// `localhost` and the names under it are loopback wherever they are resolved (RFC 6761).
    fn name(&self, name: &str) -> Result<(), Refusal> {
        let bare = bare_name(name);
        if bare.is_empty() {
            return Err(Refusal::NoHost);
        }
        let local = bare == "localhost" || bare.ends_with(".localhost");
        if !local || self.names(name) {
            return Ok(());
        }
        // Which of the two it is here is for the resolver to say.
        let v6 = self.address(name, Ipv6Addr::LOCALHOST.into());
        v6.or_else(|_| self.address(name, Ipv4Addr::LOCALHOST.into()))
    }

    /// Whether `allow` names this host.
    fn names(&self, host: &str) -> bool {
        let bare = bare_name(host);
        let names =
            |exception: &Exception| matches!(exception, Exception::Host(name) if *name == bare);
        self.allow.iter().any(names)
    }

    /// Whether `allow` names a network that this address is in.
    fn opens(&self, address: IpAddr) -> bool {
        self.allow
            .iter()
            .any(|exception| matches!(exception, Exception::Network(net) if net.contains(&address)))
    }

    /// Judges one address of `host`.
    fn address(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        if self.opens(address) {
            return Ok(());
        }
        let refused = |address: IpAddr| {
            let range = Range::of(address)?;
            let private = self.allow_private && range.is_private();
            (!private && !self.opens(address)).then_some(range)
        };
        let inside = ranges::inside(address);
        let mut inside = inside.iter();
        let found = refused(address).map(|range| (range, None));
        let found =
            found.or_else(|| inside.find_map(|v4| Some((refused((*v4).into())?, Some(*v4)))));
        match found {
            None => Ok(()),
            Some((range, inside)) => Err(Refusal::Address {
                host: host.to_owned(),
                address,
                inside,
                range,
            }),
        }
    }
}

/// A host name in lower case, without the dot that may end it.
fn bare_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The longest URL that is accepted, in bytes.
pub const MAX_URL: usize = 2048;
