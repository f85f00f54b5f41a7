//! The database is away under load: senders are told to come again, and everything goes on without a restart.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestEvent;
use tokio::time::sleep;

use super::load::{Arrivals, Load};
use super::{Cluster, Database, blocking, subscription};
use crate::served::until;
use crate::support::{KEY, secret};

#[actix_web::test]
async fn a_database_that_is_away_costs_no_event() {
    let Some(database) = blocking(Database::start).await else {
        return;
    };
    let database = Arc::new(database);
    let arrivals = Arrivals::default();
    let subscriber = arrivals.subscriber().await;
    let more = format!("lease = \"4s\"\nshares = 6\n{}", subscription(&subscriber));
    let cluster = Cluster::on(&database, "away", &more);
    let instances = ["a", "b", "c"].map(|name| cluster.start(name));
    let load = Rc::new(Load::new(0, instances.len()));
    let addresses = instances.iter().map(|served| Some(served.public));
    *load.instances.borrow_mut() = addresses.collect();

    let outage = async {
        load.goes_on().await;
        let killed = Arc::clone(&database);
        blocking(move || killed.kill()).await;
        let began = SystemClock.monotonic();
        // Answers that were under way.
        sleep(Duration::from_secs(1)).await;
        let before = load.ledger.borrow().acknowledged.len();
        while SystemClock.monotonic() - began < AWAY {
            for served in &instances {
                // It is refused, so it must not be stored: the load has not sent it.
                let probe = TestEvent::message("+1", "Probe")
                    .session("probe")
                    .id("never-0");
                let answer = served.try_send(&probe.sign(&secret(KEY))).await.unwrap();
                assert_eq!(answer.status, 503, "{answer:?}");
                assert_eq!(answer.header("retry-after"), Some("2"), "{answer:?}");
                assert!(!served.is_ready().await);
            }
            sleep(Duration::from_millis(500)).await;
        }
        assert_eq!(load.ledger.borrow().acknowledged.len(), before);
        let started = Arc::clone(&database);
        blocking(move || started.run()).await;
        let back = SystemClock.monotonic();
        for served in &instances {
            until("ready", async || served.is_ready().await).await;
        }
        load.goes_on().await;
        eprintln!("goes on after {:.1?}", SystemClock.monotonic() - back);
        load.end();
    };
    join(load.run(), outage).await;
    let url = database.url();
    let verdict = load.verdict(&url, &cluster.schema, &arrivals).await;
    let unavailable = load.ledger.borrow().unavailable;
    eprintln!(
        "away for {AWAY:.0?}: {}; {unavailable} answers 503",
        verdict.told()
    );
    let wrong = verdict.wrong();
    assert!(wrong.is_empty(), "{wrong:?}");
    for served in instances {
        served.program.stop();
    }
}

const AWAY: Duration = Duration::from_secs(20);
