//! `/metrics` of a server that keeps events, and the dashboard made for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{FakeClock, Recorder, TestRequest};
use offhook::{
    Delivery, Event, EventHandler, EventKind, HandlerError, HandlerOptions, Offhook, Retry, Server,
    Timestamp, async_trait, testing,
};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::served::until;
use crate::support::{DOCUMENTED, Folder, signed, source};

/// A server that keeps events in `folder`.
async fn keeping(folder: &Folder, change: impl FnOnce(Offhook) -> Offhook) -> Server {
    let journal = JournalSettings::Sqlite(SqliteSettings::new(folder.0.join("journal")));
    testing::start(change(Offhook::builder().source(source()).journal(journal))).await
}

async fn metrics(server: &Server) -> String {
    let to = server.admin_address().unwrap();
    let answer = TestRequest::get("/metrics").send(to).await;
    assert_eq!(answer.status, 200);
    answer.text()
}

/// The value of a metric, named with its labels.
fn value(text: &str, name: &str) -> f64 {
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let found = lines.find(|(found, _)| *found == name);
    let (_, value) = found.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
    value.parse().unwrap()
}

fn of(metric: &str, consumer: &str) -> String {
    format!(r#"{metric}{{consumer="handler:{consumer}"}}"#)
}

async fn send(server: &Server, body: &str, status: u16) {
    let answer = signed(body).send(server.public_address()).await;
    assert_eq!(answer.status, status, "{}", answer.text());
}

async fn set(server: &Server, consumer: &str, what: &str) {
    let request = TestRequest::post("").path(&format!("/api/consumers/handler:{consumer}/{what}"));
    let answer = request.send(server.admin_address().unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

struct Failing;

#[async_trait]
impl EventHandler for Failing {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        Err("always".into())
    }
}

/// A handler that is done when it is given a permit.
struct Held(Arc<Semaphore>);

#[async_trait]
impl EventHandler for Held {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        self.0.acquire().await?.forget();
        Ok(())
    }
}

#[actix_web::test]
async fn stored_retried_and_dead_events_are_counted() {
    let folder = Folder::new("metrics-counted");
    let twice = Retry {
        first: Duration::from_millis(1),
        attempts: 2,
        ..Retry::default()
    };
    let messages = HandlerOptions::default()
        .events([EventKind::Message])
        .retry(twice);
    let server = keeping(&folder, |offhook| {
        offhook
            .handler("recorder", Recorder::default())
            .handler_with("failing", Failing, messages)
    })
    .await;
    for body in DOCUMENTED {
        send(&server, body, 200).await;
    }
    send(&server, DOCUMENTED[0], 200).await;
    until("settled", async || {
        let text = metrics(&server).await;
        ["recorder", "failing"].map(|name| value(&text, &of("offhook_consumer_lag", name)))
            == [0.0, 0.0]
    })
    .await;

    let text = metrics(&server).await;
    for (name, expected) in COUNTED {
        assert_eq!(value(&text, name), expected, "{name}");
    }
    let transactions = value(&text, "offhook_journal_batch_seconds_count");
    assert!(transactions >= 4.0, "{text}");
    assert_eq!(
        value(&text, "offhook_journal_commit_seconds_count"),
        transactions
    );
    let commits = value(&text, "offhook_journal_commit_seconds_sum");
    let whole = value(&text, "offhook_journal_batch_seconds_sum");
    assert!(0.0 < commits && commits < whole, "{text}");
    let [database, wal] = ["journal.db", "journal.db-wal"].map(|file| {
        let file = folder.0.join("journal").join(file);
        file.metadata().unwrap().len()
    });
    assert!(
        value(&text, "offhook_journal_bytes") >= (database + wal) as f64,
        "{text}"
    );
    server.stop().await;
}

/// A metric and its value after the documented events and one duplicate. Each of them is sent after
/// the answer to the one before, so it has a transaction of its own; the duplicate's holds no new event.
const COUNTED: [(&str, f64); 14] = [
    (
        r#"offhook_requests_total{source="codeskytz",outcome="received"}"#,
        3.0,
    ),
    (
        r#"offhook_requests_total{source="codeskytz",outcome="duplicate"}"#,
        1.0,
    ),
    ("offhook_journal_events", 3.0),
    ("offhook_journal_failures_total", 0.0),
    ("offhook_journal_batch_events_sum", 3.0),
    ("offhook_journal_batch_events_count", 3.0),
    (r#"offhook_journal_batch_events_bucket{le="1"}"#, 3.0),
    (r#"offhook_journal_batch_events_bucket{le="1024"}"#, 3.0),
    (r#"offhook_retries_total{consumer="handler:failing"}"#, 1.0),
    (
        r#"offhook_dead_letters_total{consumer="handler:failing"}"#,
        1.0,
    ),
    (
        r#"offhook_consumer_in_flight{consumer="handler:failing"}"#,
        0.0,
    ),
    (
        r#"offhook_consumer_oldest_waiting_seconds{consumer="handler:failing"}"#,
        0.0,
    ),
    (r#"offhook_retries_total{consumer="handler:recorder"}"#, 0.0),
    (
        r#"offhook_dead_letters_total{consumer="handler:recorder"}"#,
        0.0,
    ),
];

#[actix_web::test]
async fn lag_and_oldest_event_are_shown() {
    let folder = Folder::new("metrics-lag");
    let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let permits = Arc::new(Semaphore::new(0));
    let server = keeping(&folder, |offhook| {
        offhook
            .handler("paused", Recorder::default())
            .handler("held", Held(Arc::clone(&permits)))
            .handler("recorder", Recorder::default())
            .clock(clock.clone())
    })
    .await;
    let figures = async |consumer: &str| {
        let text = metrics(&server).await;
        ["lag", "oldest_waiting_seconds", "in_flight"]
            .map(|figure| value(&text, &of(&format!("offhook_consumer_{figure}"), consumer)))
    };
    set(&server, "paused", "pause").await;
    for consumer in ["paused", "held", "recorder"] {
        assert_eq!(figures(consumer).await, [0.0; 3], "{consumer}");
    }

    for body in &DOCUMENTED[..2] {
        send(&server, body, 200).await;
        clock.advance(Duration::from_secs(45));
    }
    // Two lanes: both events are with the handler at once.
    until("started", async || {
        figures("held").await == [2.0, 90.0, 2.0]
    })
    .await;
    until("settled", async || figures("recorder").await == [0.0; 3]).await;
    assert_eq!(figures("paused").await, [2.0, 90.0, 0.0]);

    set(&server, "paused", "resume").await;
    permits.add_permits(2);
    for consumer in ["paused", "held"] {
        until("settled", async || figures(consumer).await == [0.0; 3]).await;
    }
    server.stop().await;
}

#[actix_web::test]
async fn failed_writes_are_counted() {
    let folder = Folder::new("metrics-failures");
    let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let server = keeping(&folder, |offhook| offhook.clock(clock.clone())).await;
    let rename = |from: &str, to: &str| {
        let database = rusqlite::Connection::open(folder.0.join("journal/journal.db")).unwrap();
        let sql = format!("ALTER TABLE {from} RENAME TO {to}");
        database.execute_batch(&sql).unwrap();
    };
    let failures = async || value(&metrics(&server).await, "offhook_journal_failures_total");
    rename("blocks", "hidden");
    send(&server, DOCUMENTED[0], 503).await;
    assert_eq!(failures().await, 1.0);
    // Refused without another try.
    send(&server, DOCUMENTED[0], 503).await;
    assert_eq!(failures().await, 1.0);
    rename("hidden", "blocks");
    clock.advance(Duration::from_secs(1));
    send(&server, DOCUMENTED[0], 200).await;
    let text = metrics(&server).await;
    assert_eq!(value(&text, "offhook_journal_failures_total"), 1.0);
    assert_eq!(value(&text, "offhook_journal_batch_events_sum"), 1.0);
    server.stop().await;
}

#[actix_web::test]
async fn the_dashboard_shows_only_what_there_is() {
    let folder = Folder::new("metrics-dashboard");
    let server = keeping(&folder, |offhook| {
        let watched = offhook.configure(|settings| {
            let source = settings.sources.remove(0);
            let source = source.quiet_after(Duration::from_secs(3600));
            settings.sources.push(source);
        });
        watched.handler("recorder", Recorder::default())
    })
    .await;
    let text = metrics(&server).await;
    server.stop().await;
    let word = |line: &str, kind: &str| -> Option<String> {
        let name = line.strip_prefix(kind)?.split(' ').next()?;
        Some(name.to_owned())
    };
    let all = |kind: &str| -> BTreeSet<String> {
        let names = text.lines().filter_map(|line| word(line, kind));
        names.collect()
    };
    let metrics = all("# TYPE ");
    assert_eq!(metrics, all("# HELP "), "one is not described");

    let dashboard = include_str!("../../docs/grafana.json");
    let parsed: Value = serde_json::from_str(dashboard).unwrap();
    let used = names(&parsed);
    assert!(used.len() > 15, "{used:?}");
    for name in &used {
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|histogram| text.contains(&format!("# TYPE {histogram} histogram")));
        let known = histogram.is_some() || metrics.contains(name);
        assert!(known, "{name} is on the dashboard and not in\n{text}");
    }

    let alerts = include_str!("../../packaging/prometheus/offhook-alerts.yml");
    let used = names(&alerts.into());
    assert!(used.len() > 8, "{used:?}");
    // Without TLS there is no certificate, nothing was refused, there is no settings file, and no database.
    let absent = [
        "offhook_certificate_ends_seconds",
        "offhook_journal_lost_total",
        "offhook_lease_seconds_left",
        "offhook_refused_explained_total",
        "offhook_settings_stale",
    ];
    let described = include_str!("../../docs/operations.md");
    for name in &used {
        let is_known = match absent.contains(&name.as_str()) {
            true => described.contains(name),
            false => metrics.contains(name),
        };
        assert!(is_known, "{name} is in an alert and not in\n{text}");
    }

    let panels = parsed["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(!names(&panel["targets"]).is_empty(), "{panel}");
    }
}

/// The names of metrics in a part of a dashboard.
fn names(part: &Value) -> BTreeSet<String> {
    let text = part.to_string();
    let words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
    let names = words.filter(|word| word.starts_with("offhook_"));
    names.map(str::to_owned).collect()
}
