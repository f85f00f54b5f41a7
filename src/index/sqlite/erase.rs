//! Erases what the index knows of deleted bodies: everything but ids and times. The index follows the deletions
//! of the journal by their numbers, so that after a crash it goes on where it was.
//!
//! What a deleted event leaves in the database is overwritten (`secure_delete`). SQLite may have moved rows
//! between pages before, so after deletions the database is written again when it is closed.

use std::sync::Arc;

use roaring::RoaringTreemap;
use rusqlite::{Connection, params};

use super::attempts::{self, Attempt, PARTS, first_blob};
use super::schema::{self, Result, State, read_blob};
use super::segment::{self, OpenSegment, Segment};
use super::sums::{Kind, seal_blob};
use super::writer::{IndexWriter, insert_segment, lock};
use crate::index::EventEntry;
use crate::journal::Deletion;

impl IndexWriter {
    /// Erases what the index knows of these bodies.
    pub(super) fn erase(&mut self, deletions: &[Deletion]) -> Result<()> {
        let Some(last) = deletions.last() else {
            return Ok(());
        };
        self.erased
            .bodies
            .extend(deletions.iter().map(|deletion| deletion.seq));
        let (known, done) = (last.number, self.state.erased);
        let new = deletions.iter().filter(|deletion| deletion.number > done);
        let new: RoaringTreemap = new.map(|deletion| deletion.seq).collect();
        let (Some(first), Some(last)) = (new.min(), new.max()) else {
            self.erased.known = known;
            return Ok(());
        };
        self.erase_unwritten(&new);
        schema::overwrite_all(&self.database, true)?;
        let sql = "SELECT id FROM segments WHERE first_seq <= ? AND max_number >= ? ORDER BY id";
        for id in ids(&self.database, sql, [last, first])? {
            self.erase_segment(id, &new)?;
        }
        let mut buckets: Vec<u64> = new
            .iter()
            .map(|seq| first_blob(seq, self.tuning.bucket))
            .collect();
        buckets.dedup();
        for bucket in buckets {
            let sql = "SELECT id FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id";
            for id in ids(&self.database, sql, [bucket, bucket + PARTS - 1])? {
                self.erase_attempts(id, &new)?;
            }
        }
        schema::overwrite_all(&self.database, false)?;
        let state = State {
            erased: known,
            ..self.state
        };
        state.write(&self.database)?;
        self.state = state;
        self.erased.known = known;
        self.written(0)
    }

    /// Erases what is not in the database yet.
    fn erase_unwritten(&self, deleted: &RoaringTreemap) {
        let mut unwritten = lock(&self.unwritten);
        if let Some(events) = without(&unwritten.events.segment, deleted) {
            unwritten.events = Arc::new(events);
        }
        if unwritten
            .attempts
            .iter()
            .any(|made| is_to_erase(made, deleted))
        {
            let attempts: &mut Vec<Attempt> = Arc::make_mut(&mut unwritten.attempts);
            erase_outcomes(attempts, deleted);
        }
    }

    fn erase_segment(&mut self, id: i64, deleted: &RoaringTreemap) -> Result<()> {
        let transaction = self.database.transaction()?;
        let sql = "SELECT events FROM contents WHERE id = ?";
        let left = read_blob(&transaction, sql, (Kind::Events, id), |events| {
            Segment::decode(events).map(|segment| without(&segment, deleted))
        })?;
        let Some(sealed) = left.as_ref().and_then(OpenSegment::seal) else {
            return Ok(());
        };
        let length = sealed.events.len();
        insert_segment(&transaction, id, sealed)?;
        transaction.commit()?;
        self.written(2 * length)
    }

    fn erase_attempts(&mut self, id: i64, deleted: &RoaringTreemap) -> Result<()> {
        let sql = "SELECT notes FROM attempts WHERE id = ?";
        let mut made = read_blob(&self.database, sql, (Kind::Attempts, id), attempts::decode)?;
        if !made.iter().any(|made| is_to_erase(made, deleted)) {
            return Ok(());
        }
        erase_outcomes(&mut made, deleted);
        let notes = seal_blob(Kind::Attempts, id, attempts::encode(&made));
        let sql = "UPDATE attempts SET notes = ? WHERE id = ?";
        self.database.execute(sql, params![notes, id])?;
        self.written(2 * notes.len())
    }

    /// Removes from notes what is not to be known of deleted events.
    pub(super) fn erase_notes(&self, attempts: &mut [Attempt]) {
        if !self.erased.bodies.is_empty() {
            erase_outcomes(attempts, &self.erased.bodies);
        }
    }

    /// Writes the database again if something was erased since the last time, and empties its WAL. A large
    /// one is left as it is.
    pub(super) fn purge(&mut self) -> Result<()> {
        let sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        let bytes: u64 = self.database.query_row(sql, [], |row| row.get(0))?;
        if self.state.erased == self.state.purged || bytes > MAX_PURGED {
            return Ok(());
        }
        self.database.execute_batch("VACUUM")?;
        let before = self.state;
        self.state.purged = before.erased;
        self.state.write(&self.database)?;
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        let hindered: bool = self.database.query_row(sql, [], |row| row.get(0))?;
        if hindered {
            self.state = before;
            self.state.write(&self.database)?;
        }
        Ok(())
    }
}

fn ids(database: &Connection, sql: &str, range: [u64; 2]) -> rusqlite::Result<Vec<i64>> {
    let mut statement = database.prepare_cached(sql)?;
    let ids = statement.query_map(range, |row| row.get(0))?;
    ids.collect()
}

/// Returns the events without what is known of those of deleted bodies, and of their duplicates; `None` if there
/// are none.
fn without<T: AsRef<str>>(segment: &Segment<T>, deleted: &RoaringTreemap) -> Option<OpenSegment> {
    let is_to_erase = |row: &segment::Row| !row.is_deleted() && deleted.contains(row.seq());
    if !segment.rows.iter().any(is_to_erase) {
        return None;
    }
    let mut left = OpenSegment::default();
    for row in &segment.rows {
        let entry: EventEntry<&str> = segment.entry(row);
        if is_to_erase(row) {
            left.push(&entry.erased());
        } else {
            left.push(&entry);
        }
    }
    Some(left)
}

fn is_to_erase(made: &Attempt, deleted: &RoaringTreemap) -> bool {
    made.failure.is_some() && deleted.contains(made.position.seq())
}

/// Leaves of the outcomes of attempts at deleted bodies only what cannot quote them.
fn erase_outcomes(attempts: &mut [Attempt], deleted: &RoaringTreemap) {
    for made in attempts {
        if let Some(failure) = &mut made.failure
            && deleted.contains(made.position.seq())
        {
            failure.outcome = left_of(&failure.outcome).into();
            failure.answer = None;
        }
    }
}

/// What an outcome says without the words of a handler or a subscriber.
fn left_of(outcome: &str) -> String {
    if outcome.starts_with("not done after ") {
        return outcome.to_owned();
    }
    let (kind, reason) = match outcome.split_once(": ") {
        Some((kind @ ("rejected" | "panicked" | "failed"), reason)) => (kind, reason),
        _ if ["rejected", "panicked", "failed"].contains(&outcome) => (outcome, ""),
        _ => ("failed", outcome),
    };
    let status: String = reason.chars().take_while(char::is_ascii_digit).collect();
    if status.len() == 3 {
        format!("{kind}: {status}")
    } else {
        kind.to_owned()
    }
}

/// A larger index is not written again, because that would take too long.
const MAX_PURGED: u64 = 512 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_erased_outcome_quotes_nobody() {
        let table = [
            ("500 Internal Server Error", "failed: 500"),
            ("rejected: 404 Not Found", "rejected: 404"),
            ("rejected: no customer +1", "rejected"),
            ("no customer +1: 2", "failed"),
            ("1234567 is unknown", "failed"),
            ("panicked: +1", "panicked"),
            ("not done after 30s", "not done after 30s"),
            ("", "failed"),
        ];
        for (outcome, left) in table {
            assert_eq!(left_of(outcome), left, "{outcome}");
            assert_eq!(left_of(left), left);
        }
    }
}
