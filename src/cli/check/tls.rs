//! The certificate of a listener, as `offhook check` shows it.

use std::net::IpAddr;
use std::path::Path;

use offhook::Timestamp;
use offhook::settings::TlsSettings;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The files, the names that the certificate is for, and when the chain ends.
pub(super) fn tls(settings: &TlsSettings) -> Value {
    let (names, ends) = read(&settings.certificate).unwrap_or_default();
    json!({
        "certificate": settings.certificate.display().to_string(),
        "key": settings.key.display().to_string(),
        "names": names,
        "ends": ends,
        "client_ca": settings.client_ca.as_ref().map(|path| path.display().to_string()),
        "min_version": settings.min_version,
    })
}

fn read(path: &Path) -> Option<(Vec<String>, Option<Timestamp>)> {
    let text = std::fs::read(path).ok()?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.ok()?;
    let names = names(chain.first()?);
    let ends = chain.iter().filter_map(|certificate| {
        let (_, read) = parse_x509_certificate(certificate).ok()?;
        Timestamp::from_second(read.validity().not_after.timestamp()).ok()
    });
    Some((names, ends.min()))
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, read)) = parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(alternatives)) = read.subject_alternative_name() else {
        return Vec::new();
    };
    let names = alternatives.value.general_names.iter();
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn names_and_end_of_a_certificate() {
        let names = ["hooks.example.com", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 1, 2);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file =
            std::env::temp_dir().join(format!("offhook-check-tls-{}.pem", std::process::id()));
        std::fs::write(&file, certificate.pem()).unwrap();
        let shown = tls(&TlsSettings::new(&file, "server.key"));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(shown["names"], json!(names));
        assert_eq!(shown["ends"], "2020-01-02T00:00:00Z");
        assert_eq!(shown["min_version"], "1.2");
    }
}
