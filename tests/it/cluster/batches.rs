//! A body with events of several sessions, which are of several shares: each event is handled once, by the instance
//! that holds its share, wherever the body came in.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Cluster, subscription};
use crate::batches::{META, meta, parts_of};
use crate::served::{Served, until};
use crate::subscriber::{Asked, Subscriber};
use crate::support::signed;

const SESSIONS: usize = 12;

/// The events with these numbers, each of another session.
fn body(numbers: impl IntoIterator<Item = usize>) -> String {
    let events: Vec<_> = numbers
        .into_iter()
        .map(|number| (format!("S{}", number % SESSIONS), format!("m{number}")))
        .collect();
    let events = events
        .iter()
        .map(|(session, id)| (&**session, &**id, false));
    meta(&events.collect::<Vec<_>>())
}

async fn send(to: &Served, body: String) -> bool {
    let answer = to.try_send(&signed(body).path("/meta")).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("offhook-duplicate").is_some()
}

/// The events that requests have named, with how often each was.
fn named(asked: &[Asked]) -> BTreeMap<(String, String), usize> {
    let mut named = BTreeMap::new();
    for asked in asked {
        let all = parts_of(&serde_json::from_slice(&asked.body).unwrap());
        let meant: Vec<usize> = match asked.header("offhook-parts") {
            "" => (1..=all.len()).collect(),
            parts => parts.split(',').map(|part| part.parse().unwrap()).collect(),
        };
        for part in meant {
            *named.entry(all[part - 1].clone()).or_default() += 1;
        }
    }
    named
}

#[actix_web::test]
async fn each_event_of_a_batch_is_handled_by_its_share() {
    let subscriber = Subscriber::start([]).await;
    let handler = "[[handlers]]\nname = \"kept\"\nuse = \"jsonl\"\npath = \"handled.jsonl\"\n";
    let more = format!(
        "lease = \"4s\"\nshares = 6\n{META}{handler}{}",
        subscription(&subscriber)
    );
    let Some(cluster) = Cluster::new("batches", &more) else {
        return;
    };
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    assert!(!send(&a, body(0..SESSIONS)).await);
    // Batched again at the other instance: partly a duplicate, then wholly.
    assert!(!send(&b, body((6..SESSIONS + 6).rev())).await);
    assert!(send(&a, body([17, 3, 9])).await);
    let wanted = SESSIONS + 6;
    until("all sent", async || {
        named(&subscriber.requests()).len() == wanted
    })
    .await;

    // The lines of both instances: a part for each event, with its own session.
    let lines = || {
        let mut lines: Vec<Value> = Vec::new();
        for instance in ["a", "b"] {
            let file = cluster.settings(instance).0.join("handled.jsonl");
            let text = std::fs::read_to_string(file).unwrap_or_default();
            lines.extend(
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok()),
            );
        }
        lines
    };
    until("all handled", async || lines().len() >= wanted).await;
    a.program.stop();
    b.program.stop();
    let requests = subscriber.requests();
    let named = named(&requests);
    assert!(named.values().all(|times| *times == 1), "{named:?}");
    let ids: std::collections::BTreeSet<_> = { requests.iter() }
        .map(|asked| asked.header("webhook-id"))
        .collect();
    assert_eq!(ids.len(), 2);
    // Twelve sessions are not all of one share.
    assert!((3..=12).contains(&requests.len()), "{}", requests.len());
    let mut handled = BTreeMap::new();
    for line in lines() {
        let id = line["id"].as_str().unwrap();
        let part: usize = id
            .split_once('.')
            .map_or(1, |(_, part)| part.parse().unwrap());
        let of = parts_of(&line["body"]).swap_remove(part - 1);
        assert_eq!(line["session"], *of.0, "{line}");
        *handled.entry(of).or_insert(0) += 1;
    }
    assert_eq!(handled, named);
}
