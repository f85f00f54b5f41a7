//! [`Exception`]: an entry of `relay.allow`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use url::Host;

use super::bare_name;

/// What `relay.allow` opens: a network, or whatever a host resolves to.
///
/// ```
/// use offhook::relay::Exception;
///
/// let network: Exception = "10.1.2.0/24".parse().unwrap();
/// assert_eq!(network.to_string(), "10.1.2.0/24");
/// let host: Exception = "CRM.internal.".parse().unwrap();
/// assert_eq!(host, Exception::Host("crm.internal".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exception {
    /// The addresses of a network; one address is a network of its own.
    Network(IpNet),
    /// A host name, in lower case and without a final dot. Names under it are not meant.
    Host(String),
}

impl FromStr for Exception {
    type Err = ParseExceptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: String| ParseExceptionError {
            found: text.to_owned(),
            problem,
        };
        if let Some(address) = address(text) {
            return Ok(Self::Network(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return match network.trunc() == network {
                true => Ok(Self::Network(network)),
                false => Err(error(format!("the network is {}", network.trunc()))),
            };
        }
        let example =
            "a network is \"10.1.2.0/24\", a host \"crm.internal\", without scheme and port";
        if text.contains('*') {
            return Err(error(format!("name each host, without *; {example}")));
        }
        let host = match Host::parse(text) {
            Ok(Host::Domain(name)) => bare_name(&name),
            // 0x7f.1, 127.1 and the like.
            Ok(Host::Ipv4(address)) => return Err(error(format!("write it as {address}"))),
            Ok(Host::Ipv6(_)) | Err(_) => return Err(error(example.to_owned())),
        };
        match host.is_empty() {
            true => Err(error(example.to_owned())),
            false => Ok(Self::Host(host)),
        }
    }
}

/// An address, an IPv6 one in brackets too.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    Some(inner.parse::<Ipv6Addr>().ok()?.into())
}

/// Writes it as `relay.allow` has it.
impl Serialize for Exception {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As it is written in `relay.allow`.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(f, "{}", network.addr())
            }
            Self::Network(network) => write!(f, "{network}"),
            Self::Host(name) => f.write_str(name),
        }
    }
}

/// A text is no [`Exception`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, which is no network, address or host name: {problem}")]
pub struct ParseExceptionError {
    found: String,
    problem: String,
}
