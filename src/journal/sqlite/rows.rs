//! The rows beside the log: progress, documents and counters. Each has the sum of its other columns. What is
//! not what was written is reported and left out, never used.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::damage::tell_row;
use super::dead;
use super::sql::{execute, signed};
use crate::escape_controls;
use crate::journal::sum::Sum;
use crate::journal::{Document, ProgressChange, SavedProgress, Seq, Version};

/// What [`saved`] has found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) saved: Option<SavedProgress>,
    /// Whether the head was lost, so that the one returned is to be stored.
    pub(super) is_head_lost: bool,
}

/// Reads the head and the rows in one transaction. Of rows that are damaged, the consumer hands over
/// again what it had settled; if the head is damaged too, it begins with the oldest event.
pub(super) fn saved(database: &Connection, consumer: &str) -> rusqlite::Result<Found> {
    let snapshot = database.unchecked_transaction()?;
    let sql = "SELECT saved, sum FROM consumers WHERE name = ?";
    let head = snapshot.query_row(sql, [consumer], |row| {
        let head: Vec<u8> = row.get(0)?;
        Ok((row.get::<_, i64>(1)? == head_sum(consumer, &head)).then_some(head))
    });
    let head = head.optional()?.unwrap_or_default();
    let is_head_lost = head.is_none();
    let head = match head {
        Some(head) => head,
        None if damaged_heads(&snapshot)?.is_empty() => {
            return Ok(Found {
                saved: None,
                is_head_lost: false,
            });
        }
        // Its name may be what is damaged. A new consumer would skip what is not settled.
        None => {
            let what = format!("how far {consumer} had come");
            tell_row(
                &what,
                "it gets every event that is stored once more, and is not paused",
            );
            Vec::new()
        }
    };
    let sql = "SELECT key, value, sum FROM progress WHERE consumer = ? ORDER BY key";
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut found = statement.query([consumer])?;
    let (mut rows, mut damaged) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let (key, value): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if row.get::<_, i64>(2)? == row_sum(consumer, &key, &value) {
            rows.push((key, value));
        } else {
            damaged += 1;
        }
    }
    if damaged > 0 {
        let what = format!("a part of the progress of {consumer} ({damaged} rows)");
        tell_row(
            &what,
            "events that it had settled may be handed over once more, and running replays may end early",
        );
    }
    Ok(Found {
        saved: Some(SavedProgress { head, rows }),
        is_head_lost,
    })
}

/// Returns the names in damaged rows, as they stand there.
fn damaged_heads(database: &Connection) -> rusqlite::Result<Vec<Vec<u8>>> {
    let mut statement = database.prepare("SELECT name, saved, sum FROM consumers")?;
    let mut rows = statement.query([])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        let is_whole = || -> rusqlite::Result<bool> {
            let (name, head): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            Ok(row.get::<_, i64>(2)? == head_sum(&name, &head))
        };
        if !is_whole().unwrap_or(false) {
            names.push(row.get_ref(0)?.as_bytes()?.to_owned());
        }
    }
    Ok(names)
}

/// Stores that the consumer begins with the oldest event, unless it has a head.
pub(super) fn replace_lost_head(database: &Connection, consumer: &str) -> rusqlite::Result<()> {
    if damaged_heads(database)?
        .iter()
        .any(|name| name == consumer.as_bytes())
    {
        execute(database, "DELETE FROM consumers WHERE name = ?", [consumer])?;
    }
    // An empty head stands for one that is lost.
    introduce(database, consumer, &[])
}

/// Removes the damaged heads, after the consumers that may have lost them have others. A consumer that is new
/// later is not taken for one of them then.
pub(super) fn remove_damaged_heads(database: &Connection) -> rusqlite::Result<()> {
    for name in damaged_heads(database)? {
        let name = ToSqlOutput::Borrowed(ValueRef::Text(&name));
        execute(database, "DELETE FROM consumers WHERE name = ?", [name])?;
    }
    Ok(())
}

pub(super) fn save(database: &Connection, change: &ProgressChange) -> rusqlite::Result<()> {
    dead::forget(database, &change.consumer, &change.revived)?;
    dead::add(database, &change.consumer, &change.dead)?;
    let consumer = &change.consumer;
    for (key, value) in &change.rows {
        if let Some(value) = value {
            let sql = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?, ?)";
            let sum = row_sum(consumer, key, value);
            execute(database, sql, params![consumer, key, value, sum])?;
        } else {
            let sql = "DELETE FROM progress WHERE consumer = ? AND key = ?";
            execute(database, sql, params![consumer, key])?;
        }
    }
    let sql = "INSERT OR REPLACE INTO consumers VALUES (?, ?, ?)";
    let sum = head_sum(consumer, &change.head);
    execute(database, sql, params![consumer, change.head, sum])
}

/// Stores the progress of a consumer that has none.
pub(super) fn introduce(database: &Connection, name: &str, head: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO consumers VALUES (?, ?, ?)";
    execute(database, sql, params![name, head, head_sum(name, head)])
}

pub(super) fn forget_consumer(database: &Connection, name: &str) -> rusqlite::Result<()> {
    execute(database, "DELETE FROM progress WHERE consumer = ?", [name])?;
    execute(database, "DELETE FROM consumers WHERE name = ?", [name])
}

/// Returns the newest change of a document.
pub(super) fn newest_document(database: &Connection) -> rusqlite::Result<Version> {
    if let Some(newest) = counter(database, DOCUMENTS)? {
        return Ok(newest);
    }
    let all = documents(database, "")?;
    Ok(all
        .iter()
        .map(|document| document.version)
        .max()
        .unwrap_or(0))
}

/// Returns a document's last change; `None` if the document does not exist or is damaged.
pub(super) fn version_of(database: &Connection, key: &str) -> rusqlite::Result<Option<Version>> {
    let sql = "SELECT value, version, sum FROM documents WHERE key = ?";
    let mut statement = database.prepare_cached(sql)?;
    let found = statement.query_row([key], |row| {
        let (value, version): (Vec<u8>, _) = (row.get(0)?, row.get(1)?);
        let is_whole = row.get::<_, i64>(2)? == document_sum(key, &value, version);
        Ok(is_whole.then_some(version))
    });
    Ok(found.optional()?.flatten())
}

pub(super) fn put_document(
    database: &Connection,
    key: &str,
    value: Option<&[u8]>,
    version: Version,
) -> rusqlite::Result<()> {
    if let Some(value) = value {
        let sql = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)";
        let sum = document_sum(key, value, version);
        execute(database, sql, params![key, value, version, sum])?;
    } else {
        execute(database, "DELETE FROM documents WHERE key = ?", [key])?;
    }
    set_counter(database, DOCUMENTS, version)
}

/// Keys are compared byte by byte, so those with the prefix are adjacent.
pub(super) fn documents(database: &Connection, prefix: &str) -> rusqlite::Result<Vec<Document>> {
    let sql = "SELECT key, value, version, sum FROM documents WHERE key >= ? ORDER BY key";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([prefix])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        let document = Document {
            key: row.get(0)?,
            value: row.get(1)?,
            version: row.get(2)?,
        };
        let Document {
            key,
            value,
            version,
        } = &document;
        if row.get::<_, i64>(3)? != document_sum(key, value, *version) {
            let what = format!("the document {}", escape_controls(key));
            tell_row(
                &what,
                "it is not used: a subscription gets nothing until it is set again",
            );
        } else if key.starts_with(prefix) {
            documents.push(document);
        } else {
            break;
        }
    }
    Ok(documents)
}

/// Returns a counter; `None` if it does not exist or is damaged.
pub(super) fn counter(database: &Connection, name: &str) -> rusqlite::Result<Option<u64>> {
    let sql = "SELECT value, sum FROM counters WHERE name = ?";
    let mut statement = database.prepare_cached(sql)?;
    let found = statement.query_row([name], |row| {
        let value = row.get::<_, i64>(0)?.cast_unsigned();
        Ok((row.get::<_, i64>(1)? == counter_sum(name, value)).then_some(value))
    });
    Ok(found.optional()?.flatten())
}

pub(super) fn set_counter(database: &Connection, name: &str, value: u64) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO counters VALUES (?, ?, ?)";
    let sum = counter_sum(name, value);
    execute(database, sql, params![name, signed(value), sum])
}

/// Notes that these bodies are lost, so that a check knows that it was told.
pub(super) fn note_loss(database: &Connection, first: Seq, last: Seq) -> rusqlite::Result<()> {
    set_counter(database, &format!("{LOST_FROM}{first}"), last)
}

/// Returns the first and the last number of bodies whose loss is noted, in order.
pub(super) fn noted_losses(database: &Connection) -> rusqlite::Result<Vec<(Seq, Seq)>> {
    let sql = "SELECT name, value, sum FROM counters WHERE name GLOB ?";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([format!("{LOST_FROM}*")])?;
    let mut lost = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, value): (String, i64) = (row.get(0)?, row.get(1)?);
        let last = value.cast_unsigned();
        let first = name
            .strip_prefix(LOST_FROM)
            .and_then(|first| first.parse().ok());
        if let Some(first) = first
            && row.get::<_, i64>(2)? == counter_sum(&name, last)
        {
            lost.push((first, last));
        }
    }
    lost.sort_unstable();
    Ok(lost)
}

/// Removes what is noted of losses up to a body, which retention has reached.
pub(super) fn forget_losses(database: &Connection, up_to: Seq) -> rusqlite::Result<()> {
    let sql = "DELETE FROM counters WHERE name GLOB ? AND value <= ?";
    execute(
        database,
        sql,
        params![format!("{LOST_FROM}*"), signed(up_to)],
    )
}

/// Gives all rows of an older version their sums.
pub(super) fn add_sums(database: &Connection) -> rusqlite::Result<()> {
    let mut statement = database.prepare("SELECT name, saved FROM consumers")?;
    let mut rows = statement.query([])?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, head): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        sums.push((head_sum(&name, &head), name));
    }
    for (sum, name) in sums {
        execute(
            database,
            "UPDATE consumers SET sum = ? WHERE name = ?",
            params![sum, name],
        )?;
    }
    let mut statement = database.prepare("SELECT consumer, key, value FROM progress")?;
    let mut rows = statement.query([])?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let (consumer, key, value): (String, Vec<u8>, Vec<u8>) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        sums.push((row_sum(&consumer, &key, &value), consumer, key));
    }
    for (sum, consumer, key) in sums {
        let sql = "UPDATE progress SET sum = ? WHERE consumer = ? AND key = ?";
        execute(database, sql, params![sum, consumer, key])?;
    }
    let mut statement = database.prepare("SELECT key, value, version FROM documents")?;
    let mut rows = statement.query([])?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, value, version): (String, Vec<u8>, _) = (row.get(0)?, row.get(1)?, row.get(2)?);
        sums.push((document_sum(&key, &value, version), key));
    }
    for (sum, key) in sums {
        execute(
            database,
            "UPDATE documents SET sum = ? WHERE key = ?",
            params![sum, key],
        )?;
    }
    let mut statement = database.prepare("SELECT name, value FROM counters")?;
    let counters = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    for (name, value) in counters.collect::<rusqlite::Result<Vec<(String, i64)>>>()? {
        set_counter(database, &name, value.cast_unsigned())?;
    }
    dead::add_sums(database)
}

pub(super) fn head_sum(name: &str, head: &[u8]) -> i64 {
    Sum::of("consumer")
        .text(name.as_bytes())
        .text(head)
        .end()
        .into()
}

pub(super) fn row_sum(consumer: &str, key: &[u8], value: &[u8]) -> i64 {
    let sum = Sum::of("progress").text(consumer.as_bytes());
    sum.text(key).text(value).end().into()
}

pub(super) fn document_sum(key: &str, value: &[u8], version: Version) -> i64 {
    let sum = Sum::of("document").text(key.as_bytes());
    sum.text(value).number(version).end().into()
}

pub(super) fn counter_sum(name: &str, value: u64) -> i64 {
    Sum::of("counter")
        .text(name.as_bytes())
        .number(value)
        .end()
        .into()
}

/// The newest version of a document.
pub(super) const DOCUMENTS: &str = "documents";

/// Up to which body retention has removed the log.
pub(super) const TRIMMED: &str = "trimmed";

/// The number of the newest body that was ever known, where the log ends before it.
pub(super) const LOST: &str = "lost_up_to";

/// How the counter of a noted loss begins: the first body follows, and its value is the last one.
const LOST_FROM: &str = "lost_from_";

/// The first and the last number of a commit that was under way when the machine stopped, so far as is known.
pub(super) const UNFINISHED: [&str; 2] = ["unfinished_from", "unfinished_up_to"];

/// Which rules the dedup keys follow, see rekey.rs.
pub(super) const DEDUP_KEYS: &str = "dedup_keys";
