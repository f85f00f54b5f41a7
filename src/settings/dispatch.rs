//! `[dispatch]`, and the keys of it that each handler and subscription can set.

use std::collections::BTreeSet;

use super::kinds::{duration, number, one_of, some, whole};
use super::spot::{Keys as _, Spot, keys};
use crate::EventKind;
use crate::dispatch::{HandlerOptions, Order, Retry};

keys!(HandlerOptions {
    order: some(one_of(&Order::ALL)),
    timeout: some(duration),
    concurrency: some(whole(1..=100_000)),
    retry: some(retry),
});

keys!(Retry {
    first: duration,
    factor: number(1.0..=100.0),
    max: duration,
    attempts: whole(1..=1_000_000),
    jitter: number(0.0..=1.0),
});

/// `retry = { first = "1s", factor = 2.0, max = "5m", attempts = 12, jitter = 0.2 }`
fn retry(spot: &Spot<'_>) -> Option<Retry> {
    let mut retry = Retry::default();
    spot.table(|table| retry.fill(table))?;
    Some(retry)
}

/// Reads these keys of a table. Keys that are absent leave `options` unchanged.
pub(super) fn fill(options: &mut HandlerOptions, table: &Spot<'_>) {
    options.fill(table);
    // `dead-letter` is the only action after the last attempt. The key may name it.
    table.read("on_exhausted", one_of(&[("dead-letter", ())]));
    let monotonic = table.read("status", one_of(&[("all", false), ("monotonic", true)]));
    options.monotonic = monotonic.or(options.monotonic);
}

/// Reads kinds of events out of those that are allowed; `None` means all received kinds. The kinds that
/// offhook makes itself must be named, even beside `*`.
pub(super) fn events(
    allowed: &[EventKind],
) -> impl Fn(&Spot<'_>) -> Option<Option<BTreeSet<EventKind>>> {
    let names = allowed.iter().map(|kind| (kind.as_str(), Some(*kind)));
    let names: Vec<_> = names.chain([("*", None)]).collect();
    move |spot| {
        let named = spot.each("[\"message\", \"status\"]", one_of(&names))?;
        if named.is_empty() {
            spot.note("is empty; leave it out for all events");
        }
        let all = named.contains(&None);
        let mut kinds: BTreeSet<EventKind> = named.into_iter().flatten().collect();
        if all && kinds.iter().any(|kind| kind.is_own()) {
            kinds.extend(EventKind::RECEIVED);
        } else if all {
            return Some(None);
        }
        Some(Some(kinds))
    }
}
