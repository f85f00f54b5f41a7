//! `offhook migrate`: a journal goes to a database and back, and nobody notices but for the engine's name.

use std::path::{Path, PathBuf};
use std::process::Child;

use offhook::testing::{TestEvent, TestRequest};
use serde_json::{Value, json};

use super::database::Server as Database;
use super::{Cluster, client, message, subscription};
use crate::served::{Served, command, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, KEY, Ran, ask, offhook, run, secret};

const SESSIONS: usize = 6;

/// The subscribers, which outlive all engines.
struct Subscribers {
    /// Takes `later-…` only once it is told so.
    all: Subscriber,
    /// Never takes `dead-…`, and is not asked twice.
    rejecting: Subscriber,
    /// Is paused from the beginning.
    paused: Subscriber,
    /// Is registered over the API.
    registered: Subscriber,
}

impl Subscribers {
    async fn start() -> Self {
        let refusing = |start: &'static str| {
            move |asked: &crate::subscriber::Asked| {
                let is_refused = asked.message_id().starts_with(start);
                Answer::from(if is_refused { 500 } else { 200 })
            }
        };
        Self {
            all: Subscriber::deciding(refusing("later")).await,
            rejecting: Subscriber::deciding(refusing("dead")).await,
            paused: Subscriber::start([]).await,
            registered: Subscriber::start([]).await,
        }
    }

    fn settings(&self) -> String {
        let paused = subscription(&self.paused).replace("\"all\"", "\"paused\"");
        let rejecting = subscription(&self.rejecting).replace("\"all\"", "\"rejecting\"");
        let once = "retry = { attempts = 1 }\n";
        format!("{}{paused}{rejecting}{once}", subscription(&self.all))
    }
}

/// A folder with the settings of the cluster, but for a journal in a folder.
fn on_sqlite(cluster: &Cluster, name: &str) -> Folder {
    let other = cluster.settings("as-sqlite");
    let text = std::fs::read_to_string(other.0.join("settings.toml")).unwrap();
    let (before, rest) = text.split_once("[journal]").unwrap();
    let (_, more) = rest.split_once(&cluster.more).unwrap();
    let subscriptions = cluster.more.find("[[").map_or("", |at| &cluster.more[at..]);
    let folder = Folder::new(&format!("migrate-{name}"));
    let path = folder.0.join("journal");
    let text = format!("{before}[journal]\npath = {path:?}\n{more}{subscriptions}");
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    folder
}

fn migrate(from: &Path, to: &Path) -> Ran {
    let [from, to] = [from, to].map(|folder| folder.join("settings.toml"));
    run(&[
        "migrate",
        "--from",
        from.to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
        "--json",
    ])
}

fn named(id: &str, session: &str) -> TestRequest {
    let event = TestEvent::message("+1", "Hello!").session(session);
    event.id(id).sign(&secret(KEY))
}

fn connection(session: &str) -> TestRequest {
    TestEvent::connection("connected")
        .session(session)
        .sign(&secret(KEY))
}

async fn send(to: &Served, request: &TestRequest) -> bool {
    let answer = to.try_send(request).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("offhook-duplicate") == Some("true")
}

async fn get(from: &Served, path: &str) -> Value {
    let (status, answer) = ask(from.admin, "GET", path, "").await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// What an administrator sees of events, as far as the journal says it.
async fn events(served: &Served) -> Vec<(String, String)> {
    let listed = get(served, "/api/events?limit=100").await;
    let events = listed["events"].as_array().unwrap().iter();
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    events
        .map(|event| (text(event, "id"), text(event, "received_at")))
        .collect()
}

const PAUSED: &str = "/api/consumers/subscription:*:paused";

/// Begins a journal, and returns its events that are not deleted: messages, one that is given up on, one that waits for a retry, one that was deleted, a state.
async fn begin(served: &Served, subscribers: &Subscribers) -> Vec<(String, String)> {
    let paused = ask(served.admin, "POST", &format!("{PAUSED}/pause"), "").await;
    assert_eq!(paused.0, 200, "{paused:?}");
    let body = json!({ "webhookUrl": subscribers.registered.url() }).to_string();
    let registered = ask(served.admin, "POST", "/sessions/s1/webhook", body).await;
    assert_eq!(registered.0, 201, "{registered:?}");
    for number in 0..3 {
        for session in 0..SESSIONS {
            assert!(!send(served, &message(session, number)).await);
        }
    }
    send(served, &named("dead-1", "s0")).await;
    send(served, &named("later-1", "s2")).await;
    send(served, &connection("s3")).await;
    until("indexed", async || {
        events(served).await.len() == 3 * SESSIONS + 3
    })
    .await;
    until("given up", async || {
        let dead = get(served, "/api/dead").await;
        dead["dead"].as_array().is_some_and(|dead| dead.len() == 1)
    })
    .await;
    let listed = get(served, "/api/events?session=s5").await;
    let id = listed["events"][0]["id"].as_str().unwrap().to_owned();
    subscribers.all.asked(3 * SESSIONS + 3).await;
    let deleted = ask(served.admin, "DELETE", &format!("/api/events/{id}"), "").await;
    assert_eq!(deleted.0, 200, "{deleted:?}");
    let mut known = events(served).await;
    known.retain(|(other, _)| *other != id);
    known
}

/// That a journal is as it was begun. `round` is the number of moves.
async fn check(
    served: &Served,
    subscribers: &Subscribers,
    known: &[(String, String)],
    round: usize,
) {
    until("indexed", async || {
        let found = events(served).await;
        known.iter().all(|one| found.contains(one))
    })
    .await;
    // What comes again is a duplicate, also the newest state.
    for number in 0..3 {
        for session in 0..SESSIONS {
            assert!(send(served, &message(session, number)).await);
        }
    }
    assert!(send(served, &connection("s3")).await);
    // A new event comes after the ones before: nothing is handed over again.
    let number = 2 + round;
    for session in [0, 1, 3, 4, 5] {
        assert!(!send(served, &message(session, number)).await);
    }
    let first: Vec<String> = subscribers.all.ids();
    until("handled", async || {
        let ids = subscribers.all.ids();
        [0, 1, 3, 4, 5]
            .iter()
            .all(|session| ids.contains(&format!("{session}-{number}")))
    })
    .await;
    let repeated = |id: &String| first.iter().filter(|other| *other == id).count() > 1;
    let again: Vec<_> = first
        .iter()
        .filter(|id| !id.starts_with("later") && repeated(id))
        .collect();
    assert!(again.is_empty(), "{again:?}");
    let dead = get(served, "/api/dead").await;
    assert_eq!(dead["dead"].as_array().map(Vec::len), Some(1), "{dead}");
    assert_eq!(dead["dead"][0]["consumer"], "subscription:*:rejecting");
    let state = get(served, PAUSED).await;
    assert_eq!(state["state"], "paused", "{state}");
    assert_eq!(subscribers.paused.count(), 0);
    let listed = get(served, "/sessions/s1/webhook").await;
    assert_eq!(
        listed["webhooks"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    until("delivered", async || {
        subscribers
            .registered
            .ids()
            .contains(&format!("1-{number}"))
    })
    .await;
    assert_eq!(subscribers.registered.count(), 3 + round);
}

#[actix_web::test]
async fn a_journal_goes_to_a_database_and_back() {
    let subscribers = Subscribers::start().await;
    let more = format!("shares = 4\nlease = \"4s\"\n{}", subscribers.settings());
    let Some(cluster) = Cluster::new("migrate", &more) else {
        return;
    };
    let (old, new) = (on_sqlite(&cluster, "old"), cluster.settings("a"));
    let served = Served::start(&old);
    let known = begin(&served, &subscribers).await;
    // Not while a server has it.
    let ran = migrate(&old.0, &new.0);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.said.contains("another offhook has this journal open"),
        "{ran:?}"
    );
    served.program.stop();

    let ran = migrate(&old.0, &new.0);
    assert_eq!(ran.status, 0, "{ran:?}");
    let moved = ran.json();
    let counts = |key: &str| moved[key].as_u64().unwrap();
    assert_eq!(counts("events"), 3 * SESSIONS as u64 + 3, "{moved}");
    assert_eq!(counts("deleted_events"), 1);
    // Two of the state.
    assert_eq!(counts("dedup_keys"), 3 * SESSIONS as u64 + 4);
    assert_eq!(
        (counts("consumers"), counts("paused_consumers")),
        (4, 1),
        "{moved}"
    );
    // Those of the settings are stored too.
    assert_eq!((counts("dead_letters"), counts("documents")), (1, 4));
    let ran = migrate(&old.0, &new.0);
    assert!(ran.said.contains("holds a journal already"), "{ran:?}");

    // Each key is in a bucket that has a partition, or will get one.
    let (client, schema) = (client(&cluster.url).await.unwrap(), &cluster.schema);
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE bucket = until / claim_span * claim_span) \
         FROM {schema}.claim, {schema}.meta"
    );
    let row = client.query_one(&sql, &[]).await.unwrap();
    let (keys, well): (i64, i64) = (row.get(0), row.get(1));
    assert!(keys > 0 && keys == well, "{well} of {keys}");

    let (a, b) = (Served::start(&new), cluster.start("b"));
    check(&a, &subscribers, &known, 1).await;
    let back = on_sqlite(&cluster, "back");
    let ran = migrate(&new.0, &back.0);
    assert_eq!(ran.status, 1, "{ran:?}");
    assert!(
        ran.said.contains("instances use this journal (a, b)"),
        "{ran:?}"
    );
    a.program.stop();
    b.program.stop();

    let ran = migrate(&new.0, &back.0);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(ran.json()["events"], 3 * SESSIONS + 3 + 5);
    let verified = back.0.join("journal");
    let verified = run(&["journal", "verify", verified.to_str().unwrap()]);
    assert_eq!(verified.status, 0, "{verified:?}");
    let served = Served::start(&back);
    check(&served, &subscribers, &known, 2).await;
    // What waits for a retry has waited all the time, and what was paused goes on.
    subscribers.all.answer(200);
    until("tried again", async || {
        get(&served, "/api/consumers/subscription:*:all").await["lag"] == 0
    })
    .await;
    let resumed = ask(served.admin, "POST", &format!("{PAUSED}/resume"), "").await;
    assert_eq!(resumed.0, 200, "{resumed:?}");
    // All but the one that was deleted.
    subscribers
        .paused
        .expect(3 * SESSIONS + 3 + 2 * 5 - 1)
        .await;
    served.program.stop();
}

/// Starts a move, and kills it when `is_time`.
async fn interrupted(from: &Path, to: &Path, is_time: impl AsyncFnMut() -> bool) {
    let [from, to] = [from, to].map(|folder| folder.join("settings.toml"));
    let mut command = offhook(&["migrate", "--json", "--from"]);
    command.arg(from).arg("--to").arg(to);
    let mut moving: Child = command.spawn().unwrap();
    until("on its way", is_time).await;
    moving.kill().unwrap();
    let ended = moving.wait().unwrap();
    assert!(!ended.success(), "it ended before it was killed");
}

#[actix_web::test]
async fn a_move_that_was_killed_goes_on() {
    let Some(cluster) = Cluster::new("moving", "shares = 2\n") else {
        return;
    };
    let (old, new) = (on_sqlite(&cluster, "killed"), cluster.settings("a"));
    let served = Served::start(&old);
    for number in 0..BODIES {
        let event = TestEvent::message("+1", &"x".repeat(BODY)).session("s");
        send(&served, &event.id(&number.to_string()).sign(&secret(KEY))).await;
    }
    served.program.stop();
    let url = cluster.url.clone();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    actix_web::rt::spawn(connection);
    let sql = format!(
        "SELECT coalesce(max(last), 0) FROM {}_moving.block",
        cluster.schema
    );
    interrupted(&old.0, &new.0, async || {
        let newest = client.query_one(&sql, &[]).await;
        newest.is_ok_and(|row| row.get::<_, i64>(0) > 0)
    })
    .await;
    goes_on(&migrate(&old.0, &new.0));

    let back = on_sqlite(&cluster, "killed-back");
    let file: PathBuf = back.0.join("journal/moving/journal.db");
    interrupted(&new.0, &back.0, async || has_blocks(&file)).await;
    assert!(!back.0.join("journal/journal.db").exists());
    let moving = back.0.join("journal/moving");
    let from = std::fs::read_to_string(moving.join("from")).unwrap();
    goes_on(&migrate(&new.0, &back.0));
    // As one is left that was killed when the journal had its place already.
    std::fs::create_dir(&moving).unwrap();
    std::fs::write(moving.join("from"), from).unwrap();
    let ran = migrate(&new.0, &back.0);
    assert_eq!(ran.status, 0, "{ran:?}");
    let counts = ran.json();
    assert_eq!(
        (&counts["events"], &counts["dedup_keys"]),
        (&json!(BODIES), &json!(BODIES))
    );
    assert!(!moving.exists());
    let ran = migrate(&new.0, &back.0);
    assert!(ran.said.contains("there is a journal already"), "{ran:?}");
    let served = Served::start(&back);
    let event = TestEvent::message("+1", &"x".repeat(BODY)).session("s");
    assert!(send(&served, &event.id("7").sign(&secret(KEY))).await);
    served.program.stop();
}

/// Whether a first part was committed.
fn has_blocks(file: &Path) -> bool {
    let read = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(file, read);
    let count = database.and_then(|database| {
        database.query_row("SELECT count(*) FROM blocks", [], |row| {
            row.get::<_, u64>(0)
        })
    });
    count.is_ok_and(|count| count > 0)
}

fn goes_on(ran: &Ran) {
    assert_eq!(ran.status, 0, "{ran:?}");
    let moved = ran.json();
    let resumed = moved["resumed_at"].as_u64();
    assert!(resumed.is_some_and(|at| at > 0 && at < BODIES), "{moved}");
    assert_eq!(
        (&moved["events"], &moved["dedup_keys"]),
        (&json!(BODIES), &json!(BODIES))
    );
}

const BODIES: u64 = 60;
const BODY: usize = 500_000;

/// A journal that has changed since is moved from the beginning.
#[actix_web::test]
async fn a_move_of_a_changed_journal_begins_again() {
    let Some(cluster) = Cluster::new("changed", "shares = 2\n") else {
        return;
    };
    let (old, new) = (on_sqlite(&cluster, "changed"), cluster.settings("a"));
    let served = Served::start(&old);
    send(&served, &message(0, 0)).await;
    served.program.stop();
    // As one is left that was killed.
    let database: &Database = Database::shared().unwrap();
    let (client, connection) = tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    actix_web::rt::spawn(connection);
    let schema = format!("{}_moving", cluster.schema);
    let left = format!(
        "CREATE SCHEMA {schema}; CREATE TABLE {schema}.meta (); CREATE TABLE {schema}.moved (origin text, has_keys bool, keys bigint); \
         INSERT INTO {schema}.moved VALUES ('another', false, 0)"
    );
    client.batch_execute(&left).await.unwrap();
    let ran = migrate(&old.0, &new.0);
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        (&ran.json()["events"], &ran.json()["resumed_at"]),
        (&json!(1), &Value::Null)
    );
    let a = Served::try_start(&mut command(&new)).unwrap_or_else(|said| panic!("{said}"));
    assert!(send(&a, &message(0, 0)).await);
    a.program.stop();

    let both = migrate(&old.0, &old.0);
    assert_eq!(both.status, 1, "{both:?}");
    assert!(
        both.said
            .contains("has the engine sqlite, and the new one sqlite"),
        "{both:?}"
    );
    let none = on_sqlite(&cluster, "none");
    let ran = migrate(&none.0, &new.0);
    assert!(ran.said.contains("there is no journal here"), "{ran:?}");
    assert!(!none.0.join("journal").exists());
}
