//! Looks after the partitions of dedup keys.

use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
use super::shared::Shared;

/// Makes the partitions of dedup keys to come, and drops the old ones. That may take long, so nothing else uses its
/// connection, which is there only meanwhile.
pub(super) async fn tend(shared: Arc<Shared>, link: Link) {
    loop {
        let tended = link.call(TEND, &[&shared.times.now()]).await;
        link.end().await;
        if let Err(why) = tended {
            log::info!(
                "journal: partitions of dedup keys cannot be made now, that is tried again: {why}"
            );
        }
        shared.clock.sleep(TEND_PAUSE).await;
    }
}

const TEND: &str = "SELECT tend_claims_1($1)";

/// How often partitions of dedup keys are looked after. A bucket lasts a minute at least, and two are made ahead.
const TEND_PAUSE: Duration = Duration::from_secs(60);
