//! The certificate of a listener, as `offhook check` shows it.

use offhook::settings::TlsSettings;
use serde_json::{Value, json};

/// The files, the names that the certificate is for, and when the chain ends.
pub(super) fn tls(settings: &TlsSettings) -> Value {
    let (names, ends) = settings.names_and_end().unzip();
    json!({
        "certificate": settings.certificate.display().to_string(),
        "key": settings.key.display().to_string(),
        "names": names.unwrap_or_default(),
        "ends": ends,
        "client_ca": settings.client_ca.as_ref().map(|path| path.display().to_string()),
        "min_version": settings.min_version,
    })
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
