//! `[server.tls]` and `[admin.tls]`: the certificate of a listener.

use std::path::PathBuf;

use serde::Serialize;

use super::kinds::{file_path, one_of, some, write_path};
use super::spot::{Spot, keys};

/// `[server.tls]` or `[admin.tls]`: the listener speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TlsSettings {
    /// A PEM file with the server's certificate, and behind it those that lead to the root.
    #[serde(serialize_with = "write_path")]
    pub certificate: PathBuf,
    /// A PEM file with the certificate's private key. It may be the same file.
    #[serde(serialize_with = "write_path")]
    pub key: PathBuf,
    /// A PEM file with the authorities of clients: only clients with a certificate of one of them are
    /// served. Default: none, clients need no certificate.
    pub client_ca: Option<PathBuf>,
    /// The oldest version of TLS that is spoken. Default: 1.2.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

keys!(TlsSettings {
    certificate: file_path => "a PEM file with the certificate and those that lead to the root",
    key: file_path => "a PEM file with the certificate's private key",
    client_ca: some(file_path),
    min_version: one_of(&[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]),
});

impl TlsSettings {
    /// The certificate and the key of a listener, with defaults for the rest.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            client_ca: None,
            min_version: TlsVersion::default(),
        }
    }
}

/// The table `tls` of a listener.
pub(super) fn tls(spot: &Spot<'_>) -> Option<TlsSettings> {
    spot.table(|table| table.over(TlsSettings::new("", "")))
}
