//! [`RejectedAddress`]: why a URL is not posted to.

use std::net::{IpAddr, Ipv4Addr};

use super::ranges::Range;

/// Why a URL is not posted to, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RejectedAddress {
    /// The text is not a URL.
    #[error("it is no URL: {problem}; expected one such as https://crm.example/webhook")]
    NotAUrl {
        /// What is wrong.
        problem: String,
    },
    /// The URL has more than [`MAX_URL`] bytes.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// The scheme is neither `http` nor `https`.
    #[error("its scheme is {found}; only http and https are possible")]
    Scheme {
        /// The scheme.
        found: String,
    },
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
    let (subject, named) = if host == shown {
        (shown.clone(), format!("\"{shown}\""))
    } else {
        (
            format!("{host} has the address {shown}, which"),
            format!("\"{host}\" or \"{shown}\""),
        )
    };
    let what = match range {
        Range::Unspecified => format!("an {range} address"),
        _ => format!("a {range} address"),
    };
    let found = match inside {
        None => format!("{subject} is {what}"),
        Some(inside) => format!("{subject} holds {inside}, {what}"),
    };
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
