//! A clock that is set back: nothing is lost or comes twice, retries come when they would have come,
//! claims hold, and retention takes nothing that is too young.

use std::sync::Arc;
use std::time::Duration;

use offhook::clock::Clock as _;
use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{FakeClock, Recorder, TestEvent};
use offhook::{Event, HandlerOptions, Offhook, Retry, Server, Timestamp, testing};
use serde_json::json;

use crate::records::{get, settled};
use crate::served::{kept, until};
use crate::support::{Folder, KEY, secret, source};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[actix_web::test]
async fn an_hour_back_changes_nothing() {
    set_back("clock-hour", HOUR).await;
}

#[actix_web::test]
async fn a_year_back_changes_nothing() {
    set_back("clock-year", 365 * 24 * HOUR).await;
}

async fn set_back(name: &str, by: Duration) {
    let start: Timestamp = "2026-01-08T12:00:00Z".parse().unwrap();
    let world = World {
        folder: Folder::new(name),
        clock: Arc::new(FakeClock::new(start)),
        recorder: Recorder::default(),
        by,
    };
    let server = world.start().await;
    for id in 0..3 {
        world.send(&server, id, false).await;
    }
    world.handled(&[0, 1, 2]).await;
    world.a_retry_waits_meanwhile(&server).await;
    let server = world.a_retry_waits_over_a_restart(server).await;
    world.what_is_young_is_kept(server).await;
    world.what_is_old_leaves().await;
    assert_eq!(world.given(), [0, 1, 2, 3, 3, 4, 5, 4, 6]);
}

struct World {
    folder: Folder,
    clock: Arc<FakeClock>,
    recorder: Recorder,
    /// How far the clock is set back.
    by: Duration,
}

impl World {
    /// Event 3 waits for a retry while the clock is set back.
    async fn a_retry_waits_meanwhile(&self, server: &Server) {
        self.recorder.fail_next(1);
        self.send(server, 3, false).await;
        self.handled(&[0, 1, 2, 3]).await;
        self.waits_for_a_retry(server).await;
        self.clock.set(self.clock.now() - self.by);
        for id in 0..4 {
            self.send(server, id, true).await;
        }
        self.clock.advance(LONGEST_PAUSE);
        self.handled(&[0, 1, 2, 3, 3]).await;
        settled(server).await;
    }

    /// Event 4 waits for a retry while the server is stopped and the clock is set back.
    async fn a_retry_waits_over_a_restart(&self, server: Server) -> Server {
        self.recorder.fail_next(1);
        self.send(&server, 4, false).await;
        self.handled(&[0, 1, 2, 3, 3, 4]).await;
        self.waits_for_a_retry(&server).await;
        server.stop().await;
        self.clock.set(self.clock.now() - self.by);
        let server = self.start().await;
        for id in 0..5 {
            self.send(&server, id, true).await;
        }
        self.send(&server, 5, false).await;
        self.handled(&[0, 1, 2, 3, 3, 4, 5]).await;
        // Nobody can tell an hour from a pause that a subscriber has asked for.
        let longer = if self.by <= DAY {
            self.by
        } else {
            Duration::ZERO
        };
        self.clock.advance(LONGEST_PAUSE + longer);
        self.handled(&[0, 1, 2, 3, 3, 4, 5, 4]).await;
        settled(&server).await;
        server
    }

    /// By neither time of day any of them is two days old: retention has looked, and left them.
    async fn what_is_young_is_kept(&self, server: Server) {
        self.clock.advance(HOUR);
        self.clock.advance(HOUR);
        self.send(&server, 6, false).await;
        settled(&server).await;
        server.stop().await;
        let all: Vec<_> = (0..7).map(|id: usize| id.to_string()).collect();
        assert_eq!(kept(&self.folder), all);
    }

    /// When the first time of day has come again and the events are old, they leave, oldest first.
    async fn what_is_old_leaves(&self) {
        let server = self.start().await;
        self.clock.advance(2 * self.by + 50 * HOUR);
        until("trimmed", async || {
            self.clock.advance(HOUR);
            let events = get(&server, "/api/events").await;
            events["events"]
                .as_array()
                .is_some_and(|events| events.len() == 1)
        })
        .await;
        server.stop().await;
        assert_eq!(kept(&self.folder), ["6"]);
    }

    async fn start(&self) -> Server {
        let mut sqlite = SqliteSettings::new(self.folder.0.join("journal"));
        sqlite.retention = 48 * HOUR;
        let journal = JournalSettings::Sqlite(sqlite);
        let retry = Retry {
            jitter: 0.0,
            max: LONGEST_PAUSE,
            ..Retry::default()
        };
        let options = HandlerOptions::default().retry(retry);
        let offhook = Offhook::builder()
            .source(source())
            .journal(journal)
            .clock(Arc::clone(&self.clock) as _)
            .handler_with("recorder", self.recorder.clone(), options);
        testing::start(offhook).await
    }

    /// Sends a message of a conversation of its own.
    async fn send(&self, server: &Server, id: usize, known: bool) {
        let message = TestEvent::message(&id.to_string(), "Hello!").id(&id.to_string());
        let answer = message
            .sign(&secret(KEY))
            .send(server.public_address())
            .await;
        let duplicate = answer.header("offhook-duplicate").is_some();
        assert_eq!((answer.status, duplicate), (200, known), "{id}");
    }

    /// The handler was given these, in this order.
    async fn handled(&self, ids: &[usize]) {
        until(&format!("{ids:?}"), async || {
            self.given().len() >= ids.len()
        })
        .await;
        assert_eq!(self.given(), ids);
    }

    fn given(&self) -> Vec<usize> {
        let events = self.recorder.events().into_iter();
        let ids = events.map(|event| match event {
            Event::Message(message) => message.from().parse().unwrap(),
            other => panic!("{other:?}"),
        });
        ids.collect()
    }

    async fn waits_for_a_retry(&self, server: &Server) {
        until("a retry waits", async || {
            let consumers = get(server, "/api/consumers").await;
            let recorder = &consumers["consumers"][0];
            (&recorder["lag"], &recorder["in_flight"]) == (&json!(1), &json!(0))
        })
        .await;
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(300);
