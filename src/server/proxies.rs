//! [`Proxies`]: who a request comes from when proxies stand before the server.

use std::net::{IpAddr, SocketAddr};

use actix_http::RequestHead;
use ipnet::IpNet;

use crate::settings::ServerSettings;

/// The proxies whose `X-Forwarded-For` counts.
#[derive(Debug, Default)]
pub(super) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        Self(settings.trusted_proxies.clone())
    }

    /// Whether a connection from this address is a trusted proxy's.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The address of the client. Every proxy adds the address that it was called from behind those that it
    /// was told, so they are read from the last to the first that is no trusted proxy's: what stands before it
    /// may be a lie. `None` if the connection is not a trusted proxy's, which is then the client itself, or if
    /// its header says nothing that can be read.
    pub(super) fn client(&self, head: &RequestHead) -> Option<SocketAddr> {
        if self.0.is_empty() || !self.trusts(head.peer_addr?.ip()) {
            return None;
        }
        let mut client = None;
        let values: Vec<_> = head.headers.get_all(FORWARDED_FOR).collect();
        // Bytes, because a line that is no text must not be passed over: what stands before it may be a lie.
        let lines = values.iter().rev().map(|value| value.as_bytes());
        for told in lines.flat_map(|line| line.rsplit(|byte| *byte == b',')) {
            let told = str::from_utf8(told.trim_ascii()).ok();
            let Some(address) = told.and_then(address) else {
                break;
            };
            client = Some(address);
            if !self.trusts(address.ip()) {
                break;
            }
        }
        client
    }
}

/// An address as proxies write it: bare, or with a port.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = bare
        .unwrap_or(text)
        .parse()
        .map(|ip| SocketAddr::new(ip, 0));
    ip.or_else(|_| text.parse()).ok()
}

const FORWARDED_FOR: &str = "x-forwarded-for";

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};

    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> Option<String> {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap());
        let mut head = RequestHead::default();
        head.peer_addr = Some(peer.parse().unwrap());
        for value in forwarded {
            let name = HeaderName::from_static(FORWARDED_FOR);
            head.headers
                .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let client = Proxies(networks.into()).client(&head);
        client.map(|address| address.ip().to_string())
    }

    #[test]
    fn the_last_untrusted_address_is_the_client() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1:80", &["203.0.113.7"][..], None),
            ("10.0.0.1:80", &[], None),
            ("10.0.0.1:80", &["203.0.113.7"], Some("203.0.113.7")),
            (
                "[::ffff:10.0.0.1]:80",
                &["203.0.113.7"],
                Some("203.0.113.7"),
            ),
            // What a client claims stands before what the proxies add.
            (
                "10.0.0.1:80",
                &["198.51.100.1, 203.0.113.7"],
                Some("203.0.113.7"),
            ),
            (
                "10.0.0.1:80",
                &["198.51.100.1", "203.0.113.7, 10.2.3.4"],
                Some("203.0.113.7"),
            ),
            ("10.0.0.1:80", &["10.9.9.9, 10.2.3.4"], Some("10.9.9.9")),
            (
                "10.0.0.1:80",
                &["198.51.100.1, unknown, 10.2.3.4"],
                Some("10.2.3.4"),
            ),
            ("10.0.0.1:80", &["unknown"], None),
            ("10.0.0.1:80", &["203.0.113.99", "203.0.113.7\u{e9}"], None),
            (
                "10.0.0.1:80",
                &["203.0.113.99, \u{e9}, 10.2.3.4"],
                Some("10.2.3.4"),
            ),
            ("10.0.0.1:80", &["203.0.113.7:4711"], Some("203.0.113.7")),
            ("[fd00::1]:80", &["[2001:db8::7]:4711"], Some("2001:db8::7")),
            ("[fd00::1]:80", &["[2001:db8::7]"], Some("2001:db8::7")),
        ] {
            assert_eq!(
                client(peer, forwarded).as_deref(),
                expected,
                "{forwarded:?}"
            );
        }
    }
}
