//! `[server]` and `[admin]`: the two listeners.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;

use super::kinds::{address, duration, secret, size, some, whole};
use super::spot::{Spot, keys};
use crate::signature::Secret;

/// `[server]`: the public listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Where to listen; port 0 picks a free port. Default: `127.0.0.1:5000`.
    pub bind: SocketAddr,
    /// Worker threads; 0 means one per core. Default: 0.
    pub workers: usize,
    /// The longest body, in bytes; with a journal at most 512 MiB. Default: 32 MiB.
    pub max_body: usize,
    /// The limit for bodies in memory over all connections, in bytes. Default: 128 MiB.
    pub max_in_flight: usize,
    /// How many connections may be open at the same time; further ones wait to be accepted. Default:
    /// 8192.
    pub max_connections: usize,
    /// How long a request's head and body may take to arrive. Default: 10 s.
    pub request_timeout: Duration,
    /// How long an idle connection stays open. Default: 75 s.
    pub keep_alive: Duration,
}

keys!(ServerSettings {
    bind: address,
    workers: whole(0..=512),
    max_body: size,
    max_in_flight: size,
    max_connections: whole(1..=1_000_000),
    request_timeout: duration,
    keep_alive: duration,
});

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 5000)),
            workers: 0,
            max_body: 32 * MIB,
            max_in_flight: 128 * MIB,
            max_connections: 8192,
            request_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
        }
    }
}

/// `[admin]`: the listener for health, metrics and management.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AdminSettings {
    /// Where to listen; port 0 picks a free port. Default: `127.0.0.1:5001`.
    pub bind: SocketAddr,
    /// The token that clients send as `Authorization: Bearer …`. Required if `bind` is not loopback.
    /// Default: none.
    pub token: Option<Secret>,
}

keys!(AdminSettings {
    bind: address,
    token: some(bearer),
});

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 5001)),
            token: None,
        }
    }
}

/// A secret that can be sent in a header.
fn bearer(spot: &Spot<'_>) -> Option<Secret> {
    let token = secret(spot)?;
    if !token.expose().iter().all(u8::is_ascii_graphic) {
        spot.note("can never be shown in a header: it must be visible ASCII without spaces");
    }
    Some(token)
}

const MIB: usize = 1024 * 1024;
