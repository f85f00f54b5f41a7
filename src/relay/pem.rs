//! PEM files: certificates and private keys. An error shows nothing of a file, which may hold a key.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::signature::{MAX_SECRET_FILE, read_regular};

/// The certificates of a file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| broken(&error))?;
    if found.is_empty() {
        return Err("holds no certificate; it begins with -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(found)
}

/// The first private key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        // Such a key has a label, or lines of headers, that PEM does not have.
        _ if memchr::memmem::find(&text, b"ENCRYPTED").is_some() => {
            "the key has a passphrase, which offhook cannot ask for; write it without one"
                .to_owned()
        }
        pem::Error::NoItemsFound => {
            "holds no private key; it begins with -----BEGIN PRIVATE KEY-----".to_owned()
        }
        error => broken(&error),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut text =
        read_regular(path, MAX_SECRET_FILE).map_err(|error| format!("cannot be read: {error}"))?;
    // Some editors begin a file with it.
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

fn broken(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "ends within a PEM section".to_owned(),
        _ => "is no PEM file: a section of it cannot be read".to_owned(),
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
