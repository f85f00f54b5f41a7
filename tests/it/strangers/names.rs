//! Row B5: names and ids of megabytes.

use offhook::testing::{TestEvent, TestRequest};
use serde_json::Value;

use super::ALONE;
use crate::attack::sockets::{
    HOME, TOKEN, api, ask, forget_peak, memory, peak_memory, settings, with_token,
};
use crate::served::{Served, until};
use crate::support::{Folder, KEY, Ran, offhook, secret};

const MIB: usize = 1024 * 1024;

/// Runs a program with what `exec` gives it.
const EXEC: &str = r#"
[[handlers]]
name = "script"
use = "exec"
command = ["sh", "-c", "cat > /dev/null; echo \"$OFFHOOK_EVENT\" >> ran.txt"]
retry = { first = "1s", attempts = 1 }
"#;

fn long_ones() -> Vec<TestRequest> {
    let long = |letter: &str| letter.repeat(8 * MIB / letter.len());
    let events = [
        TestEvent::named(&long("N")).session("A"),
        TestEvent::message("+1", "Hello!")
            .session(&long("S"))
            .id("1"),
        TestEvent::message("+1", "Hello!")
            .session(&long("ü"))
            .id("2"),
        TestEvent::message("+1", "Hello!")
            .session("A")
            .id(&long("I")),
        TestEvent::message(&long("F"), "Hello!")
            .session("A")
            .id("3"),
        TestEvent::status(&long("T"), "read").session("A"),
        TestEvent::status("4", &long("U")).session("A"),
        TestEvent::named(&"n".repeat(1025)).session(&"s".repeat(1025)),
    ];
    events
        .iter()
        .map(|event| event.sign(&secret(KEY)))
        .collect()
}

#[actix_web::test]
async fn names_of_megabytes_are_cut() {
    let _alone = ALONE.lock().await;
    let folder = Folder::new("strangers-names");
    settings(&folder, "", "", EXEC);
    let served = Served::start(&folder);
    let before = memory(&served);
    forget_peak(&served);
    let requests = long_ones();
    for request in &requests {
        let answer = ask(HOME, served.public, &request.bytes()).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let list = async || {
        let page = ask(HOME, served.admin, &with_token("/api/events").bytes()).await;
        page.unwrap().body
    };
    let of = |list: &[u8]| {
        let page: Value = serde_json::from_slice(list).unwrap();
        page["events"].as_array().unwrap().clone()
    };
    until("all done", async || {
        let events = of(&list().await);
        let done = events.iter().filter(|event| event["state"] == "done");
        done.count() == requests.len()
    })
    .await;
    let page = list().await;
    println!("{} bytes listed", page.len());
    assert!(page.len() < 100_000, "{} bytes", page.len());
    for path in ["/api/consumers", "/api/dead", "/metrics"] {
        let shown = ask(HOME, served.admin, &with_token(path).bytes()).await;
        let bytes = shown.unwrap().body.len();
        assert!(bytes < 100_000, "{path}: {bytes} bytes");
    }
    let events = of(&page);
    for event in &events {
        for field in ["session", "name"] {
            let length = event[field].as_str().unwrap_or_default().len();
            assert!(length <= 1024, "{field}: {length} bytes");
        }
    }
    // Two long names stay different.
    assert_ne!(events[5]["session"], events[6]["session"]);
    expect_odd(&served, &events).await;
    expect_listed(&served, events.len());
    let more = peak_memory(&served).saturating_sub(before);
    println!("{more} MiB more held");
    assert!(more < 250, "{more} MiB");
    served.program.stop();
}

/// What was cut says so, and the rest of the event is whole.
async fn expect_odd(served: &Served, events: &[Value]) {
    // Newest first.
    let table = [
        (7, "the event's name has 8388608 bytes and was cut to 1024"),
        (6, "the session has 8388608 bytes and was cut to 1024"),
        (5, "the session has 8388608 bytes and was cut to 1024"),
        (0, "the session has 1025 bytes and was cut to 1024"),
        (0, "the event's name has 1025 bytes and was cut to 1024"),
    ];
    for (index, reason) in table {
        let id = events[index]["id"].as_str().unwrap();
        let event = api(served, &format!("/api/events/{id}")).await;
        let odd = event["odd"].as_str().unwrap_or_default();
        assert!(odd.contains(reason), "{odd:?}, not {reason:?}");
        let bytes = event["body"].to_string().len();
        assert!(bytes > 8 * MIB || index == 0, "a body of {bytes} bytes");
    }
}

/// The command lists and shows them.
fn expect_listed(served: &Served, count: usize) {
    let admin = format!("http://{}", served.admin);
    let ask = |arguments: &[&str]| {
        let with = [arguments, &["--admin", &admin, "--token", TOKEN]].concat();
        let ran: Ran = offhook(&with).output().unwrap().into();
        assert_eq!(ran.status, 0, "{}", ran.said);
        ran.printed
    };
    let listed = ask(&["events"]);
    // One line each, and why those are odd that are.
    let of_events = listed.lines().filter(|line| !line.starts_with("  odd: "));
    assert_eq!(of_events.count(), count + 1, "{listed}");
    assert!(listed.len() < 100_000, "{} bytes", listed.len());
    let id = listed
        .lines()
        .nth(1)
        .and_then(|line| line.split(' ').next());
    let shown = ask(&["events", id.unwrap()]);
    assert!(shown.contains("was cut to 1024"), "{shown:.2000}");
}
