//! What one instance does for all: it looks after the partitions of dedup keys, and removes old notes.

use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
use super::shared::Shared;
use crate::journal::Unavailable;

/// Does it while this instance holds the housekeeper's share. It may take long, so nothing else uses its connection,
/// which is there only meanwhile.
pub(super) async fn tend(shared: Arc<Shared>, link: Link) {
    let mut held = shared.grants.held.subscribe();
    let housekeeping = shared.shares();
    loop {
        let keeps = held.wait_for(|held| held.contains_key(&housekeeping));
        if keeps.await.is_err() {
            return;
        }
        for work in WORK {
            // One that fails holds up no other.
            if let Err(why) = call(&shared, &link, work).await {
                log::info!(
                    "journal: dedup keys cannot be looked after now, that is tried again: {why}"
                );
            }
        }
        link.end().await;
        shared.clock.sleep(TEND_PAUSE).await;
    }
}

async fn call(shared: &Shared, link: &Link, work: &'static str) -> Result<(), Unavailable> {
    let session = link.session().await?;
    // It ends when nobody waits for it any more.
    let limited = session.run("SET statement_timeout TO '30s'").await;
    limited.map_err(Unavailable::Away)?;
    session.call(work, &[&shared.times.now()]).await.map(drop)
}

const WORK: [&str; 4] = [
    "SELECT make_claims_1($1)",
    "SELECT drop_claims_2($1)",
    "SELECT sweep_claims_2($1)",
    "DELETE FROM note WHERE at < now_1($1) - 24 * 3600 * 1000",
];

/// A bucket lasts a minute at least, and two are made ahead.
const TEND_PAUSE: Duration = Duration::from_secs(60);
