//! What is asked of one instance holds for all: subscriptions, pauses, replays, and what is shown.

use offhook::testing::TestRequest;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::dispatch::first_arrivals;
use super::{Cluster, message, subscription};
use crate::served::{Served, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{ask, run};

pub(super) const HOOK: &str = "/sessions/*/webhook";
const CONSUMER: &str = "/api/consumers/subscription:*:default";
const CONVERSATIONS: usize = 12;

/// Two instances, each of which holds half of the shares.
async fn pair(cluster: &Cluster) -> [Served; 2] {
    [cluster.start("a"), cluster.start("b")]
}

pub(super) async fn expect(
    instance: &Served,
    status: u16,
    method: &str,
    path: &str,
    body: Value,
) -> Value {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let (found, answer) = ask(instance.admin, method, path, body).await;
    assert_eq!(found, status, "{method} {path}: {answer}");
    answer
}

pub(super) async fn subscribe(instance: &Served, subscriber: &Subscriber) {
    let body = json!({ "webhookUrl": subscriber.url() });
    expect(instance, 201, "POST", HOOK, body).await;
}

/// Sends a message in each conversation, to one instance after the other.
async fn send(pair: &[Served; 2], number: usize) {
    for conversation in 0..CONVERSATIONS {
        let instance = &pair[(conversation + number) % 2];
        let answer = instance.try_send(&message(conversation, number)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
}

async fn lag(instance: &Served) -> u64 {
    let shown = expect(instance, 200, "GET", CONSUMER, Value::Null).await;
    shown["lag"].as_u64().unwrap_or_else(|| panic!("{shown}"))
}

/// The second instance begins with a subscription that the first one does not have.
#[actix_web::test]
async fn instances_that_run_different_settings_are_told() {
    let Some(mut cluster) = Cluster::new("settings", "lease = \"4s\"\nshares = 4\n") else {
        return;
    };
    let a = cluster.start("a");
    let warning = async |of: &Served| {
        let answer = expect(of, 200, "GET", "/api/consumers", Value::Null).await;
        answer["warning"].as_str().map(str::to_owned)
    };
    assert_eq!(warning(&a).await, None);
    let same = cluster.more.clone();
    cluster.more += &subscription(&Subscriber::start([]).await);
    let b = cluster.start("b");
    for instance in [&a, &b] {
        until("told", async || warning(instance).await.is_some()).await;
        let text = warning(instance).await.unwrap();
        assert!(
            text.contains("(a runs ") || text.contains(", a runs "),
            "{text}"
        );
    }
    let ran = run(&["consumers", "--admin", &format!("http://{}", a.admin)]);
    assert!(ran.said.contains("warning: "), "{ran:?}");
    // The other one may have logged it before it listened.
    a.program.logged("the instances run different settings");
    cluster.more = same;
    cluster.settings("b");
    expect(&b, 200, "POST", "/api/reload", json!({})).await;
    for instance in [&a, &b] {
        until("gone", async || warning(instance).await.is_none()).await;
    }
    a.program.stop();
    b.program.stop();
}

/// One instance is reloaded with settings that lack the subscription. The other one goes on with it where it is, also in
/// the shares that it gets later.
#[actix_web::test]
async fn a_subscription_that_one_instance_lacks_skips_nothing() {
    let Some(mut cluster) = Cluster::new("lacks", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let subscriber = Subscriber::start([]).await;
    let lacking = cluster.more.clone();
    cluster.more += &subscription(&subscriber);
    let pair = pair(&cluster).await;
    let (release, held) = watch::channel(false);
    subscriber.answer(Answer::Held(held));
    send(&pair, 0).await;
    subscriber.asked(CONVERSATIONS).await;
    cluster.more = lacking;
    cluster.settings("b");
    expect(&pair[1], 200, "POST", "/api/reload", json!({})).await;
    // They wait behind the others, and what was settled until then is saved after them.
    send(&pair, 1).await;
    subscriber.answer(200);
    release.send(true).unwrap();
    let [a, b] = pair;
    b.program.stop();
    until("all handled", async || {
        first_arrivals(&subscriber).len() == 2 * CONVERSATIONS
    })
    .await;
    a.program.stop();
}

#[actix_web::test]
async fn a_subscription_holds_for_all_instances() {
    let Some(cluster) = Cluster::new("subscription", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = pair(&cluster).await;
    let [a, b] = &pair;
    let first = Subscriber::start([]).await;
    subscribe(a, &first).await;
    let listed = expect(b, 200, "GET", HOOK, Value::Null).await;
    assert_eq!(
        listed["webhooks"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    send(&pair, 0).await;
    first.expect(CONVERSATIONS).await;

    // After the answer nothing goes to the old URL.
    let second = Subscriber::start([]).await;
    let body = json!({ "webhookUrl": second.url() });
    expect(b, 200, "PATCH", HOOK, body).await;
    send(&pair, 1).await;
    second.expect(CONVERSATIONS).await;
    first.expect(CONVERSATIONS).await;

    // Attempts run on both instances, and the removal breaks them off.
    let (_hold, held) = watch::channel(false);
    second.answer(Answer::Held(held));
    send(&pair, 2).await;
    second.asked(2 * CONVERSATIONS).await;
    expect(a, 200, "DELETE", HOOK, Value::Null).await;
    let asked = second.count();
    send(&pair, 3).await;
    let listed = expect(b, 200, "GET", HOOK, Value::Null).await;
    assert_eq!(
        listed["webhooks"].as_array().map(Vec::len),
        Some(0),
        "{listed}"
    );

    // One that comes again with its name starts from then.
    let third = Subscriber::start([]).await;
    subscribe(b, &third).await;
    send(&pair, 4).await;
    let third = third.expect(CONVERSATIONS).await;
    assert!(third.iter().all(|one| one.message_id().ends_with("-4")));
    assert_eq!(second.count(), asked);

    // The subscriber has ended it, wherever it was asked.
    expect(a, 200, "DELETE", HOOK, Value::Null).await;
    let gone = Subscriber::start([]).await;
    gone.answer(410);
    subscribe(a, &gone).await;
    send(&pair, 5).await;
    for instance in &pair {
        until("ended", async || {
            let listed = expect(instance, 200, "GET", HOOK, Value::Null).await;
            listed["webhooks"][0]["active"] == false
        })
        .await;
    }
    for instance in pair {
        instance.program.stop();
    }
}

/// The states of all events, as this instance lists them.
async fn states(instance: &Served) -> Vec<String> {
    let listed = expect(instance, 200, "GET", "/api/events?limit=100", Value::Null).await;
    let events = listed["events"].as_array().unwrap().iter();
    let states = events.map(|event| event["state"].as_str().unwrap().to_owned());
    states.collect()
}

#[actix_web::test]
async fn every_instance_lists_and_deletes_all_events() {
    let Some(cluster) = Cluster::new("events", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = pair(&cluster).await;
    let [a, _] = &pair;
    let subscriber = Subscriber::start([]).await;
    subscribe(a, &subscriber).await;
    send(&pair, 0).await;
    subscriber.expect(CONVERSATIONS).await;
    for instance in &pair {
        until("done", async || {
            states(instance).await == vec!["done"; CONVERSATIONS]
        })
        .await;
    }
    let listed = expect(a, 200, "GET", "/api/events?limit=100", Value::Null).await;
    let event = &listed["events"][0];
    let [id, session] = ["id", "session"].map(|key| event[key].as_str().unwrap());
    let (event, of_session) = (
        format!("/api/events/{id}"),
        format!("/api/events?session={session}"),
    );
    for instance in &pair {
        until("attempted", async || {
            let shown = expect(instance, 200, "GET", &event, Value::Null).await;
            let shown = shown.to_string();
            shown.matches("subscription:*:default").count() == 1
        })
        .await;
    }
    expect(a, 200, "DELETE", &event, Value::Null).await;
    for instance in &pair {
        until("deleted", async || {
            let body = ask(instance.admin, "GET", &format!("{event}/body"), "").await;
            body.0 == 410
        })
        .await;
        // Nothing of it is left in the index.
        until("erased", async || {
            let listed = expect(instance, 200, "GET", &of_session, Value::Null).await;
            listed["events"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
    }
    for instance in pair {
        instance.program.stop();
    }
}

/// The ids of all events, as this instance lists them.
async fn listed(instance: &Served) -> Vec<String> {
    let listed = expect(instance, 200, "GET", "/api/events?limit=100", Value::Null).await;
    let events = listed["events"].as_array().unwrap().iter();
    let ids = events.map(|event| event["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// They wait behind others on both instances, in memory.
#[actix_web::test]
async fn after_a_deletion_nothing_of_it_starts_anywhere() {
    let Some(cluster) = Cluster::new("deletion", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = pair(&cluster).await;
    let [a, _] = &pair;
    let subscriber = Subscriber::start([]).await;
    subscribe(a, &subscriber).await;
    let (release, held) = watch::channel(false);
    subscriber.answer(Answer::Held(held));
    send(&pair, 0).await;
    subscriber.asked(CONVERSATIONS).await;
    until("listed", async || listed(a).await.len() == CONVERSATIONS).await;
    let first = listed(a).await;
    send(&pair, 1).await;
    until("listed", async || {
        listed(a).await.len() == 2 * CONVERSATIONS
    })
    .await;
    let second = listed(a).await.into_iter();
    for id in second.filter(|id| !first.contains(id)) {
        let path = format!("/api/events/{id}");
        expect(a, 200, "DELETE", &path, Value::Null).await;
    }
    release.send(true).unwrap();
    subscriber.answer(200);
    send(&pair, 2).await;
    subscriber.asked(2 * CONVERSATIONS).await;
    until("settled", async || lag(a).await == 0).await;
    let ids = subscriber.ids();
    assert!(!ids.iter().any(|id| id.ends_with("-1")), "{ids:?}");
    for instance in pair {
        instance.program.stop();
    }
}

#[actix_web::test]
async fn a_pause_and_a_replay_reach_all_instances() {
    let Some(cluster) = Cluster::new("pause", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = pair(&cluster).await;
    let [a, b] = &pair;
    let subscriber = Subscriber::start([]).await;
    subscribe(a, &subscriber).await;
    send(&pair, 0).await;
    subscriber.expect(CONVERSATIONS).await;

    let paused = expect(a, 200, "POST", &format!("{CONSUMER}/pause"), Value::Null).await;
    assert_eq!(paused["state"], "paused");
    send(&pair, 1).await;
    for instance in &pair {
        let shown = expect(instance, 200, "GET", CONSUMER, Value::Null).await;
        assert_eq!(shown["state"], "paused", "{shown}");
        until("counted", async || {
            lag(instance).await == CONVERSATIONS as u64
        })
        .await;
    }
    subscriber.expect(CONVERSATIONS).await;
    expect(b, 200, "POST", &format!("{CONSUMER}/resume"), Value::Null).await;
    subscriber.expect(2 * CONVERSATIONS).await;

    // Both instances hand over their part again.
    for instance in &pair {
        until("settled", async || lag(instance).await == 0).await;
    }
    let body = json!({ "consumer": "subscription:*:default", "event": "message" });
    let replayed = expect(a, 200, "POST", "/api/replay", body).await;
    assert_eq!(replayed["matched"], 2 * CONVERSATIONS, "{replayed}");
    subscriber.expect(4 * CONVERSATIONS).await;

    for instance in &pair {
        let metrics = TestRequest::get("/metrics").send(instance.admin).await;
        let metrics = metrics.text();
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            let value = line.map(|value| value.trim().parse::<u64>().unwrap());
            value.unwrap_or_else(|| panic!("{name} is not in {metrics}"))
        };
        // Each has taken half of the messages.
        assert!(value("offhook_append_lock_seconds_count ") >= CONVERSATIONS as u64);
        assert_eq!(value("offhook_tail_behind "), 0);
    }
    for instance in pair {
        instance.program.stop();
    }
}
