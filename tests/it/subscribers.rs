//! Subscribers that nobody here wrote: the receivers of the gateway's documentation (Flask, Express),
//! the official Standard Webhooks libraries (Python, JavaScript) and Debian's `webhook`. Each is sent
//! everything that is known, verifies every request, and refuses what is signed with another secret.
//!
//! They are installed by `./test` and found through `OFFHOOK_TEST_PEERS`. Without it these tests have
//! nobody to send to and say so.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use offhook::relay::{Relay, RelayOptions};
use offhook::testing::TestRequest;
use offhook::{Delivery, Event, EventHandler, HandlerError, HandlerOptions, Order, async_trait};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::records::keeping;
use crate::support::{
    DOCUMENTED, Folder, KEY, PRINTED, Program, address_in, bounded, peers, secret, signed,
    without_duplicates,
};

const KNOWN: &str = include_str!("../payloads/known.jsonl");

/// What came of one delivery.
#[derive(Debug)]
struct Delivered {
    id: String,
    body: Vec<u8>,
    outcome: Result<(), String>,
}

/// A relay that tells what came of each attempt. There is one for each event.
struct Watched {
    relay: Relay,
    tell: UnboundedSender<Delivered>,
}

#[async_trait]
impl EventHandler for Watched {
    async fn deliver(&self, events: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        let outcome = self.relay.deliver(events, delivery).await;
        let _ = self.tell.send(Delivered {
            id: delivery.id().to_string(),
            body: delivery.body().to_vec(),
            outcome: outcome.map_err(|error| error.to_string()),
        });
        Ok(())
    }
}

/// The three documented events, then everything known, each in a session of its own: many of them
/// have the same ids, and duplicates are not relayed.
fn everything() -> Vec<TestRequest> {
    let documented = DOCUMENTED.iter().map(|body| signed(*body));
    documented.chain(KNOWN.lines().map(signed)).collect()
}

/// Receives `requests` and relays them to `url`, signed with `key`.
async fn relay(url: &str, key: &str, requests: &[TestRequest]) -> Vec<Delivered> {
    let mut options = RelayOptions::default();
    options.allow_private = true;
    options.timeout = Duration::from_secs(30);
    let relay = Relay::new(url, Some(secret(key)), &options).unwrap();
    let (tell, mut told): (_, UnboundedReceiver<Delivered>) = unbounded_channel();
    let options = HandlerOptions::default().order(Order::None).concurrency(1);
    let port = url.rsplit(':').next().unwrap().replace('/', "-");
    let folder = Folder::new(&format!("subscribers-{port}-{}", key.len()));
    let watched = Watched { relay, tell };
    let server = keeping(&folder, |offhook| {
        without_duplicates(offhook).handler_with("subscriber", watched, options)
    });
    let server = server.await;
    // One after the other, because sessions take turns: what is printed has an order then.
    let mut delivered = Vec::new();
    for request in requests {
        assert_eq!(request.send(server.public_address()).await.status, 200);
        delivered.push(bounded(told.recv()).await.unwrap());
    }
    server.stop().await;
    delivered
}

/// That everything was accepted and came as it was sent.
fn assert_accepted(name: &str, delivered: &[Delivered]) {
    for (request, delivered) in everything().iter().zip(delivered) {
        let Delivered { body, outcome, .. } = delivered;
        let shown = String::from_utf8_lossy(body);
        assert_eq!(outcome, &Ok(()), "{name}: {shown:.200}");
        assert_eq!(
            Sha256::digest(body),
            Sha256::digest(&request.body),
            "{name}"
        );
    }
}

/// That a subscriber refuses what is signed with another secret.
async fn assert_refuses(url: &str, key: &str, status: &str) {
    let delivered = relay(url, key, &everything()[..3]).await;
    for Delivered { outcome, .. } in &delivered {
        let text = outcome.as_ref().unwrap_err();
        assert!(text.contains(status), "{url}: {text}");
    }
}

fn app(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(name)
}

fn python(peers: &Path, name: &str) -> Command {
    let mut command = Command::new(peers.join("python/bin/python"));
    command.arg(app(name)).arg("0");
    command
}

fn node(peers: &Path, name: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", peers.join("node/node_modules"));
    command.arg(app(name)).arg("0");
    command
}

fn start(command: &mut Command) -> (Program, SocketAddr) {
    let program = Program::start(command);
    let address = address_in(program.line().trim_start_matches("listening on "));
    (program, address)
}

/// What the app of the documentation says of a body that it has verified; `None` for 200.
type Fails = fn(&[u8]) -> Option<&'static str>;

/// `data['from']` is a `KeyError` where there is none.
fn flask_fails(body: &[u8]) -> Option<&'static str> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let needs: &[&str] = match body.get("event")?.as_str()? {
        "message" => &["from", "message"],
        "status" => &["messageId", "status"],
        "connection" => &["status"],
        _ => &[],
    };
    let lacks = needs.iter().any(|field| body.get(field).is_none());
    lacks.then_some("500 Internal Server Error")
}

/// `express.json()` takes 100 kB by default.
fn express_fails(body: &[u8]) -> Option<&'static str> {
    (body.len() > 100 * 1024).then_some("413 Payload Too Large")
}

#[actix_web::test]
async fn the_documentations_receivers_verify_and_print() {
    let Some(peers) = peers() else { return };
    let apps: [(_, _, Fails); 2] = [
        ("Flask", python(&peers, "flask_app.py"), flask_fails),
        ("Express", node(&peers, "express_app.js"), express_fails),
    ];
    for (name, mut command, fails) in apps {
        let (program, address) = start(&mut command);
        let url = format!("http://{address}/webhook");
        assert_refuses(&url, "another", "401 Unauthorized").await;
        let delivered = relay(&url, KEY, &everything()).await;
        for line in PRINTED {
            assert_eq!(program.line(), line, "{name}");
        }
        assert!(fails(DOCUMENTED[0].as_bytes()).is_none());
        for Delivered { body, outcome, .. } in &delivered {
            let shown = String::from_utf8_lossy(body);
            match (fails(body), outcome) {
                (None, Ok(())) => (),
                (Some(status), Err(text)) if text.contains(status) => (),
                (expected, found) => panic!("{name}: {expected:?}, {found:?}: {shown:.200}"),
            }
        }
    }
}

#[actix_web::test]
async fn the_standard_webhooks_libraries_verify_every_request() {
    let Some(peers) = peers() else { return };
    let of_text = base64::engine::general_purpose::STANDARD.encode(KEY);
    let of_text = format!("whsec_{of_text}");
    let whsec = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    for (ours, theirs) in [(KEY, of_text.as_str()), (whsec, whsec)] {
        let apps = [
            ("Python", python(&peers, "standard_webhooks.py")),
            ("JavaScript", node(&peers, "standard_webhooks.js")),
        ];
        for (name, mut command) in apps {
            let (program, address) = start(command.arg(theirs));
            let url = format!("http://{address}/any/path");
            assert_refuses(&url, "whsec_YW5vdGhlciBzZWNyZXQ=", "401 Unauthorized").await;
            let delivered = relay(&url, ours, &everything()).await;
            assert_accepted(name, &delivered);
            for Delivered { id, body, .. } in &delivered {
                let hash = Sha256::digest(body);
                let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(program.line(), format!("{id} {hash}"), "{name}");
            }
        }
    }
}

#[actix_web::test]
async fn debians_webhook_verifies_and_runs_its_command() {
    let Some(peers) = peers() else { return };
    let folder = Folder::new("subscribers-webhook");
    let appended = folder.0.join("appended");
    let hooks = folder.0.join("hooks.json");
    let hook = json!([{
        "id": "offhook",
        "execute-command": app("append.sh"),
        "pass-arguments-to-command": [{"source": "string", "name": appended}],
        "pass-file-to-command": [{"source": "raw-request-body", "envname": "BODY"}],
        // The answer waits for the command.
        "include-command-output-in-response": true,
        "trigger-rule-mismatch-http-response-code": 401,
        "trigger-rule": {"match": {
            "type": "payload-hmac-sha256",
            "secret": KEY,
            "parameter": {"source": "header", "name": "X-Webhook-Signature"},
        }},
    }]);
    std::fs::write(&hooks, hook.to_string()).unwrap();
    let (_program, address) = webhook(&peers.join("bin/webhook"), &hooks);
    let url = format!("http://{address}/hooks/offhook");
    // It says 500 of a wrong signature, and 401 only of none.
    assert_refuses(&url, "another", "500 Internal Server Error").await;
    assert!(!appended.exists(), "the command has run");
    let delivered = relay(&url, KEY, &everything()).await;
    assert_accepted("webhook", &delivered);
    let expected = DOCUMENTED.join("\n") + "\n" + KNOWN;
    let found = std::fs::read(&appended).unwrap();
    assert!(
        found == expected.as_bytes(),
        "{}",
        String::from_utf8_lossy(&found)
    );
}

/// Starts it on a free port. It cannot be given port 0, so the port may be taken in between.
fn webhook(program: &Path, hooks: &Path) -> (Program, SocketAddr) {
    for _ in 0..10 {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(program);
        command.args(["-verbose", "-ip", "127.0.0.1", "-port"]);
        command
            .arg(address.port().to_string())
            .arg("-hooks")
            .arg(hooks);
        let started = Program::start(&mut command);
        if started.try_logged("serving hooks on").is_ok() && TcpStream::connect(address).is_ok() {
            return (started, address);
        }
    }
    panic!("no port was free in ten attempts");
}
