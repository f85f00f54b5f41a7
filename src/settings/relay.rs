//! `[relay]`: the settings for every subscriber.

use std::collections::BTreeSet;

use super::kinds::{boolean, duration, parsed, whole};
use super::spot::{Keys as _, Spot, keys};
use crate::relay::{RelayOptions, RelaySettings};

keys!(RelayOptions {
    timeout: duration,
    allow_private: boolean,
    allow: |spot: &Spot<'_>| spot.each("[\"10.1.2.0/24\", \"localhost\"]", parsed),
    give_up_on: statuses,
});

keys!(RelaySettings {
    suspend_after: duration,
});

pub(super) fn fill(settings: &mut RelaySettings, table: &Spot<'_>) {
    settings.options.fill(table);
    settings.fill(table);
}

fn statuses(spot: &Spot<'_>) -> Option<BTreeSet<u16>> {
    let statuses = spot.each("[404, 422]", whole(300..=599))?;
    if statuses.contains(&410) {
        spot.note("has 410, which always ends the subscription");
    }
    Some(statuses.into_iter().collect())
}
