//! The partitions of dedup keys: which instance looks after them, and what that waits for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::joining::{asks, run};
use super::leases::long;
use super::logs::tend;
use super::{HANG, open, open_at, options, server};
use crate::Timestamp;
use crate::clock::{Clock, FakeClock};
use crate::journal::Log as _;
use crate::journal::contract::{body, duplicate, entry, new};

/// The first instance makes them with the schema. Then the holder of the housekeeper's share does, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn one_instance_looks_after_the_keys() {
    const COUNT: &str = "SELECT count(*) FROM buckets_1()";
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let journal = open(&options).await;
    let made = asks(&journal, COUNT).await;
    assert!(made >= 5, "{made}");
    let drop = "DO $$ DECLARE one name; BEGIN FOR one IN SELECT name FROM buckets_1() LOOP \
                EXECUTE format('DROP TABLE %I', one); END LOOP; END $$";
    run(&journal, drop).await;
    let other = open(&options).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asks(&other, COUNT).await, 0);
    let _held = journal.held();
    let again = async {
        while asks(&journal, COUNT).await < made {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, again).await.expect("they are made again");
}

/// A dump that runs for long holds up no append. What it would hold up fails without waiting, and is done later.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_holds_up_no_append() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let hour = Duration::from_secs(3600);
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    let clock = Arc::new(FakeClock::new(start));
    let times: Arc<dyn Clock> = clock.clone();
    let options = options(server).windows(8 * hour, hour / 60);
    let journal = open_at(options.clone(), &times).await;
    let other = open_at(options, &times).await;
    let dump = other.shared.link.session().await.unwrap();
    dump.run("BEGIN; LOCK TABLE claim IN ACCESS SHARE MODE")
        .await
        .unwrap();
    clock.advance(100 * hour);
    let now = Some(clock.now().as_millisecond());
    for work in ["SELECT make_claims_1($1)", "SELECT drop_claims_2($1)"] {
        let refused = journal.shared.link.call(work, &[&now]).await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("could not obtain lock"), "{told}");
    }
    let keyed = || entry(body("keyed"), 1, 8 * hour);
    assert_eq!(new(&journal, keyed()).await, 1);
    let unkept = "SELECT count(*) FROM claim_default";
    assert_eq!(asks(&journal, unkept).await, 1);
    dump.run("COMMIT").await.unwrap();
    assert!(tend(&journal, &clock).await > 0);
    assert_eq!(asks(&journal, unkept).await, 0);
    assert_eq!(journal.append(keyed()).await, Ok(duplicate(1)));
}
