//! [`Tls`]: the certificate of a listener, and the handshake.
//!
//! A connection takes its seat before its handshake, so that handshakes count as connections, and give way
//! as they do. Above the handshake nothing knows of TLS.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use arc_swap::ArcSwap;
use jiff::SignedDuration;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::handshakes::Handshake;
use super::seats::Seat;
use crate::Timestamp;
use crate::clock::Clock;
use crate::reload::ChangedFiles;
use crate::settings::{Certificate, Certificates, Problems, Settings, TlsSettings};
use crate::telemetry::Metrics;

/// The certificate of a listener, which may be replaced while it listens.
#[derive(Debug)]
pub(crate) struct Tls {
    live: ArcSwap<Certificate>,
}

/// The certificates of both listeners.
#[derive(Debug, Clone)]
pub(super) struct ListenersTls {
    pub(super) public: Option<Arc<Tls>>,
    pub(super) admin: Option<Arc<Tls>>,
}

/// Another certificate for a listener.
pub(super) struct NextCertificate {
    /// The files that are others.
    pub(super) files: ChangedFiles,
    certificate: Arc<Certificate>,
    listener: Arc<Tls>,
}

impl ListenersTls {
    pub(super) fn new(settings: &Settings) -> Result<Self, Problems> {
        let mut certificates = Certificates::default();
        let mut new = |section, settings: Option<&TlsSettings>| {
            let certificate = settings
                .map(|settings| load(section, settings, &mut certificates))
                .transpose()?;
            Ok(certificate.map(|certificate| Arc::new(Tls::new(certificate))))
        };
        let [public, admin] = sections(settings);
        Ok(Self {
            public: new(PUBLIC, public)?,
            admin: new(ADMIN, admin)?,
        })
    }

    /// How the URLs of the public and the admin listener begin.
    pub(super) fn schemes(&self) -> (&'static str, &'static str) {
        let scheme = |tls: &Option<Arc<Tls>>| if tls.is_some() { "https" } else { "http" };
        (scheme(&self.public), scheme(&self.admin))
    }

    /// Says in metrics when the certificates end, and in the log each day from two weeks before. Ends when the task
    /// is aborted.
    pub(super) async fn watch(self, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) {
        while self.public.is_some() || self.admin.is_some() {
            self.tell_ends(&metrics, clock.now());
            clock.sleep(DAY).await;
        }
    }

    /// Says in metrics when the certificates end, and in the log if that is soon.
    pub(super) fn tell_ends(&self, metrics: &Metrics, now: Timestamp) {
        for (name, tls) in [("public", &self.public), ("admin", &self.admin)] {
            let Some(tls) = tls else { continue };
            let ends = tls.live.load().ends;
            metrics.certificate_ends(name, ends);
            if let Some(text) = ends_soon(ends, now) {
                log::warn!(
                    "the certificate of the {name} listener {text}; put a new one into its files"
                );
            }
        }
    }

    /// Loads the files again, if they are not in `certificates`. Returns those that are others than those in use.
    pub(super) fn load(
        &self,
        settings: &Settings,
        certificates: &mut Certificates,
    ) -> Result<Vec<NextCertificate>, Problems> {
        let listeners = [(PUBLIC, &self.public), (ADMIN, &self.admin)];
        let mut next = Vec::new();
        for ((section, listener), settings) in listeners.into_iter().zip(sections(settings)) {
            if let (Some(listener), Some(settings)) = (listener, settings) {
                let certificate = load(section, settings, certificates)?;
                let keys = listener.live.load().differs_in(&certificate);
                if !keys.is_empty() {
                    next.push(NextCertificate {
                        files: ChangedFiles { section, keys },
                        certificate,
                        listener: Arc::clone(listener),
                    });
                }
            }
        }
        Ok(next)
    }
}

impl NextCertificate {
    /// From now on new connections get it.
    pub(super) fn apply(self) {
        self.listener.replace(self.certificate);
    }
}

/// What is said of a certificate that ends in the next two weeks, or has ended.
fn ends_soon(ends: Timestamp, now: Timestamp) -> Option<String> {
    let left = ends.duration_since(now);
    let days = left.as_hours() / 24;
    if left > SOON {
        None
    } else if left.is_positive() {
        Some(format!("ends at {ends}, in {days} days"))
    } else {
        Some(format!("has ended at {ends}, so clients refuse it"))
    }
}

fn sections(settings: &Settings) -> [Option<&TlsSettings>; 2] {
    let admin = settings.admin.as_ref();
    [
        settings.server.tls.as_ref(),
        admin.and_then(|admin| admin.tls.as_ref()),
    ]
}

fn load(
    section: &str,
    settings: &TlsSettings,
    certificates: &mut Certificates,
) -> Result<Arc<Certificate>, Problems> {
    let loaded = certificates.of(settings);
    loaded.map_err(|(key, text)| Problems::at(format!("{section}.{key}"), text))
}

impl Tls {
    fn new(certificate: Arc<Certificate>) -> Self {
        Self {
            live: ArcSwap::new(certificate),
        }
    }

    /// From now on new connections get this certificate. Those that are open keep theirs.
    fn replace(&self, certificate: Arc<Certificate>) {
        self.live.store(certificate);
    }

    /// The handshake, for as long as the connection has its seat. An error is a short text; `None` if the other
    /// side has ended the connection without a byte, as health checks do.
    pub(super) async fn accept(
        &self,
        tcp: TcpStream,
        seat: &Seat,
        mut turn: Handshake,
    ) -> Result<Box<TlsStream<TcpStream>>, Option<String>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.live.load().config));
        let handshake = async {
            let mut first = [0; 8];
            let length = match tcp.peek(&mut first).await {
                Ok(0) | Err(_) => return Err(None),
                Ok(length) => length,
            };
            let is_http = METHODS.iter().any(|one| first[..length].starts_with(one));
            let accepted = acceptor.accept(tcp).await;
            accepted.map_err(|error| {
                Some(if is_http {
                    SPEAKS_HTTP.to_owned()
                } else {
                    error.to_string()
                })
            })
        };
        tokio::select! {
            done = timeout(HANDSHAKE, handshake) => match done {
                Ok(done) => done.map(Box::new),
                Err(_) => Err(Some(format!("not finished within {HANDSHAKE:?}"))),
            },
            () = poll_fn(|cx| seat.poll_evicted(cx)) => Err(Some(GAVE_WAY.to_owned())),
            () = turn.gives_way() => Err(Some(GAVE_WAY.to_owned())),
        }
    }
}

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(3);

/// How often the ends of certificates are looked at.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// So long before the end there are warnings.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What a request that is not encrypted begins with.
const METHODS: [&[u8]; 5] = [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE "];

const SPEAKS_HTTP: &str = "the client speaks HTTP, not HTTPS";

const GAVE_WAY: &str = "gave way to another connection";

const PUBLIC: &str = "server.tls";

const ADMIN: &str = "admin.tls";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_weeks_are_told() {
        let ends: Timestamp = "2026-12-15T12:00:00Z".parse().unwrap();
        for (now, expected) in [
            ("2026-12-01T11:59:59Z", None),
            (
                "2026-12-01T12:00:00Z",
                Some("ends at 2026-12-15T12:00:00Z, in 14 days"),
            ),
            (
                "2026-12-15T11:59:59Z",
                Some("ends at 2026-12-15T12:00:00Z, in 0 days"),
            ),
            (
                "2026-12-15T12:00:00Z",
                Some("has ended at 2026-12-15T12:00:00Z, so clients refuse it"),
            ),
        ] {
            let told = ends_soon(ends, now.parse().unwrap());
            assert_eq!(told.as_deref(), expected, "{now}");
        }
    }
}
