//! What the program says of itself: enough to find an event by, and never a secret or a body.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offhook::testing::{TestEvent, TestRequest};

use crate::served::{JSONL, Served, command, handled, settings, until};
use crate::support::{Folder, KEY, Program, address_in, ask, bounded, secret};

const SETTINGS: &str = r#"
[server]
bind = "127.0.0.1:0"
max_body = "1 KiB"
[admin]
bind = "127.0.0.1:0"
token = "hidden-admin-token"
[journal]
engine = "none"
[[sources]]
name = "gateway"
secrets = ["hidden-secret"]
[[sources]]
name = "unsigned"
path = "/plain"
unsigned = true
path_token = "hidden-path-token"
[[handlers]]
name = "failing"
use = "exec"
command = ["false"]
env = { TOKEN = "hidden-variable" }
"#;

#[actix_web::test]
async fn no_secret_and_no_body_is_logged() {
    let folder = Folder::new("logs");
    let settings = folder.0.join("settings.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let program = Program::start(
        Command::new(env!("CARGO_BIN_EXE_offhook"))
            .arg("--settings")
            .arg(&settings),
    );
    let to = address_in(&program.logged("webhooks"));

    // Every way a request can end that is logged.
    let event = TestEvent::message("+hidden-number", "hidden text").session("s");
    let handled = event.sign(&secret("hidden-secret"));
    let signature = handled.headers[1].1.clone();
    assert_eq!(handled.send(to).await.status, 500);
    let plain = TestRequest::post(event.body()).path("/plain/hidden-path-token");
    assert_eq!(plain.send(to).await.status, 500);
    assert_eq!(
        plain
            .path("/plain/hidden-wrong-token-")
            .send(to)
            .await
            .status,
        401
    );
    assert_eq!(
        event.sign(&secret("hidden-other")).send(to).await.status,
        401
    );
    let long = TestRequest::signed(vec![b'x'; 2000], &secret("hidden-secret"));
    assert_eq!(long.send(to).await.status, 413);

    program.signal("TERM");
    let logged = program.all_logged();
    assert!(!logged.contains("hidden"), "{logged}");
    assert!(!logged.contains(&signature), "{logged}");
    // The first failure names its event and its handler.
    let failures: Vec<_> = logged
        .lines()
        .filter(|line| line.contains("handler:failing"))
        .collect();
    assert_eq!(failures.len(), 1, "{logged}");
    let words = ["event 0", "false: exit status 1"];
    assert!(words.iter().all(|words| failures[0].contains(words)));
    assert!(logged.contains(" to gateway from 127.0.0.1:"), "{logged}");
    assert!(
        logged.contains("SIGTERM") && logged.contains("stopped"),
        "{logged}"
    );
}

const REFUSING: &str = r#"
[[sources]]
name = "divided"
path = "/divided"
secrets = ["a shared secret"]
sessions.own.secrets = ["another secret"]
[[sources]]
name = "plain"
path = "/plain"
unsigned = true
path_token = "hidden-path-token"
[[sources]]
name = "timed"
path = "/timed"
scheme = "hmac"
header = "X-Sig"
template = "{timestamp:X-Time}{body}"
secrets = ["a third secret"]
"#;

/// All senders get the same answer; the log tells the operator what to change.
#[actix_web::test]
async fn a_refusal_is_explained() {
    let folder = Folder::new("logs-refused");
    settings(&folder, REFUSING);
    let served = Served::start(&folder);
    let own = TestEvent::message("+1", "Hello!").session("own");
    let own = own.sign(&secret("a shared secret")).path("/divided");
    let own = own.send(served.public).await;
    let signature = "0".repeat(64);
    let untimed = TestRequest::post("{}")
        .path("/timed")
        .header("X-Sig", &signature);
    let untimed = untimed.send(served.public).await;
    assert_eq!((own.status, untimed.status), (401, 401));
    assert_eq!(own.body, untimed.body);
    let plain = TestRequest::post("{}")
        .path("/plain")
        .send(served.public)
        .await;
    assert_eq!(plain.status, 404);
    served.program.signal("TERM");
    let logged = served.program.all_logged();
    for words in [
        "its session, which has secrets of its own",
        "a header of the signature is missing (x-time)",
        "the source plain needs its token in the path: /plain/{token}; 127.0.0.1:",
    ] {
        assert!(logged.contains(words), "{words}: {logged}");
    }
    assert!(!logged.contains("hidden"), "{logged}");
}

const FAILING: &str = r#"
[[handlers]]
name = "failing"
use = "exec"
command = ["false"]
retry = { first = "1ms", factor = 1.0, attempts = 2 }
"#;

/// A hundred events fail twice each. The line that there is names the event by the id that everything else
/// takes.
#[actix_web::test]
async fn a_failing_handler_makes_one_line_at_first() {
    let folder = Folder::new("logs-failing");
    settings(&folder, FAILING);
    let served = Served::start(&folder);
    for number in 0..100 {
        let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
        assert_eq!(
            event.sign(&secret(KEY)).send(served.public).await.status,
            200
        );
    }
    until("all are dead letters", async || {
        let metrics = TestRequest::get("/metrics").send(served.admin).await.text();
        metrics.contains("offhook_dead_letters_total{consumer=\"handler:failing\"} 100")
    })
    .await;
    let first = served.program.logged("handler:failing");
    let words = ": handler:failing: false: exit status 1; attempt 1, the next in ";
    assert!(
        first.contains(" WARN  event ") && first.contains(words),
        "{first}"
    );
    let id = first.split(' ').nth(4).unwrap().trim_end_matches(':');
    let (status, event) = ask(served.admin, "GET", &format!("/api/events/{id}"), "").await;
    assert_eq!((status, event["id"].as_str()), (200, Some(id)), "{event}");
    served.program.signal("TERM");
    // At the stop the log has what it had not told.
    let rest = served.program.all_logged();
    let told: Vec<_> = rest
        .lines()
        .filter(|line| line.contains("failing"))
        .collect();
    let words =
        "handler:failing: 199 attempts failed, of 100 events, 100 of which became dead letters";
    assert!(told.len() == 1 && told[0].contains(words), "{rest}");
}

/// A server whose standard error is a pipe.
struct Piped {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    pipe: BufReader<PipeReader>,
    /// The pipe's other end.
    writer: PipeWriter,
}

impl Piped {
    fn start(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let stderr = writer.try_clone().unwrap();
        let child = command.stderr(stderr).spawn().unwrap();
        // The command holds a copy, without which the end of the server would not be seen.
        command.stderr(Stdio::null());
        let mut pipe = BufReader::new(reader);
        let mut address_after = |words: &str| {
            let mut line = String::new();
            while !line.contains(words) {
                line.clear();
                let length = pipe.read_line(&mut line).unwrap();
                assert!(length > 0, "no line with {words}");
            }
            address_in(&line)
        };
        let (public, admin) = (address_after("/webhook"), address_after("/ready"));
        Self {
            child,
            public,
            admin,
            pipe,
            writer,
        }
    }

    /// Sends SIGTERM and waits for the end.
    async fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill").args(["-s", "TERM", &pid]).status();
        assert!(killed.unwrap().success());
        let ended = bounded(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pipe is full and not read, while a handler fails, senders are refused, and everything is logged.
#[actix_web::test]
async fn a_full_standard_error_holds_up_nothing() {
    let folder = Folder::new("logs-full");
    settings(&folder, &format!("{FAILING}{JSONL}"));
    let mut server = Piped::start(command(&folder).env("RUST_LOG", "debug"));
    // It ends when the pipe is closed.
    let mut filling = server.writer.try_clone().unwrap();
    std::thread::spawn(move || while filling.write_all(&[b'x'; 4096]).is_ok() {});
    bounded(async {
        for number in 0..100 {
            let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
            let wrong = event.sign(&secret("another-secret"));
            assert_eq!(wrong.send(server.public).await.status, 401);
            let right = event.sign(&secret(KEY));
            assert_eq!(right.send(server.public).await.status, 200);
        }
        until("the other handler has all", async || {
            handled(&folder).len() == 100
        })
        .await;
        for path in ["/health", "/metrics", "/api/events?limit=1"] {
            assert_eq!(ask(server.admin, "GET", path, "").await.0, 200, "{path}");
        }
    })
    .await;
    server.stop().await;
}

/// The reader of standard error ends, as a log collector may.
#[actix_web::test]
async fn lines_without_a_reader_are_counted() {
    let folder = Folder::new("logs-closed");
    settings(&folder, JSONL);
    let mut server = Piped::start(&mut command(&folder));
    let (reader, _) = std::io::pipe().unwrap();
    server.pipe = BufReader::new(reader);
    let wrong = TestRequest::signed("{}", &secret("another-secret"));
    assert_eq!(wrong.send(server.public).await.status, 401);
    until("a line is counted", async || {
        let metrics = TestRequest::get("/metrics").send(server.admin).await;
        let metrics = metrics.text();
        let name = "offhook_log_lines_dropped_total ";
        let count = metrics.lines().find_map(|line| line.strip_prefix(name));
        count.unwrap() != "0"
    })
    .await;
    server.stop().await;
}
