//! TLS: real clients with an authority made for the test, client certificates, slow and broken handshakes,
//! and what the files of the settings must hold.

mod admin;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use offhook::settings::TlsSettings;
use offhook::testing::Recorder;
use offhook::{Offhook, Server};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{
    DOCUMENTED, Folder, KEY, Program, Ran, Raw, address_in, bounded, recording, signed,
    until_metric,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Otherwise certificates would have the name of their issuer.
    params
        .distinguished_name
        .push(DnType::CommonName, "test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, in PEM.
fn issued(authority: &Authority) -> (String, String) {
    issued_until(authority, 2090)
}

/// The same, with the year at whose beginning it ends.
fn issued_until(authority: &Authority, year: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = date_time_ymd(year, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// The files of a server and its clients.
struct Files {
    folder: Folder,
    authority: Authority,
}

impl Files {
    fn new(name: &str) -> Self {
        let authority = authority();
        let files = Self {
            folder: Folder::new(name),
            authority,
        };
        files.write("ca.pem", &files.authority.pem());
        files.issue("server");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes a new `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str) {
        let (certificate, key) = issued(&self.authority);
        self.write(&format!("{name}.pem"), &certificate);
        self.write(&format!("{name}.key"), &key);
    }

    fn settings(&self) -> TlsSettings {
        TlsSettings::new(self.path("server.pem"), self.path("server.key"))
    }

    async fn server(&self, change: impl FnOnce(&mut TlsSettings)) -> (Server, Recorder) {
        let mut tls = self.settings();
        change(&mut tls);
        recording(|offhook| {
            offhook.configure(|settings| {
                settings.server.request_timeout = Duration::from_millis(500);
                settings.server.tls = Some(tls);
                settings.admin = Some(Default::default());
                settings.admin.as_mut().unwrap().bind.set_port(0);
            })
        })
        .await
    }

    async fn connect(&self, to: SocketAddr) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(to).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        bounded(connected).await.unwrap()
    }
}

fn ran(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

fn signature(body: &str) -> String {
    let headers = signed(body).headers;
    let mut found = headers
        .into_iter()
        .filter(|(name, _)| name == "X-Webhook-Signature");
    found.next().unwrap().1
}

/// `curl`, which sends a documented event.
fn curl(files: &Files, to: SocketAddr, more: &[&str]) -> Ran {
    let signature = signature(DOCUMENTED[0]);
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60"]);
    command.args(["--cacert", &files.text("ca.pem")]);
    command.args(["--header", &format!("X-Webhook-Signature: {signature}")]);
    command.args(["--data", DOCUMENTED[0]]).args(more);
    ran(command.arg(format!("https://127.0.0.1:{}/webhook", to.port())))
}

const PYTHON: &str = "
import ssl, sys, urllib.request
url, ca, signature, body = sys.argv[1:]
request = urllib.request.Request(url, body.encode(), {'X-Webhook-Signature': signature})
context = ssl.create_default_context(cafile=ca)
print(urllib.request.urlopen(request, context=context, timeout=60).read().decode())
";

const RECEIVED: &str = r#"{"status":"received"}"#;

#[actix_web::test]
async fn openssl_curl_and_python_reach_it() {
    let files = Files::new("tls-clients");
    let (server, recorder) = files.server(|_| {}).await;
    let to = server.public_address();
    let ca = files.text("ca.pem");
    let (printed, python, openssl) = actix_web::rt::task::spawn_blocking(move || {
        let printed = curl(&files, to, &[]).printed;
        let signature = signature(DOCUMENTED[1]);
        let url = format!("https://localhost:{}/webhook", to.port());
        let python =
            ran(Command::new("python3").args(["-c", PYTHON, &url, &ca, &signature, DOCUMENTED[1]]));
        let connect = to.to_string();
        let openssl = ran(Command::new("openssl")
            .args([
                "s_client",
                "-connect",
                &connect,
                "-CAfile",
                &ca,
                "-verify_return_error",
                "-alpn",
                "http/1.1",
            ])
            .stdin(std::process::Stdio::null()));
        (printed, python, openssl)
    })
    .await
    .unwrap();
    assert_eq!(printed, RECEIVED);
    assert_eq!(python.printed.trim(), RECEIVED, "{}", python.said);
    assert!(
        openssl.printed.contains("Verify return code: 0 (ok)"),
        "{openssl:?}"
    );
    assert!(
        openssl.printed.contains("ALPN protocol: http/1.1"),
        "{openssl:?}"
    );
    server.stop().await;
    assert_eq!(recorder.events().len(), 2);
}

#[actix_web::test]
async fn only_clients_of_the_authority_are_served() {
    let files = Files::new("tls-client-ca");
    let clients = authority();
    files.write("clients.pem", &clients.pem());
    let (certificate, key) = issued(&clients);
    files.write("client.pem", &certificate);
    files.write("client.key", &key);
    files.issue("stranger");
    let (server, recorder) = files
        .server(|tls| tls.client_ca = Some(files.path("clients.pem")))
        .await;
    let to = server.public_address();
    let [none, stranger, client] = actix_web::rt::task::spawn_blocking(move || {
        let with = |name: &str| {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
            let (certificate, key) = (files.text(&certificate), files.text(&key));
            curl(&files, to, &["--cert", &certificate, "--key", &key])
        };
        [curl(&files, to, &[]), with("stranger"), with("client")]
    })
    .await
    .unwrap();
    assert_eq!(client.printed, RECEIVED, "{}", client.said);
    assert_ne!(none.status, 0, "{none:?}");
    assert_ne!(stranger.status, 0, "{stranger:?}");
    until_metric(&server, "offhook_failed_handshakes_total 2").await;
    server.stop().await;
    assert_eq!(recorder.events().len(), 1);
}

#[actix_web::test]
async fn handshakes_that_do_not_come_end() {
    let files = Files::new("tls-slow");
    let (server, _) = files.server(|_| {}).await;
    let to = server.public_address();
    let mut silent = Raw::connect(to).await;
    let mut plain = Raw::connect(to).await;
    plain
        .send("POST /webhook HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let mut half = Raw::connect(to).await;
    half.send([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await;
    silent.expect_end().await;
    half.expect_end().await;
    assert_eq!(plain.rest().await.first(), Some(&21), "a TLS alert");
    until_metric(&server, "offhook_failed_handshakes_total 3").await;
    server.stop().await;
}

/// Load balancers connect and hang up, to see whether the port is open.
#[actix_web::test]
async fn a_connection_without_a_byte_is_no_failed_handshake() {
    let files = Files::new("tls-probe");
    let (server, _) = files.server(|_| {}).await;
    let to = server.public_address();
    for _ in 0..3 {
        drop(TcpStream::connect(to).await.unwrap());
    }
    let mut plain = Raw::connect(to).await;
    plain.send("GET / HTTP/1.1\r\n\r\n").await;
    plain.rest().await;
    until_metric(&server, "offhook_failed_handshakes_total 1").await;
    server.stop().await;
}

/// As `nc -N` and some clients do: they say by TCP that they send nothing more, and not by TLS.
#[actix_web::test]
async fn a_client_that_only_ends_its_side_is_answered() {
    let files = Files::new("tls-fin");
    let (server, recorder) = files.server(|_| {}).await;
    let mut stream = files.connect(server.public_address()).await;
    stream
        .write_all(&signed(DOCUMENTED[0]).bytes())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let (tcp, _) = stream.get_mut();
    bounded(tcp.shutdown()).await.unwrap();
    let mut answer = Vec::new();
    bounded(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    server.stop().await;
    assert_eq!(recorder.events().len(), 1);
}

/// The program with a certificate and 20 connections at most, and its address.
fn served(files: &Files) -> (Program, SocketAddr) {
    let settings = format!(
        "[server]\nbind = \"127.0.0.1:0\"\nworkers = 1\nmax_connections = 20\n\
         tls = {{ certificate = \"server.pem\", key = \"server.key\" }}\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [journal]\nengine = \"none\"\n[[sources]]\nname = \"hub\"\nsecrets = [\"{KEY}\"]\n"
    );
    files.write("settings.toml", &settings);
    let program = Program::start(&mut crate::served::command(&files.folder));
    let to = address_in(&program.logged("/webhook").replace("https", "http"));
    (program, to)
}

#[actix_web::test]
async fn plain_http_to_a_tls_port_is_named() {
    let files = Files::new("tls-plain");
    let (program, to) = served(&files);
    let mut plain = Raw::connect(to).await;
    plain.send("GET / HTTP/1.1\r\n\r\n").await;
    plain.rest().await;
    let line = program.logged("no TLS handshake with 127.0.0.1:");
    assert!(line.contains("speaks HTTP, not HTTPS"), "{line}");
    program.stop();
}

/// Those that do not finish their handshakes give way, as idle connections do.
#[actix_web::test]
async fn handshakes_that_do_not_come_lock_nobody_out() {
    let files = Files::new("tls-crowd");
    let (program, to) = served(&files);
    let mut silent = Vec::new();
    for _ in 0..25 {
        let mut one = Raw::connect(to).await;
        one.send([22, 3, 1, 2, 0, 1]).await;
        silent.push(one);
    }
    let line = program.logged("no TLS handshake with 127.0.0.1:");
    assert!(line.contains("gave way to another connection"), "{line}");
    let mut stream = files.connect(to).await;
    let asked = signed(DOCUMENTED[0]).header("Connection", "close");
    stream.write_all(&asked.bytes()).await.unwrap();
    let mut answer = Vec::new();
    bounded(stream.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    drop(silent);
    program.stop();
}

#[actix_web::test]
async fn deadlines_hold_under_tls() {
    let files = Files::new("tls-deadlines");
    let (server, _) = files.server(|_| {}).await;
    let to = server.public_address();

    let mut late = files.connect(to).await;
    late.write_all(b"POST /webhook HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    bounded(late.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    // It asks and asks, and reads no answer.
    let mut deaf = files.connect(to).await;
    let asked = signed(DOCUMENTED[0]).bytes();
    bounded(async { while deaf.write_all(&asked).await.is_ok() {} }).await;
    server.stop().await;
}

#[actix_web::test]
async fn the_oldest_version_is_a_setting() {
    let files = Files::new("tls-version");
    let (server, _) = files
        .server(|tls| tls.min_version = offhook::settings::TlsVersion::Tls13)
        .await;
    let to = server.public_address();
    let [old, new] = actix_web::rt::task::spawn_blocking(move || {
        [&["--tls-max", "1.2"][..], &[]].map(|more| curl(&files, to, more))
    })
    .await
    .unwrap();
    assert_ne!(old.status, 0, "{old:?}");
    assert_eq!(new.printed, RECEIVED);
    server.stop().await;
}

#[actix_web::test]
async fn files_that_are_wrong_are_told() {
    let files = Files::new("tls-files");
    files.issue("other");
    files.write("empty.pem", "");
    let whole = std::fs::read_to_string(files.path("server.pem")).unwrap();
    files.write("cut.pem", &whole[..whole.len() - 30]);
    files.write(
        "locked.key",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    for (certificate, key, client_ca, expected) in [
        (
            "none.pem",
            "server.key",
            None,
            "server.tls.certificate: {none.pem}: cannot be read: No such file",
        ),
        (
            "empty.pem",
            "server.key",
            None,
            "server.tls.certificate: {empty.pem}: holds no certificate",
        ),
        (
            "server.key",
            "server.key",
            None,
            "server.tls.certificate: {server.key}: holds no certificate",
        ),
        (
            "cut.pem",
            "server.key",
            None,
            "server.tls.certificate: {cut.pem}: ends within a PEM section",
        ),
        (
            "server.pem",
            "server.pem",
            None,
            "server.tls.key: {server.pem}: holds no private key",
        ),
        (
            "server.pem",
            "locked.key",
            None,
            "server.tls.key: {locked.key}: the key has a passphrase",
        ),
        (
            "server.pem",
            "other.key",
            None,
            "server.tls.key: {other.key}: is not the key of the first certificate in {server.pem}",
        ),
        (
            "server.pem",
            "server.key",
            Some("empty.pem"),
            "server.tls.client_ca: {empty.pem}: holds no certificate",
        ),
    ] {
        let mut tls = TlsSettings::new(files.path(certificate), files.path(key));
        tls.client_ca = client_ca.map(|name| files.path(name));
        let started = Offhook::builder()
            .source(crate::support::source())
            .bind(([127, 0, 0, 1], 0))
            .without_admin()
            .configure(|settings| {
                settings.journal = offhook::settings::JournalSettings::None;
                settings.server.tls = Some(tls);
            })
            .start()
            .await;
        let found = started.expect_err(expected).to_string();
        let folder = format!("{}/", files.folder.0.display());
        let expected = expected.replace('{', &folder).replace('}', "");
        let expected = format!("the settings: {expected}");
        assert!(found.starts_with(&expected), "{found}\n{expected}");
    }
}
