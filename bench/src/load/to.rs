//! Where requests go, and how.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A receiver: its addresses, which connections take in turn, and its certificate where it speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct To {
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<ClientConfig>>,
}

impl From<SocketAddr> for To {
    fn from(address: SocketAddr) -> Self {
        Self {
            addresses: vec![address],
            tls: None,
        }
    }
}

impl To {
    /// The same with one more address.
    pub(crate) fn and(mut self, address: SocketAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// The first address.
    pub(crate) fn first(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// How many addresses there are.
    pub(crate) fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// The same over TLS, to a server with the certificate in this file.
    pub(crate) fn trusting(self, certificate: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let shown = || certificate.display().to_string();
        roots.add(CertificateDer::from_pem_file(certificate).with_context(shown)?)?;
        let provider = Arc::new(ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: Some(Arc::new(tls)),
            ..self
        })
    }

    /// Makes the connection with this number, with the handshake, which may block. Afterwards nothing does.
    pub(super) fn connect(&self, number: usize) -> anyhow::Result<Stream> {
        let address = self.addresses[number % self.addresses.len()];
        let mut tcp =
            TcpStream::connect_timeout(&address, Duration::from_secs(10)).context("connecting")?;
        tcp.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            tcp.set_nonblocking(true)?;
            return Ok(Stream::Plain(tcp));
        };
        let name = ServerName::from(address.ip());
        let mut tls = ClientConnection::new(Arc::clone(config), name)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).context("the TLS handshake")?;
        }
        tcp.set_nonblocking(true)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(tls, tcp))))
    }
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    /// Over TLS it first sends what is left of a write.
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}
