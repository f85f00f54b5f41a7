//! The page of one event: for whom it waits, and what is around it; and what a consumer's page offers.

use offhook::Server;
use offhook::testing::{Recorder, TestRequest};
use serde_json::{Value, json};

use crate::records::{api, get, keeping, post, settled, until};
use crate::replays::{message, patient};
use crate::subscriber::{Answer, Subscriber};
use crate::support::Folder;

async fn page(server: &Server, path: &str) -> String {
    let answer = TestRequest::get(path)
        .send(server.admin_address().unwrap())
        .await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

fn ids(listed: &Value) -> Vec<String> {
    let events = listed["events"].as_array().unwrap().iter();
    events
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

#[actix_web::test]
async fn a_pending_event_says_for_whom_it_waits() {
    let folder = Folder::new("event-waits");
    let server = keeping(&folder, |offhook| {
        offhook
            .handler("quick", Recorder::default())
            .handler("paused", Recorder::default())
    })
    .await;
    post(&server, "/api/consumers/handler:paused/pause", json!({})).await;
    for id in 0..3 {
        let sent = message("s", 1, id).send(server.public_address()).await;
        assert_eq!(sent.status, 200);
    }
    // A duplicate.
    assert_eq!(
        message("s", 1, 1)
            .send(server.public_address())
            .await
            .status,
        200
    );
    let listed = until(&server, "/api/events", |listed| ids(listed).len() == 4).await;
    let all = ids(&listed);
    let shown = page(&server, &format!("/ui/events/{}", all[2])).await;
    let waits = shown
        .split("Waits for")
        .nth(1)
        .unwrap()
        .split("</ul>")
        .next()
        .unwrap();
    assert!(
        waits.contains("paused gets nothing until it is resumed"),
        "{waits}"
    );
    assert!(!waits.contains("quick"), "{waits}");
    let again = shown
        .split("The same again")
        .nth(1)
        .unwrap()
        .split("</ul>")
        .next()
        .unwrap();
    assert!(
        again.contains(&all[0]) && again.contains("duplicate"),
        "{again}"
    );
    let around = shown.split("Around it").nth(1).unwrap();
    let places: Vec<_> = [3, 2, 1].map(|at| around.find(&all[at])).into();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{around}"
    );
    assert_eq!(around.matches("1: Hello!").count(), 3, "{around}");
    post(&server, "/api/consumers/handler:paused/resume", json!({})).await;
    settled(&server).await;
    let shown = page(&server, &format!("/ui/events/{}", all[2])).await;
    assert!(!shown.contains("Waits for"), "{shown}");
    server.stop().await;
}

#[actix_web::test]
async fn a_test_event_is_told_from_others() {
    let folder = Folder::new("event-test");
    let server = keeping(&folder, |offhook| {
        offhook.handler("all", Recorder::default())
    })
    .await;
    let test = post(&server, "/api/test", json!({})).await;
    let path = format!("/ui/events/{}", test["event"].as_str().unwrap());
    assert!(page(&server, &path).await.contains(">test</span>"));
    assert_eq!(
        message("s", 1, 1)
            .send(server.public_address())
            .await
            .status,
        200
    );
    settled(&server).await;
    let other = &ids(&get(&server, "/api/events").await)[0];
    assert!(
        !page(&server, &format!("/ui/events/{other}"))
            .await
            .contains(">test</span>")
    );
    server.stop().await;
}

/// After the subscriber is mended nobody has to wait for the next try.
#[actix_web::test]
async fn what_waits_for_a_retry_can_be_tried_now() {
    let folder = Folder::new("consumer-try-now");
    let subscriber = Subscriber::start([Answer::from(500)]).await;
    let mut options = offhook::relay::RelayOptions::default();
    options.allow_private = true;
    let relay = offhook::relay::Relay::new(&subscriber.url(), None, &options).unwrap();
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("crm", relay, patient())
    })
    .await;
    assert_eq!(
        message("s", 1, 1)
            .send(server.public_address())
            .await
            .status,
        200
    );
    let failing = |one: &Value| one["state"] == "failing";
    until(&server, "/api/consumers/handler:crm", failing).await;
    let shown = page(&server, "/ui/consumers/handler:crm").await;
    let button = shown.split("Hand 1 event to crm now").nth(1).unwrap();
    let call = button
        .split("data-call=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let call: Value = serde_json::from_str(&call.replace("&quot;", "\"")).unwrap();
    let (method, path) = (call[0].as_str().unwrap(), call[1].as_str().unwrap());
    let (status, answer) = api(&server, method, &format!("/{path}"), &call[2]).await;
    assert_eq!((status, &answer["replayed"]), (200, &json!(1)), "{answer}");
    let asked = subscriber.asked(2).await;
    assert_eq!(asked[1].header("offhook-attempt"), "1");
    settled(&server).await;
    let shown = page(&server, "/ui/consumers/handler:crm").await;
    assert!(!shown.contains("Try now"), "{shown}");
    server.stop().await;
}

/// An edit, as a reload, starts the consumer again; what it was failing of is still true.
#[actix_web::test]
async fn a_changed_subscription_still_says_why_it_fails() {
    let folder = Folder::new("consumer-still-failing");
    let subscriber =
        Subscriber::deciding(|_| Answer::Text(500, "no such customer".to_owned())).await;
    let server = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    let subscribe = json!({ "webhookUrl": subscriber.url(), "name": "crm" });
    let (status, _) = api(&server, "POST", "/sessions/s/webhook", &subscribe).await;
    assert_eq!(status, 201);
    let sent = message("s", 1, 1).send(server.public_address()).await;
    assert_eq!(sent.status, 200);
    let path = "/api/consumers/subscription:s:crm";
    let failed = |one: &Value| one["failures"][0]["attempt"] == 1;
    let before = until(&server, path, failed).await;
    // The setting of [relay], not what offhook adds to it.
    assert_eq!(before["options"]["timeout_s"], 10.0);
    let form = page(&server, "/ui/subscription?consumer=subscription:s:crm").await;
    assert_eq!(form.matches(" checked").count(), 0, "{form}");
    let change = json!({ "events": ["message", "status"] });
    let (status, _) = api(&server, "PATCH", "/sessions/s/webhook?name=crm", &change).await;
    assert_eq!(status, 200);
    let after = get(&server, path).await;
    assert_eq!(after["state"], "failing", "{after}");
    let reason = after["failing_reason"].as_str().unwrap();
    assert!(reason.contains("500 Internal Server Error"), "{after}");
    assert!(after["failures"][0].is_object(), "{after}");

    // Nothing is tried before it is resumed.
    until(&server, path, |one| one["failures"][0]["attempt"] == 2).await;
    let paused = post(&server, &format!("{path}/pause"), json!({})).await;
    assert_eq!(paused["state"], "paused");
    let held = |one: &Value| -> Vec<Value> {
        let lists = ["held_up", "sessions"].into_iter();
        lists.filter_map(|list| one[list].get(0).cloned()).collect()
    };
    let waits = |one: &Value| one["in_flight"] == 0 && !held(one).is_empty();
    let paused = until(&server, path, waits).await;
    assert!(
        held(&paused).iter().all(|one| one["next_at"].is_null()),
        "{paused}"
    );
    let shown = page(&server, "/ui/consumers/subscription:s:crm").await;
    assert!(!shown.contains("Try now"), "{shown}");
    server.stop().await;
}

#[actix_web::test]
async fn a_subscription_can_be_changed() {
    let folder = Folder::new("subscription-edit");
    let server = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    let subscribe = json!({ "webhookUrl": "http://127.0.0.1:1/a", "name": "crm", "events": ["status"], "secret": "hidden" });
    let (status, _) = api(&server, "POST", "/sessions/s/webhook", &subscribe).await;
    assert_eq!(status, 201);
    let form = page(&server, "/ui/subscription?consumer=subscription:s:crm").await;
    assert!(
        form.contains("data-method=\"PATCH\" data-path=\"sessions/s/webhook?name=crm\""),
        "{form}"
    );
    assert!(
        form.contains("value=\"http://127.0.0.1:1/a\"") && !form.contains("hidden"),
        "{form}"
    );
    assert_eq!(form.matches(" checked").count(), 1, "{form}");
    let change = json!({ "webhookUrl": "http://127.0.0.1:1/b", "events": ["message", "status"] });
    let (status, changed) = api(&server, "PATCH", "/sessions/s/webhook?name=crm", &change).await;
    assert_eq!(
        (status, &changed["webhook"]["hasSecret"]),
        (200, &json!(true))
    );
    let unknown = TestRequest::get("/ui/subscription?consumer=subscription:s:other");
    assert_eq!(
        unknown.send(server.admin_address().unwrap()).await.status,
        404
    );
    server.stop().await;
}
