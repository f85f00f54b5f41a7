//! [`Refusal`]: why a URL is not posted to.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};

use super::{LOOKUP_TIMEOUT, MAX_URL, Range};

/// Why a URL is not posted to, and what would change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The text is no URL.
    #[error("it is no URL: {problem}; expected one such as https://crm.example/webhook")]
    NotAUrl {
        /// What is wrong.
        problem: String,
    },
    /// It has more than [`MAX_URL`] bytes.
    #[error("the URL is longer than {MAX_URL} bytes")]
    TooLong,
    /// It is neither `http` nor `https`.
    #[error("its scheme is {found}; only http and https are possible")]
    Scheme {
        /// The scheme.
        found: String,
    },
    /// It names a user or a password.
    #[error("it has a user or a password, which are not sent; leave out what is before the @")]
    Userinfo,
    /// It is port 0.
    #[error("its port is 0, which nobody listens on")]
    Port,
    /// There is no host.
    #[error("it has no host; expected a URL such as https://crm.example/webhook")]
    NoHost,
    /// The host is, or has, an address that is not posted to.
    #[error("{}", address_text(host, *address, *inside, *range))]
    Address {
        /// The host as the URL has it.
        host: String,
        /// Its address.
        address: IpAddr,
        /// The IPv4 address inside that was the reason.
        inside: Option<Ipv4Addr>,
        /// What the address is.
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

impl Refusal {
    /// The refusal that made a request fail, looked for in an error and its causes.
    pub fn in_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = error.downcast_ref() {
                return Some(refusal);
            }
            next = error.source();
        }
        None
    }

    /// Whether it may be over without anybody changing anything: the host did not resolve.
    pub fn is_unresolved(&self) -> bool {
        matches!(self, Self::Unresolved { .. })
    }

    pub(super) fn no_address(host: &str) -> Self {
        Self::unresolved(host, "it has no address".to_owned())
    }

    pub(super) fn too_slow(host: &str) -> Self {
        let seconds = LOOKUP_TIMEOUT.as_secs();
        Self::unresolved(host, format!("no answer within {seconds} s"))
    }

    pub(super) fn unresolved(host: &str, problem: String) -> Self {
        Self::Unresolved {
            host: host.to_owned(),
            problem,
        }
    }
}

/// What was found, why it is refused, and what would open it.
fn address_text(host: &str, address: IpAddr, inside: Option<Ipv4Addr>, range: Range) -> String {
    let shown = address.to_string();
    let (subject, named) = match host == shown {
        true => (shown.clone(), format!("\"{shown}\"")),
        false => (
            format!("{host} has the address {shown}, which"),
            format!("\"{host}\" or \"{shown}\""),
        ),
    };
    let what = match range {
        Range::Unspecified => format!("an {range} address"),
        _ => format!("a {range} address"),
    };
    let found = match inside {
        None => format!("{subject} is {what}"),
        Some(inside) => format!("{subject} holds {inside}, {what}"),
    };
    match range.is_private() {
        true => format!(
            "{found}, which is not posted to; \
             to do so, set relay.allow_private, or add {named} to relay.allow"
        ),
        false => format!(
            "{found}, which is never posted to, even with relay.allow_private; \
             if it must be, add {named} to relay.allow"
        ),
    }
}
