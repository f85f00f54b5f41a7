//! An instance that stands still, and a database that is away.

use super::dispatch::{acknowledged, first_arrivals, in_order};
use super::{Cluster, Database, message, subscription};
use crate::served::until;
use crate::subscriber::Subscriber;

const CONVERSATIONS: usize = 12;

/// Others take its shares. When it goes on, it may repeat what it had begun, and nothing comes out of order.
#[actix_web::test]
async fn an_instance_that_stood_still_reorders_nothing() {
    let subscriber = Subscriber::start([]).await;
    let more = format!("lease = \"4s\"\nshares = 6\n{}", subscription(&subscriber));
    let Some(cluster) = Cluster::new("still", &more) else {
        return;
    };
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a, &b], conversation, conversation, 0).await;
    }
    subscriber.asked(CONVERSATIONS).await;
    a.program.signal("STOP");
    for number in 1..4 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&[&b], 0, conversation, number).await;
        }
    }
    let arrived = async |count| {
        until("handled", async || {
            first_arrivals(&subscriber).len() == count * CONVERSATIONS
        })
        .await;
    };
    arrived(4).await;
    a.program.signal("CONT");
    for number in 4..8 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&[&a, &b], conversation + number, conversation, number).await;
        }
    }
    arrived(8).await;
    in_order(&first_arrivals(&subscriber));
    until("ready", async || a.is_ready().await).await;
    a.program.stop();
    b.program.stop();
}

/// Senders are told to come again, and everything goes on without a restart of offhook.
#[actix_web::test]
async fn everything_goes_on_after_a_restart_of_the_database() {
    let Some(database) = Database::start() else {
        return;
    };
    let subscriber = Subscriber::start([]).await;
    let more = format!("lease = \"4s\"\nshares = 2\n{}", subscription(&subscriber));
    let cluster = Cluster::on(&database, "restart", &more);
    let a = cluster.start("a");
    for conversation in 0..CONVERSATIONS {
        acknowledged(&[&a], 0, conversation, 0).await;
    }
    subscriber.asked(CONVERSATIONS).await;
    database.kill();
    let answer = a.try_send(&message(0, 1)).await.unwrap();
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    assert!(!a.is_ready().await);
    // Longer than four fifths of a lease.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    database.run();
    for number in 1..4 {
        for conversation in 0..CONVERSATIONS {
            acknowledged(&[&a], 0, conversation, number).await;
        }
    }
    until("handled", async || {
        first_arrivals(&subscriber).len() == 4 * CONVERSATIONS
    })
    .await;
    in_order(&first_arrivals(&subscriber));
    a.program.stop();
}
