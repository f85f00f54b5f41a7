//! Documents of several instances: how far each has applied their changes, and those whose consumers come and go with them.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use super::link::Link;
use super::shared::Shared;
use super::sql::{number, signed};
use crate::journal::{AddError, Among, PutError, Unavailable, Version};

/// Waits until every living instance has applied this change, or the newest of now. One that is away is waited for until it is seen dead,
/// which takes less than two leases.
pub(super) async fn applied_by_all(
    shared: &Shared,
    version: Option<Version>,
) -> Result<(), Unavailable> {
    let version = match version {
        Some(version) => version,
        None => number(&shared.link.read(NEWEST, &[]).await?[0], 0),
    };
    let clock = &shared.clock;
    let until = clock.monotonic() + 3 * shared.longest_lease();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let rows = shared.link.read(WAITING, &[&signed(version)]).await?;
        let Some(name) = rows[0].get::<_, Option<String>>(0) else {
            return Ok(());
        };
        if clock.monotonic() > until {
            let why =
                format!("the instance {name} has not applied a change of subscriptions in time");
            return Err(Unavailable::Away(why));
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Adds a document, and has its consumer start at a head.
pub(super) async fn add(
    shared: &Shared,
    (key, among): (&str, Among),
    value: &[u8],
    (consumer, head): (&str, &[u8]),
) -> Result<Version, AddError> {
    let (key, consumer) = (key.as_bytes(), consumer.as_bytes());
    let (prefix, most) = (among.prefix.as_bytes(), signed(among.most as u64));
    let values: [&(dyn ToSql + Sync); 6] = [&key, &value, &consumer, &head, &prefix, &most];
    let rows = shared.link.call(ADD, &values).await;
    let rows = rows.map_err(PutError::Unavailable)?;
    let version = match rows[0].get::<_, Option<i64>>(0) {
        None => return Err(PutError::Conflict.into()),
        Some(version) => u64::try_from(version).map_err(|_| AddError::TooMany)?,
    };
    shared.heard_documents(version);
    Ok(version)
}

/// Removes a consumer's progress, unless there is such a document again.
pub(super) async fn forget_removed(
    link: &Link,
    consumer: &str,
    document: &str,
) -> Result<(), Unavailable> {
    let (consumer, document) = (consumer.as_bytes(), document.as_bytes());
    link.call(FORGET_REMOVED, &[&consumer, &document])
        .await
        .map(drop)
}

const NEWEST: &str = "SELECT documents FROM meta";

/// An instance that has not applied the change.
const WAITING: &str = "SELECT (SELECT name FROM instance WHERE documents < $1 ORDER BY id LIMIT 1)";
const ADD: &str = "SELECT add_document_2($1, $2, $3, $4, $5, $6)";
const FORGET_REMOVED: &str = "SELECT forget_removed_1($1, $2)";

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
