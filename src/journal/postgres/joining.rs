//! How an instance becomes one of those that share the journal.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::division::Seen;
use super::options::PostgresError;
use super::schema::{claim_span, millis};
use super::session::Session;
use super::shared::Shared;
use super::sql::{number, signed};
use crate::journal::Unavailable;

/// Adds this instance. While dedup windows differ, waits until instances that were killed are seen dead.
pub(super) async fn join_at_start(
    shared: &Shared,
    session: &Session,
    id: Uuid,
) -> Result<(), PostgresError> {
    let mut joined = join(shared, session, id).await;
    if let Err(PostgresError::Windows(_)) = joined {
        let before = instances(session).await?;
        // None is dead before the longest lease of all has passed.
        let lease = before.iter().map(|one| one.lease).max();
        let lease = lease.unwrap_or_default().max(shared.options.lease);
        shared.clock.sleep(lease).await;
        let after = instances(session).await?;
        for Seen { id, beat, .. } in before.iter().filter(|one| after.contains(one)) {
            session.call(BURY, &[id, beat]).await.map_err(away)?;
        }
        joined = join(shared, session, id).await;
    }
    joined
}

pub(super) async fn join(
    shared: &Shared,
    session: &Session,
    id: Uuid,
) -> Result<(), PostgresError> {
    let options = &shared.options;
    let (window, unkeyed) = (millis(options.window), millis(options.window_unkeyed));
    let (version, beat) = (env!("CARGO_PKG_VERSION"), Uuid::now_v7());
    let span = claim_span(window.max(unkeyed));
    let lease = millis(options.lease);
    let applied = signed(shared.applied.load(Ordering::SeqCst));
    let values: [&(dyn ToSql + Sync); 10] = [
        &id,
        &options.instance,
        &version,
        &options.formats.0,
        &beat,
        &lease,
        &applied,
        &window,
        &unkeyed,
        &span,
    ];
    let rows = session.call(JOIN, &values).await.map_err(away)?;
    match rows[0].get::<_, Option<String>>(0) {
        Some(other) => Err(PostgresError::Windows(other)),
        None => Ok(()),
    }
}

async fn instances(session: &Session) -> Result<Vec<Seen>, PostgresError> {
    let rows = session
        .read("SELECT id, beat, lease FROM instance", &[])
        .await
        .map_err(away)?;
    let seen = rows.iter().map(|row| Seen {
        id: row.get(0),
        beat: row.get(1),
        lease: Duration::from_millis(number(row, 2)),
    });
    Ok(seen.collect())
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn away(why: Unavailable) -> PostgresError {
    PostgresError::Away(why.to_string())
}

pub(super) const BURY: &str = "SELECT bury_1($1, $2)";
const JOIN: &str = "SELECT join_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
