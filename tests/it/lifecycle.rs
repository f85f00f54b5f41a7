//! Order, hang-ups and the graceful stop.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::testing::{TestEvent, TestRequest};
use offhook::{
    Delivery, EventHandler, HandlerError, HandlerOptions, MessageEvent, Order, async_trait,
};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::served::{JSONL, Served, handled, settings};
use crate::support::{
    Folder, KEY, Program, Raw, address_in, bounded, recording, secret, signed, until_metric,
};

/// Waits for a permit before it is done, and counts.
#[derive(Default)]
struct Gate {
    open: Option<Semaphore>,
    entered: AtomicUsize,
    done: AtomicUsize,
    changed: Notify,
}

impl Gate {
    fn closed() -> Arc<Self> {
        Arc::new(Self {
            open: Some(Semaphore::new(0)),
            ..Self::default()
        })
    }

    fn let_through(&self, count: usize) {
        self.open.as_ref().unwrap().add_permits(count);
    }

    async fn wait_for(&self, count: &AtomicUsize, value: usize) {
        bounded(async {
            loop {
                let changed = self.changed.notified();
                if count.load(Ordering::SeqCst) >= value {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }
}

#[async_trait]
impl EventHandler for Gate {
    async fn message(&self, _: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.open.as_ref().unwrap().acquire().await?.forget();
        self.done.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        Ok(())
    }
}

fn message(from: &str, session: &str) -> Vec<u8> {
    TestEvent::message(from, "Hello!")
        .session(session)
        .sign(&secret(KEY))
        .bytes()
}

#[actix_web::test]
async fn one_conversation_waits_and_the_others_do_not() {
    let gate = Gate::closed();
    let (server, _) = recording(|offhook| offhook.handler("gate", Arc::clone(&gate))).await;
    let to = server.public_address();
    let mut open = Vec::new();
    for (count, from) in ["a", "a", "a", "b", "c"].into_iter().enumerate() {
        let mut raw = Raw::connect(to).await;
        raw.send(message(from, "s")).await;
        if count == 0 {
            gate.wait_for(&gate.entered, 1).await;
        }
        open.push(raw);
    }
    // One of conversation a, and b and c.
    gate.wait_for(&gate.entered, 3).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(gate.entered.load(Ordering::SeqCst), 3);
    gate.let_through(5);
    for raw in &mut open {
        assert_eq!(raw.answer().await.status, 200);
    }
    server.stop().await;
}

#[actix_web::test]
async fn concurrency_bounds_what_runs_at_once() {
    let gate = Gate::closed();
    let options = HandlerOptions::default().order(Order::None).concurrency(2);
    let (server, _) =
        recording(|offhook| offhook.handler_with("gate", Arc::clone(&gate), options)).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut raw = Raw::connect(server.public_address()).await;
        raw.send(message("a", "s")).await;
        open.push(raw);
    }
    for done in 0..4 {
        gate.wait_for(&gate.entered, done + 2).await;
        sleep(Duration::from_millis(20)).await;
        assert_eq!(gate.entered.load(Ordering::SeqCst), done + 2);
        gate.let_through(1);
    }
    gate.let_through(1);
    for raw in &mut open {
        assert_eq!(raw.answer().await.status, 200);
    }
    server.stop().await;
}

#[actix_web::test]
async fn timeouts_and_panics_are_failures_and_nothing_worse() {
    struct Odd;
    #[async_trait]
    impl EventHandler for Odd {
        async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
            match event.message() {
                "hang" => std::future::pending().await,
                "panic" => panic!("as told"),
                "reject" => Err(HandlerError::reject("never")),
                _ => Ok(()),
            }
        }
    }
    let options = HandlerOptions::default().timeout(Duration::from_millis(100));
    let (server, recorder) = recording(|offhook| offhook.handler_with("odd", Odd, options)).await;
    for (text, status) in [
        ("hang", 500),
        ("panic", 500),
        ("reject", 500),
        ("fine", 200),
    ] {
        let request = TestEvent::message("+1", text).sign(&secret(KEY));
        let answer = request.send(server.public_address()).await;
        assert_eq!(answer.status, status, "{text}");
    }
    // The other handler had all of them.
    assert_eq!(recorder.events().len(), 4);
    server.stop().await;
}

#[actix_web::test]
async fn an_event_is_finished_without_its_sender() {
    let gate = Gate::closed();
    let handler = Arc::clone(&gate);
    let (server, _) = recording(|offhook| {
        let offhook = offhook.admin_bind(([127, 0, 0, 1], 0));
        offhook.handler("gate", handler)
    })
    .await;
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send(message("a", "s")).await;
    gate.wait_for(&gate.entered, 1).await;
    raw.reset();
    // The server has noticed, and the handler still runs.
    until_metric(&server, "offhook_connections 0").await;
    assert_eq!(gate.done.load(Ordering::SeqCst), 0);
    gate.let_through(1);
    gate.wait_for(&gate.done, 1).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_stop_finishes_what_runs() {
    let gate = Gate::closed();
    let (server, _) = recording(|offhook| offhook.handler("gate", Arc::clone(&gate))).await;
    let to = server.public_address();
    let mut idle = Raw::connect(to).await;
    idle.send(signed("{}").bytes()).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut busy = Raw::connect(to).await;
    busy.send(message("a", "s")).await;
    gate.wait_for(&gate.entered, 1).await;
    let mut gone = Raw::connect(to).await;
    gone.send(message("b", "s")).await;
    gate.wait_for(&gate.entered, 2).await;
    gone.reset();

    let stopping = actix_rt::spawn(server.stop());
    sleep(Duration::from_millis(200)).await;
    assert!(!stopping.is_finished());
    gate.let_through(2);
    let answer = busy.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    busy.expect_end().await;
    idle.expect_end().await;
    bounded(stopping).await.unwrap();
    assert_eq!(gate.done.load(Ordering::SeqCst), 2);
}

/// A served folder whose stop is announced for so long before it begins.
fn draining(name: &str, delay: &str) -> (Folder, Served) {
    let folder = Folder::new(name);
    settings(&folder, JSONL);
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let more = format!("[server]\nhealth_path = \"/healthz\"\ndrain_delay = \"{delay}\"\n");
    std::fs::write(&file, text.replace("[server]\n", &more)).unwrap();
    let served = Served::start(&folder);
    (folder, served)
}

#[actix_web::test]
async fn a_stop_is_announced_while_requests_are_taken() {
    let (folder, served) = draining("drain-announced", "5s");
    let (to, message) = (served.public, |id: &str| {
        let body = format!(r#"{{"event":"message","messageId":"{id}","from":"+1"}}"#);
        signed(body)
    });
    let mut open = Raw::connect(to).await;
    open.send(message("before").bytes()).await;
    assert_eq!(open.answer().await.status, 200);
    served.program.signal("TERM");
    served.program.logged("SIGTERM: /ready answers 503");
    assert!(!served.is_ready().await);
    let health = TestRequest::get("/healthz").send(to).await;
    assert_eq!(health.status, 503);
    for id in ["1", "2"] {
        // On a connection that was open, which stays open, and on a new one.
        open.send(message(&format!("open-{id}")).bytes()).await;
        let answer = open.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (200, None));
        assert_eq!(message(&format!("new-{id}")).send(to).await.status, 200);
    }
    served.program.logged("SIGTERM: stopping");
    assert!(served.program.wait().success());
    open.expect_end().await;
    let mut handled = handled(&folder);
    handled.sort();
    assert_eq!(handled, ["before", "new-1", "new-2", "open-1", "open-2"]);
}

#[actix_web::test]
async fn an_announced_stop_begins_by_itself() {
    let (_folder, served) = draining("drain-passed", "300ms");
    served.program.signal("INT");
    served.program.logged("SIGINT: /ready answers 503");
    served.program.logged("SIGINT: stopping");
    assert!(served.program.wait().success());
}

#[actix_web::test]
async fn a_second_signal_ends_an_announced_stop() {
    let (_folder, served) = draining("drain-ended", "1h");
    served.program.signal("INT");
    served.program.logged("SIGINT: /ready answers 503");
    served.program.signal("INT");
    assert_eq!(served.program.wait().code(), Some(130));
}

#[actix_web::test]
async fn a_stop_cuts_off_what_never_ends() {
    let folder = Folder::new("endless");
    let settings = folder.0.join("settings.toml");
    let text = "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
                [journal]\nengine = \"none\"\n\
                [[sources]]\nname = \"codeskytz\"\nsecrets = [\"your-secret-key\"]\n\
                [[handlers]]\nname = \"endless\"\nuse = \"exec\"\ntimeout = \"1h\"\n\
                command = [\"sleep\", \"1000\"]\n";
    std::fs::write(&settings, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let program = Program::start(command.arg("--settings").arg(&settings));
    let to = address_in(&program.logged("webhooks"));
    let mut waits = Raw::connect(to).await;
    waits.send(message("a", "s")).await;
    let mut gone = Raw::connect(to).await;
    gone.send(message("b", "s")).await;
    // Both are with the handler when a third one is refused by its signature.
    let mut third = Raw::connect(to).await;
    third
        .send("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert_eq!(third.answer().await.status, 401);
    gone.reset();
    program.signal("INT");
    program.logged("Press Ctrl-C again");
    program.signal("INT");
    program.logged("with work unfinished");
    assert_eq!(program.wait().code(), Some(130));
}

/// Nothing reads standard error any more, so what writes to it never returns.
#[actix_web::test]
async fn a_second_ctrl_c_ends_what_hangs() {
    let folder = Folder::new("hung-stop");
    crate::served::settings(&folder, "");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut command = crate::served::command(&folder);
    let mut child = command.stderr(writer.try_clone().unwrap()).spawn().unwrap();
    let mut said = BufReader::new(reader).lines();
    assert!(said.any(|line| line.unwrap().contains("/ready")));
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    for length in [4096, 1] {
        while writer.write(&vec![b'\n'; length]).is_ok() {}
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    let ended = timeout(Duration::from_secs(60), async {
        while child.try_wait().unwrap().is_none() {
            let (mut kill, id) = (Command::new("kill"), child.id().to_string());
            kill.args(["-s", "INT", &id]).status().unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    });
    let ended = ended.await;
    let _ = child.kill();
    assert_eq!((ended, child.wait().unwrap().code()), (Ok(()), Some(130)));
}

/// In `serve`, and where a program runs the library. logrotate and terminals that are closed send it.
#[actix_web::test]
async fn a_hangup_never_ends_the_server() {
    let folder = Folder::new("hangup");
    crate::served::settings(&folder, "");
    let serve = crate::served::command(&folder);
    let mut library = crate::support::example("server");
    for listener in ["SERVER", "ADMIN"] {
        library.env(format!("OFFHOOK__{listener}__BIND"), "127.0.0.1:0");
    }
    for mut command in [serve, library] {
        let program = Program::start(&mut command);
        let to = address_in(&program.logged("/webhook"));
        for _ in 0..2 {
            program.signal("HUP");
            program.logged("SIGHUP: ");
        }
        assert_eq!(signed("{}").send(to).await.status, 200);
        program.stop();
    }
}

/// A signal that comes before the server listens.
#[test]
fn a_hangup_during_the_start_ends_nothing() {
    let folder = Folder::new("hangup-early");
    crate::served::settings(&folder, "");
    // The settings are read from a pipe, so the start waits for the test.
    let pipe = folder.0.join("pipe.toml");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut command = crate::support::offhook(&["--settings", "pipe.toml"]);
    let program = Program::start(command.current_dir(&folder.0));
    // Opening the pipe waits for its reader.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    program.signal("HUP");
    let settings = std::fs::read(folder.0.join("settings.toml")).unwrap();
    writer.write_all(&settings).unwrap();
    drop(writer);
    program.logged("/webhook");
    program.stop();
}
