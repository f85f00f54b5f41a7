//! [`Pem`]: a file with certificates or a private key. An error shows nothing of a file, which may hold a key.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use crate::error::unreadable;
use crate::signature::{MAX_SECRET_FILE, read_regular};

/// What a PEM file holds.
pub(crate) struct Pem(Vec<u8>);

impl Pem {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = read_regular(path, MAX_SECRET_FILE);
        let mut text = text.map_err(|error| unreadable(path, &error))?;
        // Some editors begin a file with it.
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Self(text))
    }

    /// The certificates; at least one.
    pub(crate) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.0).collect();
        let found = found.map_err(|error| broken(&error))?;
        if found.is_empty() {
            return Err(
                "holds no certificate; it begins with -----BEGIN CERTIFICATE-----".to_owned(),
            );
        }
        Ok(found)
    }

    /// The first private key.
    pub(crate) fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.0).map_err(|error| match error {
            // Such a key has a label, or lines of headers, that PEM does not have.
            _ if memchr::memmem::find(&self.0, b"ENCRYPTED").is_some() => {
                "the key has a passphrase, which offhook cannot ask for; write it without one"
                    .to_owned()
            }
            pem::Error::NoItemsFound => {
                "holds no private key; it begins with -----BEGIN PRIVATE KEY-----".to_owned()
            }
            error => broken(&error),
        })
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }
}

fn broken(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "ends within a PEM section".to_owned(),
        _ => "is no PEM file: a section of it cannot be read".to_owned(),
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
