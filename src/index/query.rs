//! What can be asked.

use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter, types::Value};
use uuid::Uuid;

use super::id_bytes;
use crate::Timestamp;
use crate::dispatch::Seq;

/// Which events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) session: Option<String>,
    pub(crate) kind: Option<String>,
    /// Only events before this one.
    pub(crate) before: Option<Uuid>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// An event as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    /// `None` for a duplicate.
    pub(crate) seq: Option<Seq>,
    /// The event it is the same as.
    pub(crate) duplicate_of: Option<Uuid>,
    pub(crate) at: Timestamp,
    pub(crate) source: String,
    pub(crate) session: Option<String>,
    pub(crate) kind: String,
    pub(crate) name: Option<String>,
    pub(crate) bytes: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    pub(crate) consumer: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
}

impl Filter {
    /// The newest events that pass, at most `limit`.
    pub(crate) fn newest(
        &self,
        database: &Connection,
        limit: usize,
    ) -> rusqlite::Result<Vec<Entry>> {
        let (conditions, mut values) = self.sql();
        values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!("{SELECT} {conditions} ORDER BY e.id DESC LIMIT ?");
        let mut statement = database.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), entry)?;
        rows.collect()
    }

    /// The numbers of all kept events that pass, oldest first, at most `limit`.
    pub(crate) fn numbers(
        &self,
        database: &Connection,
        limit: usize,
    ) -> rusqlite::Result<Vec<Seq>> {
        let (conditions, mut values) = self.sql();
        values.push(Value::from(i64::try_from(limit).unwrap_or(i64::MAX)));
        let sql = format!(
            "SELECT e.seq FROM events e {conditions} AND e.seq IS NOT NULL ORDER BY e.seq LIMIT ?"
        );
        let mut statement = database.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        rows.collect()
    }

    fn sql(&self) -> (String, Vec<Value>) {
        let mut conditions = "WHERE 1".to_owned();
        let mut values = Vec::new();
        let mut add = |condition: &str, value: Value| {
            conditions += " AND ";
            conditions += condition;
            values.push(value);
        };
        let nanos = |at: Timestamp| i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
        if let Some(session) = &self.session {
            add("e.session = ?", session.clone().into());
        }
        if let Some(kind) = &self.kind {
            add("e.kind = ?", kind.clone().into());
        }
        if let Some(before) = self.before {
            add("e.id < ?", id_bytes(before).to_vec().into());
        }
        if let Some(from) = self.from {
            add("e.at >= ?", nanos(from).into());
        }
        if let Some(to) = self.to {
            add("e.at < ?", nanos(to).into());
        }
        (conditions, values)
    }
}

/// The event with this id.
pub(crate) fn by_id(database: &Connection, id: Uuid) -> rusqlite::Result<Option<Entry>> {
    let sql = format!("{SELECT} WHERE e.id = ?");
    let mut statement = database.prepare_cached(&sql)?;
    statement.query_row([id_bytes(id)], entry).optional()
}

/// The events with these numbers.
pub(crate) fn by_numbers(database: &Connection, numbers: &[Seq]) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!("{SELECT} WHERE e.seq = ?");
    let mut statement = database.prepare_cached(&sql)?;
    let entries = numbers
        .iter()
        .map(|seq| statement.query_row([seq], entry).optional());
    entries.filter_map(Result::transpose).collect()
}

/// All attempts at an event, in their order.
pub(crate) fn attempts(database: &Connection, seq: Seq) -> rusqlite::Result<Vec<TimelineEntry>> {
    let sql =
        "SELECT at, consumer, attempt, outcome FROM attempts WHERE seq = ? ORDER BY at LIMIT 1000";
    let mut statement = database.prepare_cached(sql)?;
    let rows = statement.query_map([seq], |row| {
        Ok(TimelineEntry {
            at: time(row.get(0)?),
            consumer: row.get(1)?,
            attempt: row.get(2)?,
            outcome: row.get(3)?,
        })
    })?;
    rows.collect()
}

fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let of: Option<[u8; 16]> = row.get(2)?;
    Ok(Entry {
        id: Uuid::from_bytes(row.get(0)?),
        seq: row.get(1)?,
        duplicate_of: of.map(Uuid::from_bytes),
        at: time(row.get(3)?),
        source: row.get(4)?,
        session: row.get(5)?,
        kind: row.get(6)?,
        name: row.get(7)?,
        bytes: row.get(8)?,
    })
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or_default()
}

const SELECT: &str = "SELECT e.id, e.seq, \
    (SELECT o.id FROM events o WHERE o.seq = e.duplicate_of), \
    e.at, e.source, e.session, e.kind, e.name, e.bytes FROM events e";
