//! A subscription is removed while an instance stands still: after the answer nothing is sent for it.

use std::time::Duration;

use futures_util::future::join;
use offhook::testing::TestRequest;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use super::administration::{HOOK, expect, subscribe};
use super::dispatch::{acknowledged, first_arrivals};
use super::{Cluster, client, subscription};
use crate::served::{Served, until};
use crate::subscriber::{Answer, Subscriber};

const CONVERSATIONS: usize = 12;

#[actix_web::test]
async fn an_instance_that_stood_still_sends_nothing_after_a_removal() {
    // It gets everything, so it shows when the other one would have got something.
    let witness = Subscriber::start([]).await;
    let more = format!("lease = \"4s\"\nshares = 4\n{}", subscription(&witness));
    let Some(cluster) = Cluster::new("removal", &more) else {
        return;
    };
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    until("divided", async || holds_shares(&b).await).await;
    let removed = Subscriber::start([]).await;
    subscribe(&a, &removed).await;
    let (release, held) = watch::channel(false);
    removed.answer(Answer::Held(held));
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a, &b], conversation, conversation, 0).await;
    }
    // Attempts of both instances are under way, and more wait behind them.
    removed.asked(CONVERSATIONS).await;
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a, &b], conversation, conversation, 1).await;
    }
    b.program.signal("STOP");
    let removal = || expect(&a, 200, "DELETE", HOOK, Value::Null);
    let repeated = async {
        sleep(Duration::from_millis(300)).await;
        // It finds nothing to remove, and promises the same.
        removal().await;
        let client = client(&cluster.url).await.unwrap();
        let living = format!("SELECT count(*) FROM {}.instance", cluster.schema);
        let living: i64 = client.query_one(&living, &[]).await.unwrap().get(0);
        assert_eq!(living, 1, "answered while the other one may go on");
    };
    join(removal(), repeated).await;
    // What had been sent before the answer is read.
    sleep(Duration::from_millis(100)).await;
    let count = removed.count();
    release.send_replace(true);
    b.program.signal("CONT");
    until("ready", async || b.is_ready().await).await;
    until("divided again", async || holds_shares(&b).await).await;
    for number in 2..4 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&[&a, &b], conversation + number, conversation, number).await;
        }
    }
    until("seen by the witness", async || {
        first_arrivals(&witness).len() == 4 * CONVERSATIONS
    })
    .await;
    assert_eq!(removed.count(), count);
    a.program.stop();
    b.program.stop();
}

/// Whether it dispatches a part; the housekeeper's share does not count.
async fn holds_shares(served: &Served) -> bool {
    let metrics = TestRequest::get("/metrics").send(served.admin).await.text();
    let mut lines = metrics.lines();
    let held = lines.find_map(|line| line.strip_prefix("offhook_shares_held "));
    held.is_some_and(|held| held.trim().parse::<u16>().unwrap() >= 2)
}
