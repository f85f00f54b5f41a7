//! Conversions between the journal's numbers and those of the database.

use tokio_postgres::Row;

/// A number as the database has it. Numbers of bodies have 48 bits; a larger one counts as the largest.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The number in a column; it is never negative.
pub(super) fn number(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}
