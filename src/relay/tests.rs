//! Tests that need more than the public interface: a name that changes its address, TLS, and the end of
//! a subscription.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::guard::{Guard, Lookup};
use super::{Relay, RelayClient, RelayOptions};
use crate::clock::SystemClock;
use crate::signature::Secret;
use crate::{Delivery, EventHandler as _, HandlerError, Received};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// Answers of the name's servers, one after another.
#[derive(Debug)]
struct Names(Mutex<VecDeque<Vec<IpAddr>>>);

impl Names {
    fn new(answers: impl Into<VecDeque<Vec<IpAddr>>>) -> Self {
        Self(Mutex::new(answers.into()))
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.0.lock().unwrap().pop_front();
        answer.ok_or_else(|| io::Error::other("asked too often"))
    }
}

fn client(guard: Guard, options: &RelayOptions, roots: Option<RootCertStore>) -> Arc<RelayClient> {
    RelayClient::new(guard, options, Arc::new(SystemClock), roots).unwrap()
}

fn relay(url: &str, client: &Arc<RelayClient>) -> Relay {
    let secret = Secret::new("key").unwrap();
    Relay::with_client(url.parse().unwrap(), &secret.into(), client)
}

async fn deliver(relay: &Relay) -> Result<(), HandlerError> {
    let received = Arc::new(Received::new("s", "{}"));
    relay.deliver(&[], &Delivery::new(received, 1, false)).await
}

/// A listener that no attempt may reach, and its port.
async fn forbidden() -> (TcpListener, u16) {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Checks that no connection was made. The system accepts a connection before `connect` returns, so there
/// is nothing to wait for.
async fn assert_untouched(listener: &TcpListener) {
    let accepted = futures_util::poll!(std::pin::pin!(listener.accept()));
    assert!(accepted.is_pending(), "{accepted:?}");
}

/// Answers each request of every connection with these bytes. Returns its address and the requests'
/// heads.
async fn answering(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    // The body is `{}`.
                    if head.ends_with(b"\r\n\r\n{}") {
                        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                        asked.lock().unwrap().push(text);
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    (address, heads)
}

#[tokio::test]
async fn an_address_is_judged_again_for_each_connection() {
    let table = [
        (vec![HERE], "127.0.0.1, which is a loopback"),
        (vec![PUBLIC, HERE], "127.0.0.1, which is a loopback"),
        (vec!["::ffff:127.0.0.1".parse().unwrap()], "loopback"),
        (vec!["169.254.169.254".parse().unwrap()], "169.254.169.254"),
        (vec![], "does not resolve"),
    ];
    for (then, words) in table {
        let (listener, port) = forbidden().await;
        let names = Names::new([vec![PUBLIC], then.clone()]);
        let options = RelayOptions::default();
        let client = client(Guard::default().lookup(names), &options, None);
        let url = format!("http://rebind.example:{port}/hook?token=hidden");
        // At registration the address is good.
        let registered = client.guard().url(&url).unwrap();
        assert_eq!(
            client.guard().vet(&registered).await.unwrap()[0].ip(),
            PUBLIC
        );

        let error = deliver(&relay(&url, &client)).await.unwrap_err();
        // The name may get a good address again, so it is retried.
        assert!(!error.is_reject());
        let said = error.to_string();
        let post = format!("POST http://rebind.example:{port}/hook?…: ");
        assert!(said.starts_with(&post), "{said}");
        assert!(said.contains(words), "{then:?}: {said}");
        assert_untouched(&listener).await;
    }
}

#[tokio::test]
async fn an_address_in_the_url_is_judged() {
    let (listener, port) = forbidden().await;
    let client = client(Guard::default(), &RelayOptions::default(), None);
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let relay = relay(&format!("http://{host}:{port}/"), &client);
        let said = deliver(&relay).await.unwrap_err().to_string();
        assert!(said.contains("loopback"), "{said}");
    }
    assert_untouched(&listener).await;
}

#[tokio::test]
async fn the_judged_address_is_the_one_connected_to() {
    let (address, heads) = answering("HTTP/1.1 204 X\r\n\r\n").await;
    let options = RelayOptions::default();
    // The lookup answers once only, so there is no second one before the connection.
    let guard = Guard::new(true, Vec::new()).lookup(Names::new([vec![HERE]]));
    let client = client(guard, &options, None);
    let url = format!("http://crm.example:{}/hook?token=t", address.port());
    deliver(&relay(&url, &client)).await.unwrap();
    let heads = heads.lock().unwrap();
    assert!(
        heads[0].starts_with("POST /hook?token=t HTTP/1.1\r\n"),
        "{heads:?}"
    );
    let host = format!("host: crm.example:{}\r\n", address.port());
    assert!(heads[0].contains(&host), "{heads:?}");
}

#[tokio::test]
async fn a_410_is_reported_once() {
    let (address, heads) = answering("HTTP/1.1 410 X\r\nContent-Length: 0\r\n\r\n").await;
    let guard = Guard::new(true, Vec::new());
    let client = client(guard, &RelayOptions::default(), None);
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let relay = relay(&format!("http://{address}/hook"), &client);
    let relay = relay.on_gone(Arc::new(move |why: &str| {
        telling.lock().unwrap().push(why.to_owned());
    }));
    for _ in 0..2 {
        assert!(deliver(&relay).await.unwrap_err().is_reject());
    }
    assert_eq!(heads.lock().unwrap().len(), 2);
    let why = format!("POST http://{address}/hook: 410 Gone");
    assert_eq!(*told.lock().unwrap(), [why]);
}

/// A server with a certificate for `crm.example`, and that certificate.
async fn with_tls(alpn: &[&str]) -> (TcpListener, tokio_rustls::TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["crm.example".to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    (listener, Arc::new(config).into(), certificate.to_vec())
}

#[tokio::test]
async fn http_2_is_used_where_it_is_offered() {
    let (listener, tls, certificate) = with_tls(&["h2", "http/1.1"]).await;
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tls.accept(stream).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut asked = Vec::new();
        // Both requests come over this one connection.
        while let Some(request) = connection.accept().await {
            let (request, mut respond) = request.unwrap();
            let headers = request.headers().clone();
            let answer = http::Response::builder().status(204).body(()).unwrap();
            let mut body = request.into_body();
            tokio::spawn(async move {
                while let Some(chunk) = body.data().await {
                    assert_eq!(chunk.unwrap(), Bytes::from_static(b"{}"));
                }
                respond.send_response(answer, true).unwrap();
            });
            asked.push(headers);
            if asked.len() == 2 {
                connection.graceful_shutdown();
            }
        }
        asked
    });
    let client = trusting(certificate, &RelayOptions::default());
    let relay = relay(&format!("https://crm.example:{port}/hook"), &client);
    deliver(&relay).await.unwrap();
    deliver(&relay).await.unwrap();
    let asked = serving.await.unwrap();
    assert_eq!(asked.len(), 2);
    let id = Received::new("s", "").id.to_string();
    assert!(asked.iter().all(|headers| headers["webhook-id"] == *id));
}

/// A client that trusts this certificate, and resolves `crm.example` to this machine.
fn trusting(certificate: Vec<u8>, options: &RelayOptions) -> Arc<RelayClient> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.into()).unwrap();
    let names = Names::new([vec![HERE]]);
    let guard = Guard::new(true, Vec::new()).lookup(names);
    client(guard, options, Some(roots))
}

#[tokio::test]
async fn an_unprocessed_request_is_sent_again_immediately() {
    // It is sent again twice; then the attempt has failed.
    for (refusals, delivered) in [(2, true), (3, false)] {
        let (listener, tls, certificate) = with_tls(&["h2"]).await;
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = tls.accept(stream).await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut asked = 0;
            while let Some(request) = connection.accept().await {
                let Ok((_, mut respond)) = request else { break };
                asked += 1;
                if asked <= refusals {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                } else {
                    let answer = http::Response::builder().status(204).body(()).unwrap();
                    respond.send_response(answer, true).unwrap();
                }
            }
            asked
        });
        let client = trusting(certificate, &RelayOptions::default());
        let relay = relay(&format!("https://crm.example:{port}/hook"), &client);
        let outcome = deliver(&relay).await;
        assert_eq!(outcome.is_ok(), delivered, "{outcome:?}");
        drop((relay, client));
        assert_eq!(serving.await.unwrap(), 3);
    }
}

#[tokio::test]
async fn errors_tell_a_missing_connection_from_a_missing_answer() {
    let listener = TcpListener::bind((HERE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The system accepts connections, and nothing is sent on them.
    let options = RelayOptions {
        timeout: std::time::Duration::from_secs(1),
        ..RelayOptions::default()
    };
    let client = client(Guard::new(true, Vec::new()), &options, None);
    for (scheme, words) in [
        ("https", "no connection within 750ms"),
        ("http", "no answer within 1s"),
    ] {
        let url = format!("{scheme}://127.0.0.1:{port}/hook");
        let said = deliver(&relay(&url, &client)).await.unwrap_err();
        assert_eq!(said.to_string(), format!("POST {url}: {words}"));
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_an_error_that_says_so() {
    let (listener, tls, _) = with_tls(&[]).await;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // It fails, because the client rejects the certificate.
            let _ = tls.accept(stream).await;
        }
    });
    let guard = Guard::new(true, Vec::new()).lookup(Names::new([vec![HERE]]));
    let client = client(guard, &RelayOptions::default(), None);
    let relay = relay(
        &format!("https://crm.example:{port}/hook?token=hidden"),
        &client,
    );
    let said = deliver(&relay).await.unwrap_err().to_string();
    let words = format!("POST https://crm.example:{port}/hook?…: TLS: invalid peer certificate");
    assert!(said.starts_with(&words), "{said}");
}
