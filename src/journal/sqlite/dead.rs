//! The statements about dead letters.

use rusqlite::{Connection, Row, Rows, params};

use super::damage::tell_row;
use super::sql::signed;
use crate::Timestamp;
use crate::journal::sum::Sum;
use crate::journal::{DeadLetter, NamedLetter, Position};

/// Stores letters. The body of one may have been deleted in the meantime; then its letter is not stored.
pub(super) fn add(
    database: &Connection,
    consumer: &str,
    letters: &[DeadLetter],
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO dead_letters VALUES (?, ?, ?, ?, ?, ?, ?)";
    let mut statement = database.prepare_cached(sql)?;
    let mut is_deleted = database.prepare_cached("SELECT 1 FROM deletions WHERE seq = ?")?;
    for letter in letters {
        if is_deleted.exists([letter.position.seq()])? {
            continue;
        }
        statement.execute(params![
            consumer,
            letter.position.seq(),
            letter.position.part(),
            letter.attempts,
            letter.reason,
            letter.at.as_millisecond(),
            letter_sum(consumer, letter),
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
    let sql = "SELECT consumer, seq, part, attempts, reason, at, sum FROM dead_letters \
               WHERE (?1 IS NULL OR consumer = ?1) \
               AND (?2 IS NULL OR (seq, part, consumer) < (?2, ?3, ?4)) \
               ORDER BY seq DESC, part DESC, consumer DESC LIMIT ?5";
    let (position, name) = before.unzip();
    let (seq, part) = (position.map(Position::seq), position.map(Position::part));
    let mut statement = database.prepare_cached(sql)?;
    let most = signed(most as u64);
    let rows = statement.query(params![consumer, seq, part, name, most])?;
    let mut all = Vec::new();
    collect(rows, &mut all)?;
    Ok(all)
}

pub(super) fn of(database: &Connection, events: &[Position]) -> rusqlite::Result<Vec<NamedLetter>> {
    let sql = "SELECT consumer, seq, part, attempts, reason, at, sum FROM dead_letters \
               WHERE seq = ? AND part = ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut all = Vec::new();
    for event in events {
        let place = params![event.seq(), event.part()];
        collect(statement.query(place)?, &mut all)?;
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

/// Removes all letters of a body.
pub(super) fn delete(database: &Connection, seq: u64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM dead_letters WHERE seq = ?";
    let mut statement = database.prepare_cached(sql)?;
    statement.execute([signed(seq)]).map(drop)
}

/// Removes letters of events up to `up_to`, at most `most`. Returns how many.
pub(super) fn trim(database: &Connection, up_to: u64, most: usize) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE (consumer, seq, part) IN \
               (SELECT consumer, seq, part FROM dead_letters WHERE seq <= ? LIMIT ?)";
    let mut statement = database.prepare_cached(sql)?;
    statement.execute([signed(up_to), signed(most as u64)])
}

/// Adds the letters of these rows, without the damaged ones.
fn collect(mut rows: Rows<'_>, all: &mut Vec<NamedLetter>) -> rusqlite::Result<()> {
    while let Some(row) = rows.next()? {
        let letter = named_letter(row)?;
        if row.get::<_, i64>(6)? == letter_sum(&letter.0, &letter.1) {
            all.push(letter);
        } else {
            let what = format!("a dead letter of event {}", letter.1.position);
            tell_row(&what, "it is not listed");
        }
    }
    Ok(())
}

/// Gives the letters of an older version their sums.
pub(super) fn add_sums(database: &Connection) -> rusqlite::Result<()> {
    let sql = "SELECT consumer, seq, part, attempts, reason, at FROM dead_letters";
    let mut statement = database.prepare(sql)?;
    let letters = statement.query_map([], named_letter)?;
    for (consumer, letter) in letters.collect::<rusqlite::Result<Vec<_>>>()? {
        add(database, &consumer, &[letter])?;
    }
    Ok(())
}

pub(super) fn letter_sum(consumer: &str, letter: &DeadLetter) -> i64 {
    let sum = Sum::of("dead letter").text(consumer.as_bytes());
    let sum = sum
        .number(letter.position.to_bits())
        .number(letter.attempts.into());
    let sum = sum.text(letter.reason.as_bytes());
    sum.number(letter.at.as_millisecond().cast_unsigned())
        .end()
        .into()
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
