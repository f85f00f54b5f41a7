//! Order, hang-ups and the graceful stop.

use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestEvent, TestRequest};
use offhook::{
    Delivery, EventHandler, HandlerError, HandlerOptions, MessageEvent, Order, async_trait,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::fault::slow::SlowDisk;
use crate::served::{JSONL, Served, handled, settings, until};
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

/// Whether a process runs. One that has ended may wait for its parent.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// With both engines, and in both parts of a stop.
#[actix_web::test]
async fn a_second_signal_kills_the_programs_of_exec() {
    let handler = "[[handlers]]\nname = \"endless\"\nuse = \"exec\"\ntimeout = \"1h\"\n\
                   command = [\"sh\", \"-c\", \"echo $$ >> pids; exec sleep 1000\"]\n";
    for (engine, delay) in [
        ("sqlite\"\npath = \"journal", "0s"),
        ("sqlite\"\npath = \"journal", "1h"),
        ("none", "0s"),
        ("none", "1h"),
    ] {
        let folder = Folder::new("killed-programs");
        settings(&folder, handler);
        let file = folder.0.join("settings.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let text = text.replace("path = \"journal", &format!("engine = \"{engine}"));
        let delayed = format!("[server]\ndrain_delay = \"{delay}\"\n");
        std::fs::write(&file, text.replace("[server]\n", &delayed)).unwrap();
        let served = Served::start(&folder);
        let mut waits = Raw::connect(served.public).await;
        waits.send(message("a", "s")).await;
        let mut gone = Raw::connect(served.public).await;
        gone.send(message("b", "s")).await;
        let pids = || std::fs::read_to_string(folder.0.join("pids")).unwrap_or_default();
        until("both run", async || pids().matches('\n').count() == 2).await;
        gone.reset();
        served.program.signal("INT");
        served.program.logged(match delay {
            "0s" => "Press Ctrl-C again",
            _ => "/ready answers 503",
        });
        served.program.signal("INT");
        served.program.logged("with work unfinished");
        assert_eq!(served.program.wait().code(), Some(130));
        until("they are killed", async || !pids().lines().any(runs)).await;
    }
}

/// In a program of one's own, which no other thread ends. The body of a request does not come.
#[actix_web::test]
async fn a_second_signal_does_not_wait_for_the_first() {
    let mut library = crate::support::example("server");
    library.env("OFFHOOK__SERVER__REQUEST_TIMEOUT", "1h");
    for listener in ["SERVER", "ADMIN"] {
        library.env(format!("OFFHOOK__{listener}__BIND"), "127.0.0.1:0");
    }
    let program = Program::start(&mut library);
    let mut raw = Raw::connect(address_in(&program.logged("/webhook"))).await;
    let mut request = signed("{}");
    let expect = ("Expect".to_owned(), "100-continue".to_owned());
    request.headers.push(expect);
    let bytes = request.bytes();
    raw.send(&bytes[..bytes.len() - 2]).await;
    assert_eq!(raw.answer().await.status, 100);
    program.signal("INT");
    program.logged("Press Ctrl-C again");
    // The graceful stop has begun.
    sleep(Duration::from_millis(200)).await;
    program.signal("INT");
    let second = SystemClock.monotonic();
    assert_eq!(program.wait().code(), Some(1));
    // Otherwise it is STOP_TIMEOUT.
    assert!(SystemClock.monotonic() - second < Duration::from_secs(10));
}

/// The disk hangs, and with it the journal's thread, for which the end of the program waits.
#[actix_web::test]
async fn a_second_ctrl_c_ends_what_hangs() {
    let (folder, disk) = (Folder::new("hung-stop"), SlowDisk::new("hung-disk"));
    settings(&folder, JSONL);
    let served = Served::try_start(&mut disk.server(&folder)).unwrap();
    disk.set(Duration::from_secs(3600));
    let mut raw = Raw::connect(served.public).await;
    raw.send(signed("{}").bytes()).await;
    served.program.signal("INT");
    served.program.logged("Press Ctrl-C again");
    served.program.signal("INT");
    assert_eq!(served.program.wait().code(), Some(130));
}

/// Whether the process has a handler for SIGINT.
fn catches_interrupt(program: &Program) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigCgt:\t"));
    let mask = u64::from_str_radix(mask.unwrap(), 16).unwrap();
    mask & (1 << (Signal::INT.as_raw() - 1)) != 0
}

/// As soon as it does not kill the process any more, the server has it.
#[test]
fn no_signal_to_stop_is_swallowed() {
    for _ in 0..10 {
        let folder = Folder::new("caught");
        settings(&folder, "");
        let program = Program::start(&mut crate::served::command(&folder));
        while !catches_interrupt(&program) {}
        let pid = Pid::from_raw(program.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        program.logged("SIGINT: stopping");
        assert!(program.wait().success());
    }
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

/// `offhook serve` that reads its settings from a pipe, and so has begun and waits for the test. Dropping the
/// pipe's end makes it go on.
fn starting(folder: &Folder) -> (Program, std::fs::File) {
    settings(folder, "");
    let pipe = folder.0.join("pipe.toml");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let offhook = crate::support::offhook(&["--settings", "pipe.toml"]);
    // Whoever starts the tests may ignore SIGINT, as a shell has it for a command in the background.
    let mut command = Command::new("env");
    command
        .arg("--default-signal=INT")
        .arg(offhook.get_program());
    command.args(offhook.get_args());
    for (name, _) in offhook.get_envs() {
        command.env_remove(name);
    }
    let program = Program::start(command.current_dir(&folder.0));
    // Opening the pipe waits for its reader.
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe);
    (program, writer.unwrap())
}

#[test]
fn a_hangup_during_the_start_ends_nothing() {
    let folder = Folder::new("hangup-early");
    let (program, mut writer) = starting(&folder);
    program.signal("HUP");
    let settings = std::fs::read(folder.0.join("settings.toml")).unwrap();
    writer.write_all(&settings).unwrap();
    drop(writer);
    program.logged("/webhook");
    program.stop();
}

#[test]
fn a_signal_during_the_start_ends_it() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = Folder::new("stop-early");
        let (program, _writer) = starting(&folder);
        let pid = Pid::from_raw(program.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(program.wait().signal(), Some(signal.as_raw()));
    }
}
