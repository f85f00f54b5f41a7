//! What the program says of itself: enough to find an event by, and never a secret or a body.

use std::process::Command;

use offhook::testing::{TestEvent, TestRequest};

use crate::support::{Folder, Program, address_in, secret};

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
    // Each failure names its event and its handler.
    let failures: Vec<_> = logged
        .lines()
        .filter(|line| line.contains("handler:failing"))
        .collect();
    assert_eq!(failures.len(), 2, "{logged}");
    for line in failures {
        assert!(
            line.contains("event 0") && line.contains("false: exit status 1"),
            "{line}"
        );
    }
    assert!(logged.contains(" to gateway from 127.0.0.1:"), "{logged}");
    assert!(
        logged.contains("SIGTERM") && logged.contains("stopped"),
        "{logged}"
    );
}
