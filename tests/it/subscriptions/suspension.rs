//! One that fails for long is handed nothing more, over restarts too, until somebody resumes it; then
//! it goes on where it was.

use serde_json::Value;

use super::{folder, restarted};
use crate::served::{Served, until};
use crate::subscriber::Subscriber;
use crate::support::{Folder, run};

const NAME: &str = "subscription:a:default";

#[actix_web::test]
async fn a_suspension_survives_a_restart() {
    let folder = folder("subs-resumed", "");
    suspend_soon(&folder);
    let (failing, other) = (Subscriber::start([]).await, Subscriber::start([]).await);
    let mut server = Served::start(&folder);
    server.subscribe("a", &failing.url()).await;
    server.subscribe("*", &other.url()).await;

    let mut sent = 0;
    for by_command in [true, false] {
        failing.answer(500);
        let first = sent;
        send(&server, &mut sent).await;
        is_suspended(&server).await;
        let mut tried = failing.count();
        send(&server, &mut sent).await;
        if by_command {
            server = stopped_and_started(server, &folder).await;
            assert_eq!(state(&server).await, "suspended");
        } else {
            server = restarted(server, &folder);
            // What was not saved yet is found out once more.
            is_suspended(&server).await;
            tried = failing.count();
        }
        send(&server, &mut sent).await;
        // The other one has them all; this one has been asked for none of them.
        until("delivered", async || {
            other.ids().contains(&sent.to_string())
        })
        .await;
        assert_eq!(failing.count(), tried);
        waits(&server, sent - first).await;

        failing.answer(200);
        match by_command {
            true => resume_by_command(&server),
            false => resume_by_api(&server).await,
        }
        server.settled().await;
        let ids: Vec<String> = (first + 1..=sent).map(|id| id.to_string()).collect();
        assert_eq!(
            failing.ids()[tried..],
            ids,
            "one conversation, in its order"
        );
        assert_eq!(state(&server).await, "running");
    }
    let dead = server.expect(200, "GET", "/api/dead", &Value::Null).await;
    assert_eq!(dead["dead"], serde_json::json!([]));
    server.program.stop();
}

/// Lets the settings suspend after a tenth of a second.
fn suspend_soon(folder: &Folder) {
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[relay]", "[relay]\nsuspend_after = \"100ms\"");
    std::fs::write(file, text).unwrap();
}

/// Waits until it is suspended and nothing runs: what runs when it is suspended is finished.
async fn is_suspended(server: &Served) {
    until("suspended", async || state(server).await == "suspended").await;
    until("quiet", async || is_quiet(server).await).await;
}

/// Stops the server in an orderly way and starts it again.
async fn stopped_and_started(server: Served, folder: &Folder) -> Served {
    server.program.signal("TERM");
    // The subscribers answer meanwhile.
    let ending = tokio::task::spawn_blocking(|| server.program.wait());
    assert!(ending.await.unwrap().success());
    Served::start(folder)
}

/// It is suspended because of its answer, and so many events wait.
async fn waits(server: &Served, events: usize) {
    let suspended = server.consumer(NAME).await.unwrap();
    assert_eq!(suspended["lag"], events, "{suspended}");
    assert!(
        suspended["suspended"]["reason"]
            .as_str()
            .unwrap()
            .contains("500 Internal Server Error"),
        "{suspended}"
    );
}

/// Sends three messages more.
async fn send(server: &Served, sent: &mut usize) {
    for _ in 0..3 {
        *sent += 1;
        server.message("a", &sent.to_string()).await;
    }
}

async fn state(server: &Served) -> String {
    let consumer = server.consumer(NAME).await.unwrap();
    consumer["state"].as_str().unwrap().to_owned()
}

async fn is_quiet(server: &Served) -> bool {
    server.consumer(NAME).await.unwrap()["in_flight"] == 0
}

fn resume_by_command(server: &Served) {
    let admin = format!("http://{}", server.admin);
    let listed = run(&["consumers", "--admin", &admin]);
    assert!(
        listed.printed.contains("suspended") && listed.printed.contains("500 Internal"),
        "{listed:?}"
    );
    let resumed = run(&["consumers", "resume", NAME, "--admin", &admin]);
    assert_eq!(resumed.status, 0, "{resumed:?}");
    assert!(
        resumed.printed.contains(NAME) && !resumed.printed.contains("suspended"),
        "{resumed:?}"
    );
}

async fn resume_by_api(server: &Served) {
    let path = format!("/api/consumers/{NAME}/resume");
    let resumed = server.expect(200, "POST", &path, &Value::Null).await;
    assert!(resumed["suspended"].is_null(), "{resumed}");
}
