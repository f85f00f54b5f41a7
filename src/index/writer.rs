//! Following the journal: new events and what happened to old ones, in batches.

use std::sync::Arc;

use rusqlite::{Connection, params};
use tokio::sync::{mpsc, watch};

use super::{Note, id_bytes};
use crate::dialect::Dialects;
use crate::dispatch::Seq;
use crate::journal::Journal;
use crate::{Event, EventKind, Received};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes until told to stop.
pub(super) async fn follow(
    mut database: Connection,
    mut notes: mpsc::Receiver<Note>,
    journal: Arc<dyn Journal>,
    dialects: &Dialects,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let mut head = journal.tail().watch();
    let mut cursor: Seq =
        database.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
            row.get(0)
        })?;
    let mut waiting = Vec::new();
    loop {
        while cursor < *head.borrow_and_update() {
            cursor = catch_up(&mut database, journal.as_ref(), dialects, cursor).await?;
        }
        if !waiting.is_empty() {
            tokio::task::block_in_place(|| write_notes(&mut database, &waiting))?;
            waiting.clear();
        }
        if *stop.borrow() {
            return Ok(());
        }
        tokio::select! {
            changed = head.changed() => changed?,
            count = notes.recv_many(&mut waiting, BATCH) => if count == 0 { return Ok(()) },
            _ = stop.changed() => {
                while let Ok(note) = notes.try_recv() {
                    waiting.push(note);
                }
            }
        }
    }
}

/// Indexes the next records; returns how far it came.
async fn catch_up(
    database: &mut Connection,
    journal: &dyn Journal,
    dialects: &Dialects,
    after: Seq,
) -> Result<Seq, Failure> {
    let mut records = Vec::new();
    while records.len() < BATCH
        && let Some(record) = journal.tail().get(after + 1 + records.len() as Seq)
    {
        records.push((*record).clone());
    }
    if records.is_empty() {
        records = journal.read(after, BATCH).await?;
    }
    let Some(last) = records.last() else {
        return Err(format!("event {} is not there", after + 1).into());
    };
    let last = last.seq;
    tokio::task::block_in_place(|| {
        let transaction = database.transaction()?;
        for record in &records {
            let events = dialects.events(record);
            insert(
                &transaction,
                &record.received,
                &events,
                Some(record.seq),
                None,
            )?;
        }
        transaction.commit()
    })?;
    Ok(last)
}

fn write_notes(database: &mut Connection, notes: &[Note]) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    for note in notes {
        match note {
            Note::Attempt {
                seq,
                at,
                consumer,
                attempt,
                outcome,
            } => {
                let sql = "INSERT OR IGNORE INTO attempts VALUES (?, ?, ?, ?, ?)";
                let at = nanos(*at);
                let mut insert = transaction.prepare_cached(sql)?;
                insert.execute(params![seq, at, consumer, attempt, outcome])?;
            }
            Note::Trimmed(up_to) => {
                transaction.execute("DELETE FROM attempts WHERE seq <= ?", [up_to])?;
                let sql = "DELETE FROM events WHERE seq <= ?1 OR duplicate_of <= ?1";
                transaction.execute(sql, [up_to])?;
            }
            Note::Duplicate {
                received,
                events,
                of,
            } => insert(&transaction, received, events, None, Some(*of))?,
        }
    }
    transaction.commit()
}

fn insert(
    database: &Connection,
    received: &Received,
    events: &[Event],
    seq: Option<Seq>,
    duplicate_of: Option<Seq>,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let first = events.first();
    database.prepare_cached(sql)?.execute(params![
        id_bytes(received.id),
        seq,
        duplicate_of,
        nanos(received.received_at),
        &*received.source,
        received.session,
        first.map_or(EventKind::Unknown, Event::kind).as_str(),
        first.and_then(Event::name),
        received.body.len() as u64,
    ])?;
    Ok(())
}

fn nanos(at: crate::Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

const BATCH: usize = 1024;
