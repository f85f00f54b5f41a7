//! Replays that are shown before they are asked for, over the admin API: what was shown is done, once, or nothing.

use futures_util::future::join_all;
use offhook::settings::ShowBodies;
use offhook::testing::{Recorder, TestRequest};
use offhook::{Delivery, Event, EventHandler, HandlerError, HandlerOptions, Server, async_trait};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::records::{api, get, keeping, post, settled, until};
use crate::replays::{handled, message, patient};
use crate::support::{Folder, bounded, secret};

async fn shown(server: &Server, which: Value) -> Value {
    let mut which = which;
    which["dry_run"] = true.into();
    post(server, "/api/replay", which).await
}

async fn ask(server: &Server, plan: &Value, expected: &Value) -> (u16, Value) {
    let body = json!({ "plan": plan, "expected": expected });
    api(server, "POST", "/api/replay", &body).await
}

/// The code of a refusal.
async fn refused(server: &Server, body: Value) -> (u16, String) {
    let (status, answer) = api(server, "POST", "/api/replay", &body).await;
    (status, answer["code"].as_str().unwrap_or("none").to_owned())
}

#[actix_web::test]
async fn a_plan_is_done_once_as_it_was_shown() {
    let folder = Folder::new("plan-once");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 5), ("other", 2)]).await;
    let plan = shown(&server, json!({ "session": "s", "rate": 100 })).await;
    assert_eq!(
        (&plan["matched"], &plan["replayed"]),
        (&json!(5), &json!(0))
    );
    // What comes later was not shown.
    let later = message("s", 9, 9).send(server.public_address()).await;
    assert_eq!(later.status, 200);
    settled(&server).await;
    let before = recorder.deliveries().len();

    let mut other = plan["plan"].clone();
    other["session"] = "other".into();
    assert_eq!(
        ask(&server, &other, &json!(2)).await.1["code"],
        "plan_changed"
    );
    other["session"] = "s".into();
    other["rate"] = 50.into();
    assert_eq!(
        ask(&server, &other, &json!(5)).await.1["code"],
        "plan_changed"
    );

    let (status, answer) = ask(&server, &plan["plan"], &plan["matched"]).await;
    assert_eq!((status, &answer["matched"]), (202, &json!(5)), "{answer}");
    let (status, again) = ask(&server, &plan["plan"], &plan["matched"]).await;
    assert_eq!(
        (status, &again["code"]),
        (409, &json!("plan_used")),
        "{again}"
    );
    let done = |listed: &Value| listed["replays"][0]["state"] == "done";
    until(&server, "/api/replays", done).await;
    settled(&server).await;
    assert_eq!(recorder.deliveries().len(), before + 5);
    server.stop().await;
}

#[actix_web::test]
async fn a_plan_that_has_changed_does_nothing() {
    let folder = Folder::new("plan-changed");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 3)]).await;
    let before = recorder.deliveries().len();
    let plan = shown(&server, json!({ "session": "s" })).await;
    let listed = get(&server, "/api/events").await;
    let path = format!(
        "/api/events/{}",
        listed["events"][0]["id"].as_str().unwrap()
    );
    assert_eq!(api(&server, "DELETE", &path, &json!({})).await.0, 200);
    let (status, answer) = ask(&server, &plan["plan"], &json!(3)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("plan_changed")));
    // The number alone is not the plan.
    let (status, answer) = ask(&server, &plan["plan"], &json!(2)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("plan_changed")));
    let expected = json!({ "session": "s", "expected": 3 });
    assert_eq!(
        refused(&server, expected).await,
        (409, "plan_changed".to_owned())
    );
    let mut unknown = plan["plan"].clone();
    unknown["id"] = "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17".into();
    let unknown = json!({ "plan": unknown, "expected": 2 });
    assert_eq!(
        refused(&server, unknown).await,
        (409, "plan_expired".to_owned())
    );
    let both = json!({ "plan": plan["plan"], "session": "s" });
    assert_eq!(
        refused(&server, both).await,
        (400, "bad_request".to_owned())
    );
    assert_eq!(recorder.deliveries().len(), before);
    let (status, _) = api(
        &server,
        "POST",
        "/api/replay",
        &json!({ "session": "s", "expected": 2 }),
    )
    .await;
    assert_eq!(status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn what_is_on_its_way_does_not_change_a_plan() {
    let folder = Folder::new("plan-slow");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 3)]).await;
    let slow = message("s", 7, 7).bytes();
    let (begin, end) = slow.split_at(slow.len() - 5);
    let mut sender = TcpStream::connect(server.public_address()).await.unwrap();
    sender.write_all(begin).await.unwrap();
    // The next one was read after it: its head has its time.
    let next = message("s", 8, 8).send(server.public_address()).await;
    assert_eq!(next.status, 200);
    settled(&server).await;
    let plan = shown(&server, json!({ "session": "s" })).await;
    assert_eq!(plan["matched"], 4);
    sender.write_all(end).await.unwrap();
    let all = |listed: &Value| listed["events"].as_array().unwrap().len() == 5;
    let listed = until(&server, "/api/events", all).await;
    let times: Vec<&Value> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["received_at"])
        .collect();
    let before = plan["plan"]["to"].as_str().unwrap();
    assert!(times.iter().all(|at| at.as_str().unwrap() < before));
    let (status, answer) = ask(&server, &plan["plan"], &json!(4)).await;
    assert_eq!((status, &answer["replayed"]), (200, &json!(4)), "{answer}");
    server.stop().await;
}

#[actix_web::test]
async fn a_plan_notices_that_a_subscription_is_another() {
    let folder = Folder::new("plan-subscription");
    let server = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    let sent = message("s", 1, 1).send(server.public_address()).await;
    assert_eq!(sent.status, 200);
    let path = "/sessions/s/webhook";
    let url = |path: &str| format!("http://127.0.0.1:9/{path}");
    let body = json!({ "webhookUrl": url("old"), "events": ["unknown"] });
    let (status, answer) = api(&server, "POST", path, &body).await;
    assert_eq!(status, 201, "{answer}");
    for change in [
        json!({ "events": ["*"] }),
        json!({ "webhookUrl": url("new") }),
    ] {
        let plan = shown(&server, json!({})).await;
        let (status, answer) = api(&server, "PATCH", path, &change).await;
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = ask(&server, &plan["plan"], &plan["matched"]).await;
        assert_eq!((status, &answer["code"]), (409, &json!("plan_changed")));
    }
    server.stop().await;
}

#[actix_web::test]
async fn one_event_has_a_plan_and_nothing_is_beside_one() {
    let folder = Folder::new("plan-one");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 2)]).await;
    let listed = get(&server, "/api/events").await;
    let id = listed["events"][0]["id"].as_str().unwrap();
    let dry = json!({ "dry_run": true });
    let one = post(&server, &format!("/api/events/{id}/replay"), dry).await;
    assert_eq!((&one["matched"], &one["replayed"]), (&json!(1), &json!(0)));
    let again = json!({ "plan": one["plan"], "dry_run": true });
    assert_eq!(
        refused(&server, again).await,
        (400, "bad_request".to_owned())
    );
    let other = json!({ "dry_run": true, "expected": 9 });
    assert_eq!(
        refused(&server, other).await,
        (409, "plan_changed".to_owned())
    );
    // Whether it can be used is known before anything is looked up.
    let mut many = one["plan"].clone();
    many["ids"] = json!(vec![id; 101]);
    assert_eq!(
        refused(&server, json!({ "plan": many })).await,
        (400, "bad_request".to_owned())
    );
    many["id"] = id.into();
    assert_eq!(
        refused(&server, json!({ "plan": many })).await,
        (409, "plan_expired".to_owned())
    );
    let (status, answer) = ask(&server, &one["plan"], &json!(1)).await;
    assert_eq!((status, &answer["replayed"]), (200, &json!(1)), "{answer}");
    let replays = get(&server, "/api/replays").await;
    assert_eq!(replays["replays"][0]["ids"], 1);
    server.stop().await;
}

#[actix_web::test]
async fn events_can_be_named_one_by_one() {
    let folder = Folder::new("plan-ids");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 3)]).await;
    let listed = get(&server, "/api/events").await;
    let ids: Vec<&Value> = listed["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["id"])
        .collect();
    let plan = shown(&server, json!({ "ids": [ids[0], ids[2], ids[0]] })).await;
    assert_eq!(
        (&plan["matched"], &plan["conversations"]),
        (&json!(2), &json!(2))
    );
    let (status, answer) = ask(&server, &plan["plan"], &json!(2)).await;
    assert_eq!(
        (status, answer),
        (200, json!({ "matched": 2, "replayed": 2 }))
    );
    for odd in [
        json!({ "ids": [] }),
        json!({ "ids": vec![ids[0]; 101] }),
        json!({ "ids": [ids[0]], "session": "s" }),
        json!({ "ids": [ids[0]], "rate": 0 }),
    ] {
        assert_eq!(refused(&server, odd).await, (400, "bad_request".to_owned()));
    }
    let none = json!({ "ids": ["0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17"] });
    assert_eq!(refused(&server, none).await, (404, "not_found".to_owned()));
    server.stop().await;
}

/// Rejects everything.
struct Rejecting;

#[async_trait]
impl EventHandler for Rejecting {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        Err(HandlerError::reject("no such customer"))
    }
}

/// A server whose handlers want other sessions, and one of which gives up on everything.
async fn with_dead(folder: &Folder) -> Server {
    let server = keeping(folder, |offhook| {
        let own = HandlerOptions::default().sessions(["a"]);
        offhook
            .handler_with("all", Recorder::default(), patient())
            .handler_with("own", Recorder::default(), own)
            .handler_with(
                "rejecting",
                Rejecting,
                HandlerOptions::default().sessions(["b"]),
            )
    })
    .await;
    for (id, session) in ["a", "a", "b"].into_iter().enumerate() {
        let sent = message(session, 1, id).send(server.public_address()).await;
        assert_eq!(sent.status, 200);
    }
    let dead = |listed: &Value| listed["dead"].as_array().unwrap().len() == 1;
    until(&server, "/api/dead", dead).await;
    settled(&server).await;
    server
}

#[actix_web::test]
async fn a_preview_says_what_would_happen_to_whom() {
    let folder = Folder::new("plan-preview");
    let server = with_dead(&folder).await;
    let all = shown(&server, json!({ "rate": 2 })).await;
    let numbers = [
        "matched",
        "conversations",
        "done",
        "dead",
        "pending",
        "takes_s",
    ];
    let numbers = numbers.map(|key| all[key].as_u64().unwrap());
    assert_eq!(numbers, [3, 2, 2, 1, 0, 2], "{all}");
    assert_eq!(
        all["by_consumer"],
        json!([
            { "name": "handler:all", "would_get": 3 },
            { "name": "handler:own", "would_get": 2 },
            { "name": "handler:rejecting", "would_get": 1 },
        ])
    );
    let listed = get(&server, "/api/events").await;
    let events = listed["events"].as_array().unwrap();
    let bytes: u64 = events
        .iter()
        .map(|one| one["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(all["bytes"], bytes);
    assert_eq!(
        (&all["newest"], &all["oldest"]),
        (&events[0]["received_at"], &events[2]["received_at"])
    );
    let own = shown(
        &server,
        json!({ "consumer": "handler:own", "session": "b" }),
    )
    .await;
    assert_eq!(
        own["by_consumer"],
        json!([{ "name": "handler:own", "would_get": 0 }])
    );
    assert_eq!((&own["dead"], &own["takes_s"]), (&json!(0), &Value::Null));
    server.stop().await;
}

#[actix_web::test]
async fn dead_letters_are_counted_before_something_is_done() {
    let folder = Folder::new("plan-dead");
    let server = with_dead(&folder).await;
    let delete = async |body: Value| api(&server, "DELETE", "/api/dead", &body).await;
    let (status, counts) = delete(json!({ "dry_run": true })).await;
    let one = json!([{ "name": "handler:rejecting", "events": 1 }]);
    assert_eq!(
        (status, counts),
        (
            200,
            json!({ "matched": 1, "deleted": 0, "by_consumer": one })
        )
    );
    assert_eq!(delete(json!({})).await.0, 400);
    assert_eq!(
        delete(json!({ "expected": 2 })).await.1["code"],
        "plan_changed"
    );
    for none in [
        json!({ "session": "a" }),
        json!({ "before": "2020-01-01T00:00:00Z" }),
    ] {
        let mut none = none;
        none["expected"] = 0.into();
        assert_eq!(
            delete(none).await,
            (200, json!({ "matched": 0, "deleted": 0 }))
        );
    }
    let replay = async |body: Value| api(&server, "POST", "/api/dead/replay", &body).await;
    let (_, counts) = replay(json!({ "dry_run": true })).await;
    assert_eq!(
        (&counts["matched"], &counts["replayed"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        replay(json!({ "expected": 0 })).await.1["code"],
        "plan_changed"
    );
    assert_eq!(
        get(&server, "/api/dead").await["dead"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let listed = get(&server, "/api/dead").await;
    let id = &listed["dead"][0]["id"];
    let named = json!({ "ids": [id, id], "expected": 1, "dry_run": true });
    assert_eq!(replay(named).await.1["matched"], 1);
    assert_eq!(
        delete(json!({ "ids": [], "expected": 0 })).await.1["matched"],
        0
    );
    assert_eq!(
        delete(json!({ "ids": vec![id; 201], "expected": 1 }))
            .await
            .0,
        400
    );
    let (status, deleted) = delete(json!({ "session": "b", "expected": 1 })).await;
    assert_eq!(
        (status, deleted),
        (200, json!({ "matched": 1, "deleted": 1 }))
    );
    assert_eq!(get(&server, "/api/dead").await["dead"], json!([]));
    server.stop().await;
}

#[actix_web::test]
async fn everything_is_not_replayed_by_a_mistake() {
    let folder = Folder::new("plan-guard");
    let recorder = Recorder::default();
    let server = handled(&folder, &recorder, &[("s", 3)]).await;
    for odd in [json!({}), json!({ "rate": 5 }), json!({ "all": false })] {
        assert_eq!(refused(&server, odd).await, (400, "bad_request".to_owned()));
    }
    assert_eq!(recorder.deliveries().len(), 3);
    for chosen in [
        json!({ "all": true }),
        json!({ "expected": 3 }),
        json!({ "consumer": "handler:recorder" }),
    ] {
        assert_eq!(post(&server, "/api/replay", chosen).await["replayed"], 3);
    }
    server.stop().await;
}

#[actix_web::test]
async fn dead_letters_of_a_consumer_that_is_gone_stay() {
    let folder = Folder::new("plan-dead-gone");
    with_dead(&folder).await.stop().await;
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("failing", Rejecting, HandlerOptions::default())
    })
    .await;
    let sent = message("a", 1, 9).send(server.public_address()).await;
    assert_eq!(sent.status, 200);
    let both = |listed: &Value| listed["dead"].as_array().unwrap().len() == 2;
    until(&server, "/api/dead", both).await;
    let shown = post(&server, "/api/dead/replay", json!({ "dry_run": true })).await;
    assert_eq!(shown["matched"], 2);
    let left = &shown["left_out"][0];
    assert_eq!(
        (&left["consumer"], &left["events"]),
        (&json!("handler:rejecting"), &json!(1))
    );
    let page = async |path: &str| {
        let admin = server.admin_address().unwrap();
        TestRequest::get(path).send(admin).await.text()
    };
    let dead = page("/ui/dead").await;
    assert!(dead.contains("Replay 1 event to failing"), "{dead}");
    assert!(!dead.contains("Replay 1 event to rejecting"), "{dead}");
    let all = page("/ui/dead/all").await;
    assert!(all.contains("Replay 1 event to their consumers"), "{all}");
    assert!(
        all.contains("1 event cannot be replayed: there is no consumer"),
        "{all}"
    );
    let gone = page("/ui/dead/all?consumer=handler:rejecting").await;
    assert!(!gone.contains("Replay all"), "{gone}");
    // A replay of dead letters is not one of everything.
    assert_eq!(
        post(&server, "/api/dead/replay", json!({})).await["replayed"],
        1
    );
    let replays = get(&server, "/api/replays").await;
    assert_eq!(replays["replays"][0]["ids"], 1, "{replays}");
    server.stop().await;
}

/// They are read in parts.
#[actix_web::test]
async fn very_many_dead_letters_are_all_counted() {
    const MANY: usize = 1005;
    let folder = Folder::new("plan-dead-many");
    let server = keeping(&folder, |offhook| offhook.handler("failing", Rejecting)).await;
    for part in (0..MANY).collect::<Vec<_>>().chunks(50) {
        let sent = part.iter().map(async |id| {
            let message = message("s", *id, *id);
            assert_eq!(message.send(server.public_address()).await.status, 200);
        });
        join_all(sent).await;
    }
    settled(&server).await;
    let dry = json!({ "dry_run": true });
    bounded(async {
        while post(&server, "/api/dead/replay", dry.clone()).await["matched"] != MANY {}
    })
    .await;
    let delete = json!({ "expected": MANY });
    let (status, answer) = api(&server, "DELETE", "/api/dead", &delete).await;
    assert_eq!(
        (status, &answer["deleted"]),
        (200, &json!(MANY)),
        "{answer}"
    );
    server.stop().await;
}

#[actix_web::test]
async fn the_viewer_gets_no_plan() {
    let folder = Folder::new("plan-viewer");
    let server = keeping(&folder, |offhook| {
        offhook
            .handler("recorder", Recorder::default())
            .admin_token(secret("the-administrator"))
            .configure(|settings| {
                let admin = settings.admin.as_mut().unwrap();
                admin.viewer_token = Some(secret("the-viewer"));
                admin.show_bodies = ShowBodies::Viewer;
            })
    })
    .await;
    let to = server.admin_address().unwrap();
    let viewer = |request: TestRequest| request.header("Authorization", "Bearer the-viewer");
    for (path, body) in [
        ("/api/replay", json!({ "dry_run": true })),
        ("/api/dead/replay", json!({ "dry_run": true })),
    ] {
        let request = TestRequest::post(body.to_string())
            .path(path)
            .header("Content-Type", "application/json");
        assert_eq!(viewer(request).send(to).await.status, 403, "{path}");
    }
    for path in ["/ui/replay", "/ui/dead/all"] {
        assert_eq!(
            viewer(TestRequest::get(path)).send(to).await.status,
            403,
            "{path}"
        );
    }
    server.stop().await;
}
