//! What several files with statements use.

use rusqlite::{Connection, Params};

/// Runs a statement, which is prepared once.
pub(super) fn execute(
    database: &Connection,
    sql: &str,
    values: impl Params,
) -> rusqlite::Result<()> {
    database.prepare_cached(sql)?.execute(values).map(drop)
}

/// SQLite's integers are signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
