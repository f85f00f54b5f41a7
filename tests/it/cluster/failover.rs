//! A fail-over to a standby that lacks the newest events: the server says what is lost, and goes on by itself.

use offhook::testing::TestRequest;
use serde_json::Value;

use super::dispatch::{acknowledged, first_arrivals};
use super::{Cluster, Database, id, subscription};
use crate::served::{Served, until};
use crate::subscriber::Subscriber;

#[actix_web::test]
async fn what_a_fail_over_has_lost_is_told() {
    let Some(primary) = Database::start() else {
        return;
    };
    let standby = primary.standby();
    let subscriber = Subscriber::start([]).await;
    let more = format!("lease = \"4s\"\nshares = 2\n{}", subscription(&subscriber));
    let mut cluster = Cluster::on(&primary, "failover", &more);
    let (first, second) = (primary.port(), standby.port());
    cluster.url = format!("postgresql://offhook@127.0.0.1:{first},127.0.0.1:{second}/postgres");
    let a = cluster.start("a");
    for number in 0..3 {
        acknowledged(&[&a], 0, 0, number).await;
    }
    subscriber.asked(3).await;
    let schema = &cluster.schema;
    until("replicated", async || newest(&standby, schema).await == 3).await;
    standby.kill();
    for number in 3..5 {
        acknowledged(&[&a], 0, 0, number).await;
    }
    subscriber.asked(5).await;
    primary.kill();
    standby.run();
    standby.promote();

    a.program
        .logged("the events 4 to 5 that were acknowledged are not there any more");
    acknowledged(&[&a], 0, 0, 5).await;
    until("handled", async || {
        let arrived = first_arrivals(&subscriber);
        arrived.iter().any(|one| *one == id(0, 5))
    })
    .await;
    until("counted", async || {
        let metrics = TestRequest::get("/metrics").send(a.admin).await;
        let text = String::from_utf8_lossy(&metrics.body).into_owned();
        text.contains("\noffhook_journal_lost_total 2\n")
    })
    .await;
    // Nothing of the lost events stays in the index.
    until("indexed", async || indexed(&a).await == 4).await;
    a.program.stop();
}

/// The newest body that the standby has.
async fn newest(standby: &Database, schema: &str) -> i64 {
    let (client, connection) = tokio_postgres::connect(&standby.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    actix_web::rt::spawn(connection);
    let sql = format!("SELECT coalesce(max(last), 0) FROM {schema}.block");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// How many events a search finds.
async fn indexed(served: &Served) -> usize {
    let answer = TestRequest::get("/api/events").send(served.admin).await;
    let found: Value = serde_json::from_slice(&answer.body).unwrap();
    found["events"].as_array().map_or(0, Vec::len)
}
