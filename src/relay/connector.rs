//! [`Connector`]: a connection to a subscriber, to an address that the guard has judged.
//!
//! There is no proxy in between. TLS trusts what the system trusts, and chooses HTTP/2 where the
//! other side speaks it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower_service::Service;

use super::guard::{Guard, GuardedResolver};
use super::{RelayError, failure};

type Https = HttpsConnector<HttpConnector<GuardedResolver>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections. The client clones it with every request, so that costs little.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: Arc<Https>,
    limit: Duration,
}

impl Connector {
    /// Connections within `limit`, which trust `roots`, or what the system trusts.
    pub(super) fn new(
        guard: &Guard,
        limit: Duration,
        roots: Option<RootCertStore>,
    ) -> Result<Self, RelayError> {
        let tls = relay_tls(roots).map_err(|error| RelayError::Client {
            problem: failure::innermost(&error),
        })?;
        let tcp = tcp(guard.resolver(), Some(limit));
        let https = Arc::new((tcp, tls).into());
        Ok(Self { https, limit })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = Https::clone(&self.https).call(uri);
        let connected = tokio::time::timeout(self.limit, connecting);
        Box::pin(async move { connected.await.map_err(io::Error::from)? })
    }
}

/// Connections of TCP to the addresses that `resolver` finds, each made within `limit`.
pub(crate) fn tcp<R>(resolver: R, limit: Option<Duration>) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    // TLS is for the connector above it.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(limit);
    tcp.set_keepalive(Some(TCP_PING));
    tcp.set_keepalive_interval(Some(TCP_PING));
    tcp.set_keepalive_retries(Some(TCP_PINGS));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(LONGEST_UNHEARD));
    tcp
}

/// TLS of the relay, which trusts nothing where the system has no certificates to trust.
fn relay_tls(roots: Option<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
    tls(roots, ALPN).or_else(|error| {
        // A container may hold no certificates, and its subscribers may all be at http://.
        log::warn!(
            "subscribers at https:// cannot be reached, there are no certificates to trust: {}",
            failure::innermost(&error)
        );
        tls(Some(RootCertStore::empty()), ALPN)
    })
}

/// TLS that trusts `roots`, or what the system trusts, and offers the protocols `alpn`.
pub(crate) fn tls(
    roots: Option<RootCertStore>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, rustls::Error> {
    // Where another part of the process has set one already, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let provider = CryptoProvider::get_default().map_or_else(
        || Arc::new(rustls::crypto::ring::default_provider()),
        Arc::clone,
    );
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_protocol_versions(rustls::ALL_VERSIONS)?;
    let config = match roots {
        Some(roots) => config.with_root_certificates(roots),
        None => {
            let system = Arc::new(Verifier::new(provider)?);
            config.dangerous().with_custom_certificate_verifier(system)
        }
    };
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// After how long without a word TCP asks whether the other side is still there, how long it waits
/// between two such questions, and how often it asks.
const TCP_PING: Duration = Duration::from_secs(15);
const TCP_PINGS: u32 = 3;

/// How long what was sent may stay without the other side's having heard it.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const LONGEST_UNHEARD: Duration = Duration::from_secs(30);
