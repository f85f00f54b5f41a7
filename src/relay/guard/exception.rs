//! [`Exception`]: a network or a host of `relay.allow`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};
use url::Host;

/// What `relay.allow` opens: a network, or every address of a host.
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
#[non_exhaustive]
pub enum Exception {
    /// The addresses of a network. A single address is a network of one.
    Network(IpNet),
    /// A host name, in lower case and without a final dot. Names under it are not included.
    Host(String),
}

impl FromStr for Exception {
    type Err = ParseExceptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |problem: String| ParseExceptionError {
            found: text.to_owned(),
            problem,
        };
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            if network.trunc() != network {
                return Err(error(format!("the network is {}", network.trunc())));
            }
            return Ok(Self::Network(network));
        }
        let example =
            "a network is \"10.1.2.0/24\", a host \"crm.internal\", without scheme and port";
        if text.contains('*') {
            return Err(error(format!("name each host, without *; {example}")));
        }
        let host = match Host::parse(text) {
            Ok(Host::Domain(name)) => bare_name(&name),
            // Such as 0x7f.1 or 127.1.
            Ok(Host::Ipv4(address)) => return Err(error(format!("write it as {address}"))),
            // In brackets, as in a URL.
            Ok(Host::Ipv6(address)) => return Ok(Self::Network(IpAddr::V6(address).into())),
            Err(_) => return Err(error(example.to_owned())),
        };
        if host.is_empty() {
            return Err(error(example.to_owned()));
        }
        Ok(Self::Host(host))
    }
}

/// As `relay.allow` writes it.
impl Serialize for Exception {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As `relay.allow` writes it.
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

/// A host name in lower case, without the dot that may end it.
pub(super) fn bare_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A text that is not an [`Exception`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found:?}, which is no network, address or host name: {problem}")]
pub struct ParseExceptionError {
    found: String,
    problem: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_read_and_written() {
        let good = [
            ("10.1.2.0/24", "10.1.2.0/24"),
            ("169.254.169.254", "169.254.169.254"),
            ("169.254.169.254/32", "169.254.169.254"),
            ("[FD00::1]", "fd00::1"),
            ("fd00::/8", "fd00::/8"),
            ("LocalHost", "localhost"),
            ("crm.internal.", "crm.internal"),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
        ];
        for (text, shown) in good {
            let exception: Exception = text.parse().unwrap();
            assert_eq!(exception.to_string(), shown);
            assert_eq!(shown.parse(), Ok(exception));
        }
        let bad = [
            ("", "a network is"),
            (".", "a network is"),
            ("10.1.2.3/24", "the network is 10.1.2.0/24"),
            ("10.1.2.0/33", "a network is"),
            ("127.1", "write it as 127.0.0.1"),
            ("0x7f.1", "write it as 127.0.0.1"),
            ("*.internal", "without *"),
            ("http://crm.internal", "without scheme"),
            ("crm.internal:8080", "without scheme and port"),
            ("two words", "a network is"),
            ("[::1", "a network is"),
        ];
        for (text, part) in bad {
            let error = text.parse::<Exception>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
