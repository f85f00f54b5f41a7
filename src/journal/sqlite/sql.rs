//! What several files with statements use.

use std::ops::Deref;

use rusqlite::{Connection, Params};

/// Runs a statement, which is prepared once.
pub(super) fn execute(
    database: &Connection,
    sql: &str,
    values: impl Params,
) -> rusqlite::Result<()> {
    database.prepare_cached(sql)?.execute(values).map(drop)
}

/// A transaction. Unlike that of rusqlite it does not have SQLite read its statements again each time. It is rolled
/// back if it is dropped without a commit.
pub(super) struct Transaction<'a>(&'a Connection);

impl<'a> Transaction<'a> {
    pub(super) fn begin(database: &'a mut Connection) -> rusqlite::Result<Self> {
        execute(database, "BEGIN", [])?;
        Ok(Self(database))
    }

    pub(super) fn commit(self) -> rusqlite::Result<()> {
        execute(self.0, "COMMIT", [])
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // After some errors SQLite has ended it already. If this fails, so does the next transaction.
        if !self.0.is_autocommit() {
            let _ = execute(self.0, "ROLLBACK", []);
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

/// SQLite's integers are signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
