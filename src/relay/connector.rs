//! [`Connector`]: makes connections to subscribers, to addresses that the guard has judged.
//!
//! No proxy is used. TLS trusts what the system trusts, and HTTP/2 is used if the subscriber offers it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tower_service::Service;

use super::failure;
use super::guard::{Guard, RejectedAddress};

type Https = HttpsConnector<HttpConnector<GuardedResolver>>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections. The client clones it for every request, so a clone must cost little.
#[derive(Debug, Clone)]
pub(super) struct Connector {
    https: Arc<Https>,
    limit: Duration,
}

impl Connector {
    /// A connector whose connections may take `limit`, and trust `roots`, or what the system trusts.
    pub(super) fn new(
        guard: &Guard,
        limit: Duration,
        roots: Option<RootCertStore>,
    ) -> Result<Self, rustls::Error> {
        let tcp = tcp(GuardedResolver(guard.clone()), Some(limit));
        let https = Arc::new((tcp, relay_tls(roots)?).into());
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

/// Resolves hosts to addresses that may be posted to, and fails when one of them may not.
///
/// The client connects to the addresses that come from here, so a name that changes its address after
/// registration is judged again for each connection.
#[derive(Debug, Clone)]
struct GuardedResolver(Guard);

impl Service<Name> for GuardedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = RejectedAddress;
    type Future = BoxFuture<'static, Result<Self::Response, RejectedAddress>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RejectedAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = self.0.clone();
        Box::pin(async move {
            let addresses = guard.resolve(name.as_str()).await?;
            // The client replaces port 0 by the URL's port.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

/// Connections of TCP to the addresses that `resolver` finds, each made within `limit`.
pub(super) fn tcp<R>(resolver: R, limit: Option<Duration>) -> HttpConnector<R> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    // It connects for https too; the TLS layer above it is the one that checks the scheme.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(limit);
    tcp.set_keepalive(Some(TCP_PING));
    tcp.set_keepalive_interval(Some(TCP_PING));
    tcp.set_keepalive_retries(Some(TCP_PINGS));
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    tcp.set_tcp_user_timeout(Some(LONGEST_UNACKNOWLEDGED));
    tcp
}

/// TLS of the relay. If the system has no trusted certificates, it trusts none.
fn relay_tls(roots: Option<RootCertStore>) -> Result<ClientConfig, rustls::Error> {
    const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];
    let trusted = roots.map_or_else(|| Trusted::System(Vec::new()), Trusted::Only);
    tls(trusted, ALPN, None).or_else(|error| {
        // A container may have no certificates, and its subscribers may all be at http://.
        log::warn!(
            "subscribers at https:// cannot be reached, there are no certificates to trust: {}",
            failure::innermost(&error)
        );
        tls(Trusted::Only(RootCertStore::empty()), ALPN, None)
    })
}

/// The certificates that are taken.
pub(super) enum Trusted {
    /// Those of these authorities.
    Only(RootCertStore),
    /// Those of the system's authorities, those of these, and these themselves.
    System(Vec<CertificateDer<'static>>),
}

/// The certificate of a client, with those that lead to its root, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// TLS that trusts these certificates, offers the protocols `alpn`, and proves itself if it can.
pub(super) fn tls(
    trusted: Trusted,
    alpn: &[&[u8]],
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    // It fails where another part of the process has installed a provider, and that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig::builder();
    let config = match trusted {
        Trusted::Only(roots) => config.with_root_certificates(roots),
        Trusted::System(more) => {
            let provider = Arc::clone(config.crypto_provider());
            let others = Verifier::new_with_extra_roots(more.clone(), provider)?;
            let verifier = Arc::new(OrExactly {
                known: more,
                others,
            });
            config
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        }
    };
    let mut config = match identity {
        Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

/// Takes certificates that are known to the byte, whatever their names, and judges others as usual. In both cases
/// the other side proves that it has the key.
#[derive(Debug)]
struct OrExactly {
    known: Vec<CertificateDer<'static>>,
    others: Verifier,
}

impl ServerCertVerifier for OrExactly {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.known.contains(certificate) {
            return Ok(ServerCertVerified::assertion());
        }
        let others = &self.others;
        others.verify_server_cert(certificate, rest, name, stapled, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.others
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.others
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

/// TCP keep-alive: the time without data before the first probe, and between two probes.
const TCP_PING: Duration = Duration::from_secs(15);

/// How many unanswered probes end a connection.
const TCP_PINGS: u32 = 3;

/// How long sent data may stay unacknowledged before the connection ends.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const LONGEST_UNACKNOWLEDGED: Duration = Duration::from_secs(30);
