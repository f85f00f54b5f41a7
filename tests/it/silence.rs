//! Sources that fall silent: what handlers, `/health` and `/metrics` are told, and what no sender can
//! tell them.

use std::sync::Arc;
use std::time::Duration;

use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{FakeClock, Recorder, TestRequest};
use offhook::{
    Event, EventKind, HandlerOptions, JsonlHandler, Offhook, Server, SourceChange, Timestamp,
    testing,
};
use serde_json::{Value, json};

use crate::records::post;
use crate::served::{Served, command, settings, until};
use crate::support::{DOCUMENTED, Folder, PRINTED, Raw, signed, source};

const MINUTE: Duration = Duration::from_secs(60);

/// A server and two handlers: one that names the events of sources, one that names none.
struct Watching {
    server: Server,
    clock: Arc<FakeClock>,
    asks: Recorder,
    other: Recorder,
}

impl Watching {
    async fn start(clock: &Arc<FakeClock>, journal: JournalSettings, folder: &Folder) -> Self {
        let (asks, other) = (Recorder::default(), Recorder::default());
        let file = JsonlHandler::append(folder.0.join("said.jsonl")).unwrap();
        let named = || {
            let kinds = [EventKind::SourceQuiet, EventKind::SourceResumed];
            HandlerOptions::default().events(kinds)
        };
        let source = source().quiet_after(MINUTE);
        let offhook = Offhook::builder()
            .source(source.session_quiet_after("never", 1000 * MINUTE))
            .journal(journal)
            .clock(Arc::clone(clock) as _)
            .handler_with("asks", asks.clone(), named())
            .handler_with("file", file, named())
            .handler("other", other.clone());
        Self {
            server: testing::start(offhook).await,
            clock: Arc::clone(clock),
            asks,
            other,
        }
    }

    async fn send(&self, body: &str) {
        let answer = signed(body).send(self.server.public_address()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    async fn get(&self, path: &str) -> String {
        let to = self.server.admin_address().unwrap();
        TestRequest::get(path).send(to).await.text()
    }

    /// What `/health` says of the source.
    async fn health(&self) -> Value {
        let health: Value = serde_json::from_str(&self.get("/health").await).unwrap();
        let sources = health["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 2, "{health}");
        assert_eq!(sources[1]["session"], "never");
        sources[0].clone()
    }

    async fn has_metric(&self, line: &str) {
        let text = self.get("/metrics").await;
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }

    /// The changes that the handler which asks was told of.
    fn told(&self) -> Vec<SourceChange> {
        let events = self.asks.events().into_iter();
        let changes = events.map(|event| match event {
            Event::Source(event) => event.change,
            other => panic!("{other:?}"),
        });
        changes.collect()
    }

    /// Lets time pass until it was told of so many.
    async fn quiet_until_told(&self, count: usize) {
        until("told of the silence", async || {
            self.clock.advance(MINUTE);
            self.told().len() >= count
        })
        .await;
    }
}

fn sqlite(folder: &Folder) -> JournalSettings {
    JournalSettings::Sqlite(SqliteSettings::new(folder.0.join("journal")))
}

fn clock() -> Arc<FakeClock> {
    let start: Timestamp = "2026-01-08T12:00:00Z".parse().unwrap();
    Arc::new(FakeClock::new(start))
}

async fn from_silence_to_silence(journal: JournalSettings, folder: &Folder) -> Watching {
    use SourceChange::{Quiet, Resumed};
    let watching = Watching::start(&clock(), journal, folder).await;
    let quiet = r#"offhook_source_quiet{source="codeskytz"}"#;
    let of_session = r#"offhook_source_quiet{source="codeskytz",session="never"} 0"#;
    watching.has_metric(&format!("{quiet} 0")).await;
    watching.quiet_until_told(1).await;
    watching.has_metric(&format!("{quiet} 1")).await;
    watching.has_metric(of_session).await;
    let health = watching.health().await;
    assert_eq!(health["name"], "codeskytz");
    assert_eq!(health["last_event_at"], Value::Null);
    assert!(health["quiet_since"].is_string(), "{health}");
    let said = &watching.asks.deliveries()[0];
    assert_eq!((said.source(), said.session()), ("codeskytz", None));
    let body: Value = serde_json::from_slice(said.body()).unwrap();
    assert_eq!(
        (&body["event"], &body["quietAfter"]),
        (&"source.quiet".into(), &60.0.into())
    );

    // What it sends ends the silence, and is no word of ours, whatever it says.
    let forged = String::from_utf8(said.body().to_vec()).unwrap();
    watching.send(&forged).await;
    until("told of its end", async || watching.told().len() >= 2).await;
    watching.has_metric(&format!("{quiet} 0")).await;
    let health = watching.health().await;
    assert!(health["last_event_at"].is_string(), "{health}");
    assert_eq!(health["quiet_since"], Value::Null);
    until("handed over", async || !watching.other.events().is_empty()).await;
    let [Event::Unknown(sent)] = &watching.other.events()[..] else {
        panic!("{:?}", watching.other.events())
    };
    assert_eq!(sent.name.as_deref(), Some("source.quiet"));

    // The same words once more are no duplicate.
    watching.quiet_until_told(3).await;
    assert_eq!(watching.told(), [Quiet, Resumed, Quiet]);
    watching
}

#[actix_web::test]
async fn a_source_falls_silent_and_is_heard_again() {
    let folder = Folder::new("silence-kept");
    let watching = from_silence_to_silence(sqlite(&folder), &folder).await;
    let listed: Value = serde_json::from_str(&watching.get("/api/events").await).unwrap();
    let kinds: Vec<_> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["event"])
        .collect();
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "source.quiet").count(),
        2,
        "{listed}"
    );
    let found = watching.get("/api/events?event=source.resumed").await;
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["events"].as_array().unwrap().len(), 1, "{found}");
    let clock = Arc::clone(&watching.clock);
    let last = watching.health().await;
    // A test is no sign of life, also not after a restart.
    post(&watching.server, "/api/test", json!({})).await;
    watching.server.stop().await;

    // After a restart it is still quiet, which is told to nobody twice.
    let again = Watching::start(&clock, sqlite(&folder), &folder).await;
    let health = again.health().await;
    assert_eq!(health["last_event_at"], last["last_event_at"]);
    assert_eq!(health["quiet_since"], last["quiet_since"]);
    again
        .has_metric(r#"offhook_source_quiet{source="codeskytz"} 1"#)
        .await;
    clock.advance(60 * MINUTE);
    again.send(DOCUMENTED[0]).await;
    until("told of its end", async || !again.told().is_empty()).await;
    assert_eq!(again.told(), [SourceChange::Resumed]);
    until("the file has it", async || said(&folder).len() == 4).await;
    again.server.stop().await;
    let names = [
        "source.quiet",
        "source.resumed",
        "source.quiet",
        "source.resumed",
    ];
    assert_eq!(said(&folder), names);
}

#[actix_web::test]
async fn without_a_journal_too() {
    let folder = Folder::new("silence-none");
    let watching = from_silence_to_silence(JournalSettings::None, &folder).await;
    watching.server.stop().await;
    assert_eq!(
        said(&folder),
        ["source.quiet", "source.resumed", "source.quiet"]
    );
}

/// The events' names in the file of `jsonl`.
fn said(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.0.join("said.jsonl")).unwrap();
    let names = text.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            (&line["event"], &line["body"]["event"]),
            (&line["name"], &line["name"])
        );
        line["name"].as_str().unwrap().to_owned()
    });
    names.collect()
}

#[actix_web::test]
async fn a_header_reserved_for_offhook_is_refused() {
    let folder = Folder::new("silence-forged");
    let watching = Watching::start(&clock(), sqlite(&folder), &folder).await;
    let request = signed(r#"{"event":"source.quiet"}"#).header(":offhook", "source");
    // No HTTP client sends such a header.
    let mut raw = Raw::connect(watching.server.public_address()).await;
    raw.send(request.bytes()).await;
    assert_eq!(raw.answer().await.status, 400);
    watching.server.stop().await;
    assert!(watching.asks.events().is_empty() && watching.other.events().is_empty());
}

/// With the system's clock and the ready-made handlers.
#[actix_web::test]
async fn the_console_and_programs_are_told() {
    let folder = Folder::new("silence-served");
    let handlers = r#"
        [[handlers]]
        name = "console"
        use = "log"
        events = ["*", "source.quiet", "source.resumed"]
        [[handlers]]
        name = "script"
        use = "exec"
        events = ["source.quiet"]
        command = ["sh", "-c", "echo $OFFHOOK_EVENT $(cat) >> script.txt"]
        order = "none"
    "#;
    settings(&folder, handlers);
    let path = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let name = "name = \"codeskytz\"\n";
    std::fs::write(
        &path,
        text.replacen(name, &format!("{name}quiet_after = \"300ms\"\n"), 1),
    )
    .unwrap();
    let served = Served::try_start(&mut command(&folder)).unwrap();

    assert_eq!(
        served.program.line(),
        "Source codeskytz is quiet: no event of it is known"
    );
    served
        .program
        .logged("source codeskytz is quiet: no event for 300ms");
    assert!(served.try_send(&signed(DOCUMENTED[0])).await.is_some());
    let mut lines = [(); 3].map(|()| served.program.line());
    served.program.logged("source codeskytz is heard again");
    served.program.logged("source codeskytz is quiet since 20");
    // The message stands in another line than the source.
    lines.sort();
    assert_eq!(lines[0], PRINTED[0]);
    assert_eq!(lines[1], "Source codeskytz is heard again");
    assert!(
        lines[2].starts_with("Source codeskytz is quiet since 20"),
        "{lines:?}"
    );
    let script = || std::fs::read_to_string(folder.0.join("script.txt")).unwrap_or_default();
    until("run twice", async || script().lines().count() == 2).await;
    for line in script().lines() {
        let start = r#"source.quiet {"event":"source.quiet","source":"codeskytz","#;
        assert!(line.starts_with(start), "{line}");
    }
    served.program.stop();
}
