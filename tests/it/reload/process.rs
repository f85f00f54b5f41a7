//! Signals, the watch, and the command, with the real program.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestEvent;

use super::{NEW, OLD};
use crate::served::{JSONL, Served, handled, until};
use crate::support::{Folder, KEY, Ran, offhook, secret};

/// Settings with one secret, which is in a file.
fn settings(folder: &Folder) {
    std::fs::write(folder.0.join("secret"), OLD).unwrap();
    write(folder, "");
}

fn write(folder: &Folder, more: &str) {
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[journal]\nengine = \"none\"\n\
         [[sources]]\nname = \"hub\"\nsecrets = [\"file:secret\"]\n\
         [[handlers]]\nname = \"lines\"\nuse = \"log\"\n{more}"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
}

async fn status(served: &Served, key: &str) -> u16 {
    let request = TestEvent::message("+1", "hello").sign(&secret(key));
    let answer = served.try_send(&request.path("/webhook")).await;
    answer.map_or(0, |answer| answer.status)
}

fn reload(served: &Served, more: &[&str]) -> Ran {
    let admin = format!("http://{}", served.admin);
    let arguments = [&["reload", "--admin", &admin], more].concat();
    offhook(&arguments).output().unwrap().into()
}

/// The secret's file is rotated; nothing is asked.
#[actix_web::test]
async fn a_rotated_secret_is_taken_by_itself() {
    let folder = Folder::new("reload-watch");
    settings(&folder);
    let served = Served::start(&folder);
    assert_eq!(status(&served, OLD).await, 200);
    std::fs::write(folder.0.join("secret"), format!("{NEW}\n")).unwrap();
    until("taken", async || status(&served, NEW).await == 200).await;
    assert_eq!(status(&served, OLD).await, 401);
    let line = served.program.logged("settings reloaded");
    assert!(line.ends_with("1 source changed (secrets)"), "{line}");
}

#[actix_web::test]
async fn a_signal_reloads_and_never_ends() {
    let folder = Folder::new("reload-signal");
    settings(&folder);
    let served = Served::start(&folder);
    served.program.signal("HUP");
    let line = served.program.logged("nothing to reload");
    assert!(line.contains("says what runs already"), "{line}");
    let path = folder.0.join("settings.toml");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "[server\nno TOML").unwrap();
    served.program.signal("HUP");
    served.program.logged("not TOML");
    served.program.logged("stay in force");
    std::fs::write(&path, whole).unwrap();
    served.program.signal("HUP");
    served
        .program
        .logged("can be taken again, and says what runs");
    assert_eq!(status(&served, OLD).await, 200);
    write(&folder, "timeout = \"7s\"");
    served.program.signal("HUP");
    let line = served.program.logged("settings reloaded");
    assert!(line.ends_with("1 handler changed (timeout)"), "{line}");
    served.program.stop();
}

/// A supervisor may send it as soon as it has started the program. Nothing that takes time comes before it is
/// taken: not even the arguments have been judged, where the message about them finds no room.
#[test]
fn a_hangup_is_taken_first_of_all() {
    let (reader, mut full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(b"x").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let mut command = offhook(&["serve", "--no-such-option"]);
    let command = command.stderr(Stdio::from(OwnedFd::from(full)));
    let mut program = command.spawn().unwrap();
    let end = SystemClock.monotonic() + Duration::from_secs(10);
    while !catches_hangup(program.id()) {
        assert!(SystemClock.monotonic() < end, "it does not take SIGHUP");
        std::thread::yield_now();
    }
    drop(reader);
    program.wait().unwrap();
}

/// Whether the process handles SIGHUP, which is signal 1.
fn catches_hangup(id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
    caught & 1 == 1
}

/// Only actix's workers wake, for the date in their answers: the watch on the settings does not, nor anything else.
#[actix_web::test]
async fn an_idle_server_sleeps() {
    let folder = Folder::new("reload-idle");
    crate::served::settings(&folder, JSONL);
    let served = Served::start(&folder);
    until("asleep", async || {
        let before = wakes(served.program.id());
        tokio::time::sleep(Duration::from_secs(2)).await;
        wakes(served.program.id()) == before
    })
    .await;
    served.program.stop();
}

/// How often each thread that is not actix's has waited for something.
fn wakes(id: u32) -> BTreeMap<PathBuf, String> {
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
    let threads = threads.filter_map(|thread| {
        let path = thread.unwrap().path();
        // It may have ended.
        let status = std::fs::read_to_string(path.join("status")).ok()?;
        let mut lines = status.lines();
        let waited = lines.find(|line| line.starts_with("voluntary_ctxt_switches"));
        let is_own = !status.starts_with("Name:\tactix");
        is_own.then(|| (path, waited.unwrap().to_owned()))
    });
    threads.collect()
}

/// The server is killed at any step of a reload that adds, changes and removes handlers and changes the source.
#[actix_web::test]
async fn a_kill_amid_a_reload_loses_nothing() {
    let folder = Folder::new("reload-kill");
    let write = |number: usize| {
        let timeout = number % 7 + 3;
        let other = format!(
            "[[handlers]]\nname = \"other-{}\"\nuse = \"log\"\n",
            number % 3
        );
        let more = format!("{other}{JSONL}timeout = \"{timeout}s\"\n");
        crate::served::settings(&folder, &more);
        if number % 2 == 1 {
            let path = folder.0.join("settings.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            let more = format!("\"{KEY}\", \"{NEW}\"");
            std::fs::write(path, text.replace(&format!("\"{KEY}\""), &more)).unwrap();
        }
    };
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        write(0);
        let served = Served::start(&folder);
        for number in 0..40 {
            let id = format!("{round}-{number}");
            let request = TestEvent::message("+1", "hello").id(&id).sign(&secret(KEY));
            let answer = served.try_send(&request).await;
            assert_eq!(answer.map(|answer| answer.status), Some(200));
            acknowledged.push(id);
            if number % 4 == 0 {
                write(number / 4 + 1);
                served.program.signal("HUP");
            }
        }
        // Some milliseconds into the last reload.
        tokio::time::sleep(std::time::Duration::from_millis(round * 3)).await;
        served.program.kill();
    }
    write(0);
    let served = Served::start(&folder);
    until("all are handled", async || {
        let handled = handled(&folder);
        acknowledged.iter().all(|id| handled.contains(id))
    })
    .await;
    served.program.stop();
}

/// The half that is left of a file must not be taken because it is valid.
#[actix_web::test]
async fn a_half_written_file_is_taken_only_when_asked() {
    let folder = Folder::new("reload-half");
    settings(&folder);
    let served = Served::start(&folder);
    let text = std::fs::read_to_string(folder.0.join("settings.toml")).unwrap();
    let half = text.split("[[handlers]]").next().unwrap();
    std::fs::write(folder.0.join("settings.toml"), half).unwrap();
    let line = served.program.logged("looks like a half-written file");
    assert!(line.contains("settings.toml: no handler"), "{line}");
    let ran = reload(&served, &[]);
    assert_eq!(
        (ran.status, ran.printed.as_str()),
        (0, "reloaded\n  handler \"lines\": removed\n")
    );
}

/// A valid half removed a subscription, with all events that waited for it.
#[actix_web::test]
async fn a_file_that_removes_is_taken_later() {
    let folder = Folder::new("reload-removes");
    let path = folder.0.join("settings.toml");
    let second = "[[handlers]]\nname = \"second\"\nuse = \"log\"\n";
    settings(&folder);
    write(&folder, second);
    let served = Served::start(&folder);
    assert_eq!(status(&served, OLD).await, 200);
    let whole = std::fs::read_to_string(&path).unwrap();
    // Written in place, as when the disk is full.
    let half = whole.strip_suffix(second).unwrap();
    std::fs::write(&path, half).unwrap();
    served
        .program
        .logged("it is only the beginning of what it was");
    // The rest comes late. Written in one step it is meant, but not at once.
    std::fs::write(&path, &whole).unwrap();
    served
        .program
        .logged("can be taken again, and says what runs");
    let renamed = folder.0.join("new.toml");
    std::fs::write(&renamed, half).unwrap();
    std::fs::rename(&renamed, &path).unwrap();
    served
        .program
        .logged("it is loaded if it stays like that for 3s");
    let line = served.program.logged("settings reloaded");
    assert!(line.ends_with("1 handler removed"), "{line}");
    served.program.stop();
}

#[actix_web::test]
async fn the_command_says_what_has_changed() {
    let folder = Folder::new("reload-command");
    settings(&folder);
    let served = Served::start(&folder);
    let ran = reload(&served, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(ran.printed.contains("nothing to reload"), "{ran:?}");
    write(&folder, "evnts = []\nretry = 5");
    let ran = reload(&served, &[]);
    assert_eq!((ran.status, ran.printed.as_str()), (1, ""), "{ran:?}");
    assert!(ran.said.contains("did you mean events"), "{ran:?}");
    assert!(ran.said.contains("handlers[0].retry"), "{ran:?}");
    let ran = reload(&served, &["--json", "--dry-run"]);
    assert_eq!(
        (ran.status, ran.json()["code"].as_str()),
        (1, Some("invalid_settings"))
    );
    write(&folder, "timeout = \"7s\"");
    let ran = reload(&served, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
}

/// What cannot be read is told, and holds up neither a later reload nor the stop.
#[actix_web::test]
async fn a_pipe_for_a_secret_holds_up_nothing() {
    let folder = Folder::new("reload-pipe");
    settings(&folder);
    let served = Served::start(&folder);
    let secret = folder.0.join("secret");
    std::fs::remove_file(&secret).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&secret).status();
    assert!(made.unwrap().success());
    let ran = reload(&served, &[]);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.said
            .contains("secret cannot be read: it is not a regular file"),
        "{ran:?}"
    );
    assert_eq!(status(&served, OLD).await, 200);
    std::fs::remove_file(&secret).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &secret).unwrap();
    assert_eq!(reload(&served, &[]).status, 1);
    served.program.stop();
}

/// A variable that is no text ended the task that reloads.
#[actix_web::test]
async fn a_variable_that_is_no_text_stops_no_reload() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new("reload-variable");
    settings(&folder);
    let mut command = crate::served::command(&folder);
    command.env("OTHER", std::ffi::OsStr::from_bytes(b"a\xffb"));
    let served = Served::try_start(&mut command).unwrap();
    std::fs::write(folder.0.join("secret"), NEW).unwrap();
    until("taken", async || status(&served, NEW).await == 200).await;
    let ran = reload(&served, &[]);
    assert_eq!(ran.status, 0, "{ran:?}");
    served.program.stop();
}

/// `systemctl reload` runs the command right after the token was changed, which the server does not have yet.
#[actix_web::test]
async fn the_command_waits_for_a_new_token() {
    let folder = Folder::new("reload-token");
    settings(&folder);
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = port.local_addr().unwrap();
    drop(port);
    let write = |token: &str| {
        let admin = format!("[admin]\nbind = \"{admin}\"\ntoken = \"{token}\"");
        let with_token = text.replace("[admin]\nbind = \"127.0.0.1:0\"", &admin);
        std::fs::write(&path, with_token).unwrap();
    };
    write("the-first-token");
    let served = Served::start(&folder);
    write("another-token");
    let file = path.to_str().unwrap();
    let ran: Ran = offhook(&["reload", "--settings", file])
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.status, 0, "{ran:?}");
    write("a-third-token");
    let arguments = ["consumers", "--settings", file];
    let ran: Ran = offhook(&arguments).output().unwrap().into();
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.said.contains("may still have the one from before"),
        "{ran:?}"
    );
    served.program.stop();
}
