//! The handlers that write lines: the file that has the name, and a standard output that nobody reads.

use std::fs::OpenOptions;
use std::process::Command;

use offhook::testing::{TestEvent, TestRequest};

use crate::served::{JSONL, Served, handled, settings, until, within};
use crate::support::{Folder, KEY, ask, bounded, secret};

fn message(id: &str, from: &str, text: &str) -> TestRequest {
    TestEvent::message(from, text).id(id).sign(&secret(KEY))
}

/// As logrotate does, and as an administrator may.
#[actix_web::test]
async fn lines_go_to_the_file_with_the_name() {
    let folder = Folder::new("jsonl-rotated");
    settings(&folder, JSONL);
    let served = Served::start(&folder);
    let path = folder.0.join("handled.jsonl");
    let send = async |id: &str| {
        let answer = message(id, "+1", "Hello!").send(served.public).await;
        assert_eq!(answer.status, 200);
        until("handled", async || {
            handled(&folder).contains(&id.to_owned())
        })
        .await;
        // Until then the handler may find that the file has lost its name, and write the line again.
        until("settled", async || {
            let (_, shown) = ask(served.admin, "GET", "/api/consumers", "").await;
            shown["consumers"][0]["lag"] == 0
        })
        .await;
    };
    send("1").await;
    std::fs::rename(&path, folder.0.join("handled.jsonl.1")).unwrap();
    send("2").await;
    assert_eq!(handled(&folder), ["2"]);
    std::fs::remove_file(&path).unwrap();
    send("3").await;
    assert_eq!(handled(&folder), ["3"]);
    // Nothing is done while there is a folder in its place, and nothing is lost.
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let answer = message("4", "+1", "Hello!").send(served.public).await;
    assert_eq!(answer.status, 200);
    served.program.logged("this is a folder; a file is needed");
    std::fs::remove_dir(&path).unwrap();
    until("handled", async || handled(&folder) == ["4"]).await;
    served.program.stop();
}

const LOG: &str = r#"
[[handlers]]
name = "console"
use = "log"
timeout = "1s"
"#;

#[actix_web::test]
async fn an_unread_output_holds_up_nothing_else() {
    let folder = Folder::new("unread-output");
    settings(&folder, &format!("{LOG}{JSONL}"));
    let fifo = folder.0.join("output");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    // Open, and never read.
    let _output = OpenOptions::new().read(true).write(true).open(&fifo);
    let mut shell = Command::new("sh");
    let script = "exec \"$0\" \"$@\" > output";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_offhook")]);
    let served = Served::try_start(&mut within(&folder, shell)).unwrap();
    let text = "x".repeat(2000);
    for number in 0..100 {
        let (id, from) = (number.to_string(), format!("+{number}"));
        let answer = message(&id, &from, &text).send(served.public).await;
        assert_eq!(answer.status, 200);
    }
    until("all handled", async || handled(&folder).len() == 100).await;
    let console = async || {
        let consumers = TestRequest::get("/api/consumers").send(served.admin).await;
        consumers.text()
    };
    until("failing", async || {
        console().await.contains(r#""state":"failing""#)
    })
    .await;
    served.program.signal("TERM");
    let ended = tokio::task::spawn_blocking(move || served.program.wait());
    assert!(bounded(ended).await.unwrap().success());
}
