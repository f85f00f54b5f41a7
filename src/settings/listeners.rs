//! `[server]` and `[admin]`: the two listeners.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::read::Table;
use crate::signature::Secret;

/// `[server]`: the public listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerSettings {
    /// Where to listen; port 0 for any free one. `127.0.0.1:5000` unless told.
    pub bind: SocketAddr,
    /// Worker threads; 0, the default, for one per core.
    pub workers: usize,
    /// The longest body, in bytes; 32 MiB unless told, and 512 MiB at most where a journal keeps it.
    pub max_body: usize,
    /// The bytes of bodies held at once, over all connections; 128 MiB unless told.
    pub max_in_flight: usize,
    /// How many connections are open at once; 8192 unless told. Those beyond wait to be accepted.
    pub max_connections: usize,
    /// How long head and body of one request may take; 10 s unless told.
    pub request_timeout: Duration,
    /// How long an idle connection is kept; 75 s unless told.
    pub keep_alive: Duration,
}

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

impl ServerSettings {
    pub(super) fn read(&mut self, table: &Table<'_>) {
        set(&mut self.bind, table.address("bind"));
        set(&mut self.workers, table.integer("workers", 0, 512));
        set(&mut self.max_body, table.bytes("max_body"));
        set(&mut self.max_in_flight, table.bytes("max_in_flight"));
        set(
            &mut self.max_connections,
            table.integer("max_connections", 1, 1_000_000),
        );
        set(&mut self.request_timeout, table.duration("request_timeout"));
        set(&mut self.keep_alive, table.duration("keep_alive"));
        table.not_yet("tls", "TLS (put a proxy that ends TLS before it)");
        table.finish();
    }
}

/// `[admin]`: the listener for health, metrics and management.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AdminSettings {
    /// Where to listen; port 0 for any free one. `127.0.0.1:5001` unless told.
    pub bind: SocketAddr,
    /// What a client must show as `Authorization: Bearer …`; needed where `bind` is not loopback.
    pub token: Option<Secret>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 5001)),
            token: None,
        }
    }
}

impl AdminSettings {
    pub(super) fn read(&mut self, table: &Table<'_>) {
        set(&mut self.bind, table.address("bind"));
        if let Some(token) = table.secret("token") {
            if !token.expose().iter().all(u8::is_ascii_graphic) {
                let text =
                    "can never be shown in a header: it must be visible ASCII without spaces";
                table.problem("token", text);
            }
            self.token = Some(token);
        }
        table.finish();
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

const MIB: usize = 1024 * 1024;
