//! Certificates that are replaced while the server runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use offhook::{Offhook, Server, testing};
use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{Files, issued_until};
use crate::support::{DOCUMENTED, KEY, ask, bounded, secret};

/// A server whose settings are in a file beside the certificate.
async fn reloaded(name: &str) -> (Arc<Files>, Server) {
    let files = Files::new(name);
    files.write("settings.toml", &text(&files, KEY));
    let offhook = Offhook::from_settings(files.path("settings.toml")).unwrap();
    (Arc::new(files), testing::start(offhook).await)
}

fn text(files: &Files, key: &str) -> String {
    format!(
        "[server.tls]\ncertificate = \"{}\"\nkey = \"{}\"\n[admin]\n[journal]\nengine = \"none\"\n\
         [[sources]]\nname = \"hub\"\nsecrets = [\"{key}\"]\n[[handlers]]\nname = \"log\"\nuse = \"log\"\n",
        files.text("server.pem"),
        files.text("server.key")
    )
}

async fn reload(server: &Server) -> (u16, Value) {
    ask(server.admin_address().unwrap(), "POST", "/api/reload", "{}").await
}

/// The status of a signed event on this connection.
async fn status(stream: &mut TlsStream<TcpStream>, key: &str) -> std::io::Result<u16> {
    let request = testing::TestRequest::signed(DOCUMENTED[0], &secret(key));
    stream.write_all(&request.bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8(answer).unwrap();
    Ok(text.split(' ').nth(1).unwrap().parse().unwrap())
}

fn presented(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].clone().into_owned()
}

/// Clients connect all the time while the files are replaced; none of them fails, and each connection that is made
/// after a reload gets the new certificate.
#[actix_web::test]
async fn a_certificate_is_replaced_under_load() {
    let (files, server) = reloaded("tls-swap").await;
    let to = server.public_address();
    let stop = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients = (0..4).map(|_| {
        let (files, stop, served) = (Arc::clone(&files), Arc::clone(&stop), Arc::clone(&served));
        actix_web::rt::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut stream = files.connect(to).await;
                assert_eq!(bounded(status(&mut stream, KEY)).await.unwrap(), 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut open = files.connect(to).await;
    let first = presented(&open);
    for year in 2040..2050 {
        let (certificate, key) = issued_until(&files.authority, year);
        let expected = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        files.write("server.key", &key);
        files.write("server.pem", &certificate);
        let (status_code, answer) = reload(&server).await;
        assert_eq!(status_code, 200, "{answer}");
        // The watch may have been faster.
        if answer["outcome"] == "reloaded" {
            assert_eq!(
                answer["changes"],
                json!(["[server.tls]: certificate, key changed"])
            );
        }
        assert_eq!(presented(&files.connect(to).await), expected);
        let metrics = testing::TestRequest::get("/metrics");
        let metrics = metrics.send(server.admin_address().unwrap()).await.text();
        let line = format!(
            "\noffhook_certificate_ends_seconds{{listener=\"public\"}} {}\n",
            date_time_ymd(year, 1, 1).unix_timestamp()
        );
        assert!(metrics.contains(&line), "{line}\n{metrics}");
        // A connection that is open goes on with the certificate that it has.
        assert_eq!(bounded(status(&mut open, KEY)).await.unwrap(), 200);
    }
    assert_eq!(presented(&open), first);
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 10);
    server.stop().await;
}

/// Nobody asks; both files are replaced one after the other.
#[actix_web::test]
async fn a_replaced_certificate_is_taken_by_itself() {
    let (files, server) = reloaded("tls-watch").await;
    let to = server.public_address();
    let before = presented(&files.connect(to).await);
    files.issue("server");
    bounded(async { while presented(&files.connect(to).await) == before {} }).await;
    server.stop().await;
}

/// A step that fails at the end leaves everything as it was, also a secret that was changed in the same file.
#[actix_web::test]
async fn a_broken_certificate_changes_nothing() {
    let (files, server) = reloaded("tls-broken").await;
    let to = server.public_address();
    let before = presented(&files.connect(to).await);
    let good = std::fs::read_to_string(files.path("server.pem")).unwrap();
    files.write("settings.toml", &text(&files, "another-secret"));
    files.issue("other");
    let other = std::fs::read_to_string(files.path("other.pem")).unwrap();
    for (broken, problem) in [
        (&other[..], "is not the key of the first certificate in"),
        (&good[..good.len() - 30], "ends within a PEM section"),
        ("", "holds no certificate"),
    ] {
        files.write("server.pem", broken);
        let (status_code, answer) = reload(&server).await;
        assert_eq!(
            (status_code, &answer["code"]),
            (422, &json!("invalid_settings"))
        );
        let told = answer["problems"][0].as_str().unwrap();
        assert!(told.contains(problem), "{told}");
        assert!(told.contains("server.tls."), "{told}");
        let mut stream = files.connect(to).await;
        assert_eq!(presented(&stream), before);
        assert_eq!(bounded(status(&mut stream, KEY)).await.unwrap(), 200);
    }
    files.write("server.pem", &good);
    // The watch may have been faster.
    let (status_code, answer) = reload(&server).await;
    assert_eq!(status_code, 200, "{answer}");
    let mut stream = files.connect(to).await;
    let new = bounded(status(&mut stream, "another-secret")).await;
    assert_eq!(new.unwrap(), 200);
    server.stop().await;
}
