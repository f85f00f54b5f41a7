//! The statements about dead letters.

use rusqlite::{Connection, Row, params};

use crate::Timestamp;
use crate::journal::{DeadLetter, NamedLetter, Position};

pub(super) fn add(
    database: &Connection,
    consumer: &str,
    letters: &[DeadLetter],
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?)";
    let mut statement = database.prepare_cached(sql)?;
    for letter in letters {
        statement.execute(params![
            consumer,
            letter.position.seq(),
            letter.position.part(),
            letter.attempts,
            letter.reason,
            letter.at.as_millisecond()
        ])?;
    }
    Ok(())
}

pub(super) fn list(
    database: &Connection,
    consumer: Option<&str>,
    before: Option<(Position, String)>,
    most: usize,
) -> rusqlite::Result<Vec<NamedLetter>> {
    let sql = "SELECT consumer, seq, part, attempts, reason, at FROM dead_letters \
               WHERE (?1 IS NULL OR consumer = ?1) \
               AND (?2 IS NULL OR (seq, part, consumer) < (?2, ?3, ?4)) \
               ORDER BY seq DESC, part DESC, consumer DESC LIMIT ?5";
    let (position, name) = before.unzip();
    let (seq, part) = (position.map(Position::seq), position.map(Position::part));
    let mut statement = database.prepare_cached(sql)?;
    let most = signed(most as u64);
    let letters = statement.query_map(params![consumer, seq, part, name, most], named_letter)?;
    letters.collect()
}

pub(super) fn of(database: &Connection, events: &[Position]) -> rusqlite::Result<Vec<NamedLetter>> {
    let sql = "SELECT consumer, seq, part, attempts, reason, at FROM dead_letters \
               WHERE seq = ? AND part = ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut all = Vec::new();
    for event in events {
        let place = params![event.seq(), event.part()];
        for letter in statement.query_map(place, named_letter)? {
            all.push(letter?);
        }
    }
    Ok(all)
}

pub(super) fn forget(
    database: &Connection,
    consumer: &str,
    events: &[Position],
) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE consumer = ? AND seq = ? AND part = ?";
    let mut statement = database.prepare_cached(sql)?;
    let gone = events
        .iter()
        .map(|event| statement.execute((consumer, event.seq(), event.part())));
    gone.sum()
}

/// Removes letters of events up to `up_to`, at most `most`. Returns how many.
pub(super) fn trim(database: &Connection, up_to: u64, most: usize) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE (consumer, seq, part) IN \
               (SELECT consumer, seq, part FROM dead_letters WHERE seq <= ? LIMIT ?)";
    let mut statement = database.prepare_cached(sql)?;
    statement.execute([signed(up_to), signed(most as u64)])
}

fn named_letter(row: &Row<'_>) -> rusqlite::Result<NamedLetter> {
    let letter = DeadLetter {
        position: Position::new(row.get(1)?, row.get(2)?),
        attempts: row.get(3)?,
        reason: row.get(4)?,
        at: Timestamp::from_millisecond(row.get(5)?).unwrap_or_default(),
    };
    Ok((row.get(0)?, letter))
}

/// SQLite's integers are signed.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
