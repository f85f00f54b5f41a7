//! Events are taken by any instance, and handled by one: in order, once while all live, and all of them when one
//! was killed.

use std::collections::{BTreeMap, BTreeSet};

use offhook::testing::TestRequest;

use super::{Cluster, id, message, subscription};
use crate::served::{Served, until};
use crate::subscriber::Subscriber;

/// What came first of each message, in order of arrival.
pub(super) fn first_arrivals(subscriber: &Subscriber) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let ids = subscriber.ids().into_iter();
    ids.filter(|id| seen.insert(id.clone())).collect()
}

/// That the messages of each conversation came in the order of their numbers.
pub(super) fn in_order(arrived: &[String]) {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for id in arrived {
        let (conversation, number) = id.split_once('-').unwrap();
        let number: usize = number.parse().unwrap();
        let expected = newest.entry(conversation).or_default();
        assert_eq!(number, *expected, "{id} in {arrived:?}");
        *expected += 1;
    }
}

/// Sends the message to one after the other, beginning with `first`, until it is acknowledged.
pub(super) async fn acknowledged(
    instances: &[&Served],
    first: usize,
    conversation: usize,
    number: usize,
) {
    let mut turn = first;
    until("acknowledged", async || {
        let instance = instances[turn % instances.len()];
        turn += 1;
        let answer = instance.try_send(&message(conversation, number)).await;
        answer.is_some_and(|answer| answer.status == 200)
    })
    .await;
}

/// With the housekeeper's, if it has that one.
async fn shares_held(instance: &Served) -> usize {
    let metrics = TestRequest::get("/metrics").send(instance.admin).await;
    let metrics = metrics.text();
    let mut lines = metrics.lines();
    let held = lines.find_map(|line| line.strip_prefix("offhook_shares_held "));
    held.map_or(0, |held| held.parse().unwrap())
}

const CONVERSATIONS: usize = 24;

#[actix_web::test]
async fn all_is_handled_when_one_of_three_is_killed() {
    let subscriber = Subscriber::start([]).await;
    let more = format!("lease = \"4s\"\nshares = 6\n{}", subscription(&subscriber));
    let Some(cluster) = Cluster::new("killed", &more) else {
        return;
    };
    let (a, b, c) = (cluster.start("a"), cluster.start("b"), cluster.start("c"));
    let all = [&a, &b, &c];
    // Who holds none would leave nothing to be taken.
    until("b holds shares", async || shares_held(&b).await >= 2).await;
    for number in 0..4 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&all, conversation + number, conversation, number).await;
        }
    }
    // A sender that repeats itself elsewhere is told so.
    for conversation in 0..CONVERSATIONS {
        let other = all[(conversation + 1) % 3];
        let answer = other.try_send(&message(conversation, 0)).await.unwrap();
        assert_eq!(answer.header("offhook-duplicate"), Some("true"));
    }
    let before = subscriber.expect(4 * CONVERSATIONS).await.len();
    in_order(&subscriber.ids());

    // What is with the subscriber when it dies is not saved.
    b.program.kill();
    let left = [&a, &c];
    for number in 4..8 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&left, conversation + number, conversation, number).await;
        }
    }
    let arrived = async || first_arrivals(&subscriber).len() == 8 * CONVERSATIONS;
    until("all handled", arrived).await;
    in_order(&first_arrivals(&subscriber));
    // Only what the killed one had not saved comes again.
    let ids = subscriber.ids();
    let again: Vec<_> = ids[before..]
        .iter()
        .filter(|one| ids[..before].contains(one))
        .collect();
    assert!(again.len() < before / 2, "{again:?}");
    let said = [a, c].map(|left| {
        left.program.signal("TERM");
        left.program.all_logged()
    });
    let vanished = |said: &String| said.contains("the instance b has vanished");
    assert!(said.iter().any(vanished), "{said:?}");
}

/// With a lease of a minute, only what is given back goes on in time.
#[actix_web::test]
async fn a_stop_repeats_nothing_and_loses_no_time() {
    let subscriber = Subscriber::start([]).await;
    let more = format!("lease = \"60s\"\nshares = 4\n{}", subscription(&subscriber));
    let Some(cluster) = Cluster::new("stopped", &more) else {
        return;
    };
    let a = cluster.start("a");
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a], 0, conversation, 0).await;
    }
    subscriber.expect(CONVERSATIONS).await;
    let b = cluster.start("b");
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a, &b], conversation, conversation, 1).await;
    }
    // The subscriber does not answer while the test waits for the end.
    subscriber.asked(2 * CONVERSATIONS).await;
    until("answered", async || subscriber.open() == 0).await;
    a.program.stop();
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&b], 0, conversation, 2).await;
    }
    subscriber.asked(3 * CONVERSATIONS).await;
    b.program.stop();
    let ids = subscriber.ids();
    assert_eq!(ids.len(), 3 * CONVERSATIONS, "{ids:?}");
    assert!(ids.contains(&id(0, 2)));
    in_order(&ids);
}
