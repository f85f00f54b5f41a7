//! `[server]`, `[admin]`, `[log]` and `[refused]`: the two listeners, the log, and which refused requests are kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use log::LevelFilter;
use serde::Serialize;

use super::kinds::{
    address, checked, duration, duration_or_none, networks, one_of, rate, secret, size, some, text,
    whole,
};
use super::spot::{Spot, keys};
use super::tls::{TlsSettings, tls};
use crate::refused::RefusedSettings;
use crate::signature::Secret;
use crate::telemetry::{DEFAULT_MAX_VIEWERS, LogFormat, LogSettings};

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
    /// How long a request's head may take to arrive, and how long nothing of its body may come. Default: 10 s.
    pub request_timeout: Duration,
    /// How fast a body has to come, in bytes a second, once `request_timeout` has passed. Default: 16 KiB.
    pub min_body_rate: u64,
    /// How long an idle connection stays open. Default: 75 s.
    pub keep_alive: Duration,
    /// How long requests are still taken after the signal to stop, while `/ready` answers 503. Default: 0 s.
    pub drain_delay: Duration,
    /// A path that answers GET with 200 while events can be taken, and otherwise with 503. Default: none.
    pub health_path: Option<String>,
    /// The proxies before the server, whose `X-Forwarded-For` says who a request comes from. Default: none.
    pub trusted_proxies: Vec<IpNet>,
    /// `[server.tls]`: the listener speaks TLS. Default: none.
    pub tls: Option<TlsSettings>,
}

keys!(ServerSettings {
    bind: address,
    workers: whole(0..=512),
    max_body: size,
    max_in_flight: size,
    max_connections: whole(1..=1_000_000),
    request_timeout: duration,
    min_body_rate: rate,
    keep_alive: duration,
    drain_delay: duration_or_none,
    health_path: some(checked(
        text,
        |path| path.starts_with('/') && !path.contains(['{', '}', '?', '#']),
        "is no path; expected one such as \"/healthz\"",
    )),
    trusted_proxies: networks,
    tls: some(tls),
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
            min_body_rate: 16 * 1024,
            keep_alive: Duration::from_secs(75),
            drain_delay: Duration::ZERO,
            health_path: None,
            trusted_proxies: Vec::new(),
            tls: None,
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
    /// A token that may only read: it is answered GET requests. Needs `token` too. Default: none.
    pub viewer_token: Option<Secret>,
    /// Who sees the texts of bodies. Default: only the administrator.
    pub show_bodies: ShowBodies,
    /// The path under which a proxy shows the listener, such as `/offhook`; the proxy takes it away. The pages of
    /// the dashboard name their own addresses by it. Default: none.
    pub path_prefix: Option<String>,
    /// How many clients may watch `/api/stream` at the same time, at most 128. Default: 16.
    pub max_viewers: usize,
    /// `[admin.tls]`: the listener speaks TLS. Default: none.
    pub tls: Option<TlsSettings>,
}

keys!(AdminSettings {
    bind: address,
    token: some(token),
    viewer_token: some(token),
    show_bodies: one_of(&[("admin", ShowBodies::Admin), ("viewer", ShowBodies::Viewer),]),
    path_prefix: some(checked(
        text,
        |path| {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
            path.starts_with('/')
                && !path.ends_with('/')
                && !path.contains("//")
                && path.chars().all(is_plain)
        },
        "is no prefix; expected a path without a slash at its end, such as \"/offhook\"",
    )),
    max_viewers: whole(0..=128),
    tls: some(tls),
});

/// A token that a header can show.
fn token(spot: &Spot<'_>) -> Option<Secret> {
    let shown = |token: &Secret| token.expose().iter().all(u8::is_ascii_graphic);
    let text = "can never be shown in a header: it must be visible ASCII without spaces";
    checked(secret, shown, text)(spot)
}

/// `admin.show_bodies`: who sees the bodies of events, and what contains text of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShowBodies {
    /// Only the administrator.
    #[default]
    Admin,
    /// The viewer too.
    Viewer,
}

impl AdminSettings {
    /// Likely mistakes, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let is_open = self.tls.is_none() && !self.bind.ip().is_loopback();
        let warning = is_open.then(|| {
            format!(
                "admin.bind {} is not loopback, and there is no [admin.tls]: everyone on the way can read the admin token.",
                self.bind
            )
        });
        warning.into_iter().collect()
    }
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 5001)),
            token: None,
            viewer_token: None,
            show_bodies: ShowBodies::default(),
            path_prefix: None,
            max_viewers: DEFAULT_MAX_VIEWERS,
            tls: None,
        }
    }
}

keys!(LogSettings {
    format: one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
    level: one_of(&[
        ("off", LevelFilter::Off),
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
        ("trace", LevelFilter::Trace),
    ]),
});

keys!(RefusedSettings {
    keep: whole(0..=10_000),
    body: size,
    total: size,
});

const MIB: usize = 1024 * 1024;
