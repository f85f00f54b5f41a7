//! Gives up what this instance holds when its lease has passed.

use std::sync::Arc;
use std::time::Duration;

use super::shared::Shared;

/// Gives up all shares soon after the lease has passed. Pauses leave time out in which the machine is suspended, so this
/// looks often.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut was_valid = true;
    loop {
        shared.clock.sleep(PAUSE).await;
        let is_valid = shared.is_lease_valid();
        if was_valid && !is_valid {
            shared.grants.clear();
            shared.grants.look.notify_one();
        }
        was_valid = is_valid;
    }
}

const PAUSE: Duration = Duration::from_millis(250);
