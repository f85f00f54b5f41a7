//! [`Certificate`]: the files of `[server.tls]` or `[admin.tls]`, read and checked. [`Certificates`]: both.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::tls::{TlsSettings, TlsVersion};
use crate::Timestamp;
use crate::relay::pem::Pem;

/// Certificates by their settings. While settings are read, checked and prepared, each is loaded once.
#[derive(Debug, Default)]
pub(crate) struct Certificates(Vec<(TlsSettings, Loaded)>);

/// An error is the key of the file in the settings, and what is wrong with it.
type Loaded = Result<Arc<Certificate>, (&'static str, String)>;

/// A certificate with its key, ready to be used.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) config: Arc<ServerConfig>,
    /// The end of the first of the chain's certificates that ends.
    pub(crate) ends: Timestamp,
    /// The hash of what each of its keys in the settings stands for.
    made_of: [(&'static str, Option<[u8; 32]>); 4],
}

impl Certificates {
    /// The certificate of a listener.
    pub(crate) fn of(&mut self, settings: &TlsSettings) -> Loaded {
        let mut known = self.0.iter();
        if let Some((_, loaded)) = known.find(|(known, _)| known == settings) {
            return loaded.clone();
        }
        let loaded = Certificate::load(settings).map(Arc::new);
        self.0.push((settings.clone(), loaded.clone()));
        loaded
    }
}

impl Certificate {
    /// Loads the files.
    fn load(settings: &TlsSettings) -> Result<Self, (&'static str, String)> {
        let TlsSettings {
            certificate,
            key,
            client_ca,
            min_version,
        } = settings;
        let problem = |key, path: &Path, text: String| (key, format!("{}: {text}", path.display()));
        let of_certificate = |text| problem("certificate", certificate, text);
        let chain_file = Pem::read(certificate).map_err(of_certificate)?;
        let chain = chain_file.certificates().map_err(of_certificate)?;
        let ends = ends(&chain).map_err(of_certificate)?;
        let of_key = |text| problem("key", key, text);
        let key_file = Pem::read(key).map_err(of_key)?;
        let private = key_file.private_key().map_err(of_key)?;
        let provider = Arc::new(ring::default_provider());
        let mut clients: Arc<dyn ClientCertVerifier> = Arc::new(NoClientAuth);
        let mut authorities = None;
        if let Some(path) = client_ca {
            let of_client_ca = |text| problem("client_ca", path, text);
            let file = Pem::read(path).map_err(of_client_ca)?;
            clients = self::clients(&file, &provider).map_err(of_client_ca)?;
            authorities = Some(file.digest());
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(*min_version))
            .map_err(|error| problem("min_version", certificate, error.to_string()))?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, private)
            .map_err(|error| of_key(unfit(&error, certificate)))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            ends,
            made_of: [
                ("certificate", Some(chain_file.digest())),
                ("key", Some(key_file.digest())),
                ("client_ca", authorities),
                ("min_version", Some([*min_version as u8; 32])),
            ],
        })
    }

    /// The keys that stand for something else than those of `other`; none if both are the same.
    pub(crate) fn differs_in(&self, other: &Self) -> Vec<&'static str> {
        let both = self.made_of.iter().zip(&other.made_of);
        let differ = both.filter(|(own, other)| own != other);
        differ.map(|((key, _), _)| *key).collect()
    }
}

impl TlsSettings {
    /// The names and addresses that the certificate is for, and when the chain ends. `None` if it cannot be used.
    pub fn names_and_end(&self) -> Option<(Vec<String>, Timestamp)> {
        let chain = Pem::read(&self.certificate).ok()?.certificates().ok()?;
        Some((names(chain.first()?), ends(&chain).ok()?))
    }
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match oldest {
        TlsVersion::Tls12 => &VERSIONS,
        TlsVersion::Tls13 => &VERSIONS[..1],
    }
}

/// Why certificate and key do not fit.
fn unfit(error: &rustls::Error, certificate: &Path) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => format!(
            "is not the key of the first certificate in {}; one of the two files may still be the old one",
            certificate.display()
        ),
        rustls::Error::General(_) => {
            "is of a kind that cannot be used; use RSA of 2048 bits or more, ECDSA with P-256 or P-384, or Ed25519"
                .to_owned()
        }
        error => format!("cannot be used with {}: {error}", certificate.display()),
    }
}

/// Who proves that clients have a certificate of the authorities in a file.
fn clients(
    file: &Pem,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in file.certificates()? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("a certificate in it is no authority: {error}"))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

/// When the first certificate of a chain ends.
fn ends(chain: &[CertificateDer<'_>]) -> Result<Timestamp, String> {
    if chain.len() > MOST_IN_CHAIN {
        return Err(format!(
            "holds {} certificates; a chain has at most {MOST_IN_CHAIN}: the server's, and those that lead to the root",
            chain.len()
        ));
    }
    let mut first = Timestamp::MAX;
    for certificate in chain {
        let (_, read) = parse_x509_certificate(certificate)
            .map_err(|_| "a certificate in it cannot be read".to_owned())?;
        let end = Timestamp::from_second(read.validity().not_after.timestamp());
        first = first.min(end.unwrap_or(Timestamp::MAX));
    }
    Ok(first)
}

/// The names and addresses that a certificate is for.
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

/// A client gets all of them with each handshake.
const MOST_IN_CHAIN: usize = 32;

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd,
    };

    use super::*;

    /// A folder with a certificate, its key and its authority.
    pub(in crate::settings) struct Files(PathBuf);

    impl Files {
        pub(in crate::settings) fn new(name: &str) -> Self {
            let id = std::process::id();
            let folder = std::env::temp_dir().join(format!("offhook-certificate-{name}-{id}"));
            std::fs::create_dir_all(&folder).unwrap();
            let files = Self(folder);
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let own = KeyPair::generate().unwrap();
            let authority = CertifiedIssuer::self_signed(params, own).unwrap();
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
            let certificate = params.signed_by(&key, &authority).unwrap();
            files.write("cert.pem", &certificate.pem());
            files.write("key.pem", &key.serialize_pem());
            files.write("ca.pem", &authority.pem());
            files
        }

        /// The path of `cert.pem`, `key.pem` or `ca.pem`.
        pub(in crate::settings) fn path(&self, name: &str) -> String {
            self.0.join(name).display().to_string()
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.0.join(name), text).unwrap();
        }

        /// Loads `CERTIFICATE KEY CLIENT_CA`, of which the last may be left out.
        fn load(&self, names: &str) -> Result<Certificate, (&'static str, String)> {
            let mut paths = names.split(' ').map(|name| self.0.join(name));
            let mut settings = TlsSettings::new(paths.next().unwrap(), paths.next().unwrap());
            settings.client_ca = paths.next();
            Certificate::load(&settings)
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A server without a valid certificate is better than none: some senders do not check it.
    #[test]
    fn an_expired_certificate_is_loaded() {
        let files = Files::new("expired");
        let loaded = files.load("cert.pem key.pem ca.pem").unwrap();
        assert_eq!(loaded.ends.to_string(), "2020-01-02T00:00:00Z");
    }

    #[test]
    fn what_differs_is_told_by_its_key() {
        let files = Files::new("same");
        let [first, again] = [(), ()].map(|()| files.load("cert.pem key.pem").unwrap());
        assert!(first.differs_in(&again).is_empty());
        let with_clients = files.load("cert.pem key.pem ca.pem").unwrap();
        assert_eq!(first.differs_in(&with_clients), ["client_ca"]);
        let text = std::fs::read_to_string(files.0.join("cert.pem")).unwrap();
        files.write("cert.pem", &format!("{text}\n"));
        let other = files.load("cert.pem key.pem").unwrap();
        assert_eq!(first.differs_in(&other), ["certificate"]);
    }

    #[test]
    fn a_certificate_is_loaded_once() {
        let files = Files::new("once");
        let settings = TlsSettings::new(files.path("cert.pem"), files.path("key.pem"));
        let mut certificates = Certificates::default();
        let first = certificates.of(&settings).unwrap();
        drop(files);
        assert!(Arc::ptr_eq(&first, &certificates.of(&settings).unwrap()));
        assert!(Certificates::default().of(&settings).is_err());
    }

    #[test]
    fn each_problem_is_told_with_its_key() {
        let files = Files::new("problems");
        files.write("other.pem", &KeyPair::generate().unwrap().serialize_pem());
        files.write("text", "no PEM at all");
        for (name, label, lines) in [
            ("locked", "ENCRYPTED PRIVATE KEY", "AAAA"),
            ("older", "RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n\nAAAA"),
            ("letters", "PRIVATE KEY", "a-secret!"),
            ("nothing", "CERTIFICATE", "AAAA"),
        ] {
            let text = format!("-----BEGIN {label}-----\n{lines}\n-----END {label}-----\n");
            files.write(name, &text);
        }
        let chain = std::fs::read_to_string(files.0.join("cert.pem")).unwrap();
        files.write("marked", &format!("\u{feff}{chain}"));
        assert!(files.load("marked key.pem").is_ok());
        files.write("long", &chain.repeat(33));
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        files.write(
            "odd",
            &other.serialize_pem().replace(
                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH",
                "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEI",
            ),
        );
        let key = std::fs::read_to_string(files.0.join("key.pem")).unwrap();
        files.write("half", &key[..key.len() / 2]);
        let passphrase =
            "the key has a passphrase, which offhook cannot ask for; write it without one";
        let no_certificate = "holds no certificate; it begins with -----BEGIN CERTIFICATE-----";
        let no_key = "holds no private key; it begins with -----BEGIN PRIVATE KEY-----";
        let unread = "cannot be read: No such file or directory (os error 2)";
        let unfit = format!(
            "is not the key of the first certificate in {}/cert.pem; one of the two files may still be the old one",
            files.0.display()
        );
        for (names, key, at, expected) in [
            ("none key.pem", "certificate", "none", unread),
            ("text key.pem", "certificate", "text", no_certificate),
            ("key.pem key.pem", "certificate", "key.pem", no_certificate),
            (
                "nothing key.pem",
                "certificate",
                "nothing",
                "a certificate in it cannot be read",
            ),
            ("cert.pem none", "key", "none", unread),
            ("cert.pem text", "key", "text", no_key),
            ("cert.pem cert.pem", "key", "cert.pem", no_key),
            ("cert.pem half", "key", "half", "ends within a PEM section"),
            (
                "cert.pem letters",
                "key",
                "letters",
                "is no PEM file: a section of it cannot be read",
            ),
            ("cert.pem locked", "key", "locked", passphrase),
            ("cert.pem older", "key", "older", passphrase),
            ("cert.pem other.pem", "key", "other.pem", &unfit),
            (
                "long key.pem",
                "certificate",
                "long",
                "holds 33 certificates; a chain has at most 32: the server's, and those that lead to the root",
            ),
            (
                "cert.pem odd",
                "key",
                "odd",
                "is of a kind that cannot be used; use RSA of 2048 bits or more, ECDSA with P-256 or P-384, or Ed25519",
            ),
            ("cert.pem key.pem none", "client_ca", "none", unread),
            (
                "cert.pem key.pem key.pem",
                "client_ca",
                "key.pem",
                no_certificate,
            ),
        ] {
            let text = format!("{}: {expected}", files.0.join(at).display());
            assert_eq!(files.load(names).unwrap_err(), (key, text), "{names}");
        }
        let relative = TlsSettings::new("no/such.pem", "key.pem");
        let (_, text) = Certificate::load(&relative).unwrap_err();
        let folder = std::env::current_dir().unwrap();
        let looked = format!("(looked from {})", folder.display());
        assert!(
            text.starts_with("no/such.pem: ") && text.ends_with(&looked),
            "{text}"
        );
        let (key, text) = files.load("cert.pem key.pem nothing").unwrap_err();
        assert_eq!(key, "client_ca");
        assert!(
            text.contains("nothing: a certificate in it is no authority: "),
            "{text}"
        );
    }
}
