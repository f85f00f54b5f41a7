//! Replays as operations, over the admin API.
//!
//! A replay waits for a running attempt, keeps its rate over a restart, runs beside others, and is listed
//! and cancelled. Where time matters, a test checks only that events do not come too early.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::clock::{Clock as _, SystemClock};
use offhook::relay::{Relay, RelayOptions};
use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{HandlerOptions, Retry, Server, Timestamp};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::records::{api, get, keeping, post, settled, until};
use crate::served::{self, Served, settings};
use crate::subscriber::{Answer, Asked, Subscriber};
use crate::support::{Folder, KEY, ask, secret};

/// Longer than any test: a test that waits for it has failed.
pub const FOREVER: Duration = Duration::from_secs(3600);

/// A failed attempt is not made again.
pub fn patient() -> HandlerOptions {
    HandlerOptions::default().timeout(FOREVER).retry(Retry {
        first: FOREVER,
        max: FOREVER,
        ..Retry::default()
    })
}

pub fn message(session: &str, from: usize, id: usize) -> TestRequest {
    TestEvent::message(&from.to_string(), "Hello!")
        .session(session)
        .id(&id.to_string())
        .sign(&secret(KEY))
}

/// Sends so many events of a session, each in its own conversation, and waits until they are listed.
async fn send(server: &Server, session: &str, count: usize) {
    for part in (0..count).collect::<Vec<_>>().chunks(50) {
        let sent = part.iter().map(async |id| {
            let message = message(session, *id, *id);
            assert_eq!(message.send(server.public_address()).await.status, 200);
        });
        join_all(sent).await;
    }
    let dry = json!({ "session": session, "dry_run": true });
    served::until("listed", async || {
        post(server, "/api/replay", dry.clone()).await["matched"] == count
    })
    .await;
}

/// How an attempt ends that runs while a replay is asked for: its answer, and its longest time.
fn endings(released: &watch::Receiver<bool>) -> [(Answer, Duration); 2] {
    [
        (Answer::Held(released.clone()), FOREVER),
        (Answer::Hang, Duration::from_secs(5)),
    ]
}

#[actix_web::test]
async fn a_replay_follows_the_running_attempt() {
    const EVENTS: usize = 12;
    let (release, released) = watch::channel(false);
    for (number, (ending, timeout)) in endings(&released).into_iter().enumerate() {
        release.send_replace(false);
        let folder = Folder::new(&format!("replay-running-{number}"));
        let mut asked = 0;
        let subscriber = Subscriber::deciding(move |_| {
            asked += 1;
            match asked <= EVENTS {
                true => ending.clone(),
                false => Answer::from(200),
            }
        })
        .await;
        let mut options = RelayOptions::default();
        (options.timeout, options.allow_private) = (timeout, true);
        let relay = Relay::new(&subscriber.url(), None, &options).unwrap();
        let server = keeping(&folder, |offhook| {
            offhook.handler_with("crm", relay, patient())
        })
        .await;
        send(&server, "s", EVENTS).await;
        assert_eq!(subscriber.asked(EVENTS).await.len(), EVENTS);
        let events = get(&server, "/api/events").await;
        for event in events["events"].as_array().unwrap() {
            let path = format!("/api/events/{}/replay", event["id"].as_str().unwrap());
            let answer = post(&server, &path, json!({})).await;
            assert_eq!(answer, json!({ "matched": 1, "replayed": 1 }));
        }
        assert_eq!((subscriber.count(), subscriber.open()), (EVENTS, EVENTS));
        release.send_replace(true);
        subscriber.asked(2 * EVENTS).await;
        settled(&server).await;
        check_followed(&subscriber.requests(), EVENTS);
        server.stop().await;
        assert_eq!(subscriber.count(), 2 * EVENTS);
    }
}

/// Each event came once, and once more as a replay.
fn check_followed(asked: &[Asked], events: usize) {
    let mut each = BTreeMap::<_, Vec<_>>::new();
    for asked in asked {
        let headers = ["offhook-attempt", "offhook-replay"].map(|name| asked.header(name));
        each.entry(asked.message_id()).or_default().push(headers);
    }
    assert_eq!(each.len(), events);
    for (id, headers) in each {
        assert_eq!(headers, [["1", ""], ["1", "true"]], "{id}");
    }
}

#[actix_web::test]
async fn a_rate_survives_a_stop_and_a_kill() {
    for how in ["TERM", "KILL"] {
        let folder = Folder::new(&format!("replay-rate-{how}"));
        settings(&folder, served::JSONL);
        let before = Served::start(&folder);
        for id in 0..MANY {
            let answer = message("s", id, id).send(before.public).await;
            assert_eq!(answer.status, 200);
        }
        served::until("listed", async || {
            let (_, dry) = ask(before.admin, "POST", "/api/replay", r#"{"dry_run":true}"#).await;
            dry["matched"] == MANY && replayed(&folder).is_empty()
        })
        .await;
        let request = json!({ "all": true, "rate": RATE }).to_string();
        let (status, answer) = ask(before.admin, "POST", "/api/replay", request).await;
        assert_eq!(
            (status, &answer["matched"]),
            (202, &json!(MANY)),
            "{answer}"
        );
        assert_eq!(answer["replay"], listed(&before).await["id"]);
        let begun = async || replayed(&folder).len() >= 5;
        served::until("begun", begun).await;
        before.program.signal(how);
        before.program.wait();

        let (count, started) = (replayed(&folder).len(), SystemClock.monotonic());
        let after = Served::start(&folder);
        let replay = listed(&after).await;
        assert_eq!(
            (&replay["rate"], &replay["state"]),
            (&json!(RATE), &json!("running"))
        );
        served::until("replayed", async || {
            let more = replayed(&folder).len() - count;
            let seconds = (SystemClock.monotonic() - started).as_secs_f64();
            // What ran, or was not saved, at a kill comes again.
            let most = seconds * RATE as f64 + if how == "KILL" { 5.0 } else { 2.0 };
            assert!(more as f64 <= most, "{more} after {seconds} s");
            let different: std::collections::BTreeSet<_> = replayed(&folder).into_iter().collect();
            different.len() == MANY
        })
        .await;
        served::until("done", async || listed(&after).await["state"] == "done").await;
        assert_eq!(listed(&after).await["handed_over"], MANY);
        after.program.stop();
        assert!(
            how == "KILL" || replayed(&folder).len() == MANY,
            "one came twice"
        );
    }
}

const MANY: usize = 40;

/// Events a second.
const RATE: usize = 10;

/// The message ids that the handler was handed as replays.
fn replayed(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.0.join("handled.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let replays = lines.filter(|line| line["replay"] == true);
    let id = |line: Value| line["body"]["messageId"].as_str().unwrap().to_owned();
    replays.map(id).collect()
}

/// The newest replay.
async fn listed(served: &Served) -> Value {
    let (status, mut answer) = ask(served.admin, "GET", "/api/replays", "").await;
    assert_eq!(status, 200);
    answer["replays"][0].take()
}

/// A server with a handler that remembers, which has handled so many events of each session.
pub async fn handled(folder: &Folder, recorder: &Recorder, sessions: &[(&str, usize)]) -> Server {
    let server = keeping(folder, |offhook| {
        offhook.handler_with("recorder", recorder.clone(), patient())
    })
    .await;
    for (session, count) in sessions {
        send(&server, session, *count).await;
    }
    settled(&server).await;
    server
}

/// Asks for a replay of a session at a rate, and returns what is listed of it.
async fn replay(server: &Server, session: &str, rate: usize) -> Value {
    let request = json!({ "session": session, "rate": rate });
    let (status, answer) = api(server, "POST", "/api/replay", &request).await;
    let listed = get(server, "/api/replays").await;
    let first = &listed["replays"][0];
    assert_eq!(
        (&first["session"], &first["id"]),
        (&json!(session), &answer["replay"])
    );
    assert_eq!(status, 202);
    listed["replays"][0].clone()
}

/// What is listed of a replay, from the newest answer.
async fn of(server: &Server, replay: &Value) -> Value {
    let listed = get(server, "/api/replays").await;
    let mut all = listed["replays"].as_array().unwrap().iter();
    all.find(|one| one["id"] == replay["id"]).unwrap().clone()
}

/// Waits until a replay that goes on has handed over so many.
async fn until_handed_over(server: &Server, replay: &Value, count: u64) {
    served::until("handed over", async || {
        of(server, replay).await["handed_over"].as_u64().unwrap() >= count
    })
    .await;
}

/// How many replayed events of a session the handler was given.
fn given(recorder: &Recorder, session: &str) -> usize {
    let deliveries = recorder.deliveries().into_iter();
    let of = deliveries.filter(|one| one.is_replay() && one.session() == Some(session));
    of.count()
}

#[actix_web::test]
async fn replays_run_beside_each_other() {
    let folder = Folder::new("replays-beside");
    let recorder = Recorder::default();
    let server = handled(
        &folder,
        &recorder,
        &[("slow", 100), ("fast", 40), ("one", 1)],
    )
    .await;
    let slow = replay(&server, "slow", 2).await;
    let fast = replay(&server, "fast", 20).await;
    until_handed_over(&server, &slow, 2).await;
    until_handed_over(&server, &fast, 2).await;

    // One by hand waits behind none of them.
    let one = get(&server, "/api/events?session=one").await;
    let path = format!(
        "/api/events/{}/replay",
        one["events"][0]["id"].as_str().unwrap()
    );
    post(&server, &path, json!({})).await;
    served::until("given", async || given(&recorder, "one") == 1).await;
    served::until("done", async || of(&server, &fast).await["state"] == "done").await;
    assert_eq!(given(&recorder, "fast"), 40);
    let slow = of(&server, &slow).await;
    assert_eq!(slow["state"], "running");
    assert!(slow["handed_over"].as_u64() < Some(100), "{slow}");
    let (status, _) = cancel(&server, &slow).await;
    assert_eq!(status, 200);
    settled(&server).await;
    let listed = get(&server, "/api/replays").await;
    let states = listed["replays"].as_array().unwrap().iter();
    let states: Vec<_> = states.map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["done", "done", "cancelled"]);
    server.stop().await;
}

async fn cancel(server: &Server, replay: &Value) -> (u16, Value) {
    let path = format!("/api/replays/{}", replay["id"].as_str().unwrap());
    api(server, "DELETE", &path, &json!({})).await
}

#[actix_web::test]
async fn a_cancelled_replay_hands_over_nothing_more() {
    let folder = Folder::new("replay-cancelled");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 200)]).await;
    let replay = replay(&server, "s", 20).await;
    until_handed_over(&server, &replay, 5).await;
    let (status, answer) = cancel(&server, &replay).await;
    assert_eq!(
        (status, answer),
        (200, json!({ "cancelled": ["handler:recorder"] }))
    );
    // The lag counts what is still to be handed over.
    settled(&server).await;
    let count = given(&recorder, "s");
    assert!((5..200).contains(&count), "{count}");
    let cancelled = of(&server, &replay).await;
    let numbers = ["state", "matched", "handed_over"].map(|field| &cancelled[field]);
    assert_eq!(numbers, [&json!("cancelled"), &json!(200), &json!(count)]);
    // Ten would have come by then.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(given(&recorder, "s"), count);
    for unknown in [
        &replay,
        &json!({ "id": "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17" }),
    ] {
        assert_eq!(cancel(&server, unknown).await.0, 404);
    }
    server.stop().await;

    let server = handled(&folder, &recorder, &[]).await;
    assert_eq!(of(&server, &replay).await, cancelled);
    send(&server, "later", 20).await;
    settled(&server).await;
    assert_eq!(given(&recorder, "s"), count);
    server.stop().await;
}

#[actix_web::test]
async fn replays_are_listed_with_their_numbers() {
    const LARGE: usize = 1001;
    let folder = Folder::new("replays-listed");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("large", LARGE), ("small", 10)]).await;
    assert_eq!(get(&server, "/api/replays").await, json!({ "replays": [] }));
    let from = "2020-01-01T00:00:00Z";
    let large = json!({ "session": "large", "event": "message", "from": from });
    let (status, answer) = api(&server, "POST", "/api/replay", &large).await;
    assert_eq!(
        (status, &answer["matched"]),
        (202, &json!(LARGE)),
        "{answer}"
    );
    let small = json!({ "session": "small", "consumer": "handler:recorder" });
    let done = post(&server, "/api/replay", small).await;
    assert_eq!(done, json!({ "matched": 10, "replayed": 10 }));
    settled(&server).await;

    let all_done = |listed: &Value| {
        let mut all = listed["replays"].as_array().unwrap().iter();
        all.all(|replay| replay["state"] == "done")
    };
    let mut listed = until(&server, "/api/replays", all_done).await;
    let asked_at: Vec<Timestamp> = { listed["replays"].as_array_mut().unwrap().iter_mut() }
        .map(|one| one["asked_at"].take().as_str().unwrap().parse().unwrap())
        .collect();
    assert!(asked_at[0] >= asked_at[1], "the newest first: {asked_at:?}");
    assert_eq!(listed["replays"][1]["id"], answer["replay"]);
    let row = |id: &Value, session, event, from, count: usize| {
        json!({
            "id": id, "consumer": "handler:recorder", "session": session, "event": event,
            "from": from, "to": null, "ids": null, "rate": null, "asked_at": null, "matched": count,
            "handed_over": count, "state": "done",
        })
    };
    let small = row(&listed["replays"][0]["id"], "small", None, None, 10);
    let large = row(
        &answer["replay"],
        "large",
        Some("message"),
        Some(from),
        LARGE,
    );
    assert_eq!(listed["replays"], json!([small, large]));
    assert_eq!(given(&recorder, "large"), LARGE);
    server.stop().await;
}
