//! What an administrator looks for: events by id, session, kind and time, and what became of them.
//!
//! The index is a consumer of the journal like any other: it follows behind and is never on the way
//! to an answer. It has a database of its own, which can be deleted: the events are found again in
//! the journal; only the timelines of old attempts are lost with it.

mod query;
mod schema;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::dialect::Dialects;
use crate::dispatch::{Outcome, Seq};
use crate::journal::{Journal, Unavailable};
use crate::{Event, Received, Timestamp, escape_controls};

pub(crate) use query::{Entry, Filter, attempts, by_id, by_numbers};

/// The index of one journal.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    reader: Arc<Mutex<Connection>>,
    notes: AttemptLog,
}

/// The writing side, to be run as a task.
pub(crate) struct Indexer {
    database: Connection,
    notes: mpsc::Receiver<Note>,
}

impl Index {
    /// Opens the index in the journal's folder; one that cannot be used is made anew.
    pub(crate) fn open(folder: &Path) -> rusqlite::Result<(Self, Indexer)> {
        let path = folder.join("index.db");
        let database = schema::open(&path)?;
        let reader = schema::open_reader(&path)?;
        let (sender, notes) = mpsc::channel(MAX_NOTES);
        let index = Self {
            reader: Arc::new(Mutex::new(reader)),
            notes: AttemptLog(Some(sender)),
        };
        Ok((index, Indexer { database, notes }))
    }

    /// Where to tell of attempts and duplicates.
    pub(crate) fn notes(&self) -> AttemptLog {
        self.notes.clone()
    }

    /// Asks the database, away from the asynchronous threads.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let reader = Arc::clone(&self.reader);
        let asked = tokio::task::spawn_blocking(move || {
            query(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let failed = |error: &dyn std::fmt::Display| Unavailable(error.to_string());
        let asked = asked.await.map_err(|error| failed(&error))?;
        asked.map_err(|error| failed(&error))
    }
}

impl Indexer {
    /// Follows the journal until told to stop.
    pub(crate) async fn run(
        self,
        journal: Arc<dyn Journal>,
        dialects: Arc<Dialects>,
        stop: watch::Receiver<bool>,
    ) {
        if let Err(error) =
            writer::follow(self.database, self.notes, journal, &dialects, stop).await
        {
            log::error!("the index has stopped, searching shows no newer events: {error}");
        }
    }
}

/// Tells the index of what happens. When it cannot keep up, or has ended, that is left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptLog(Option<mpsc::Sender<Note>>);

/// Something that happened to an event.
#[derive(Debug)]
enum Note {
    Attempt {
        seq: Seq,
        at: Timestamp,
        consumer: String,
        attempt: u32,
        outcome: String,
    },
    Duplicate {
        received: Arc<Received>,
        events: Arc<[Event]>,
        of: Seq,
    },
    /// Events up to this one have left the journal.
    Trimmed(Seq),
}

impl AttemptLog {
    /// A consumer has made an attempt.
    pub(crate) fn note(
        &self,
        seq: Seq,
        consumer: &str,
        attempt: u32,
        outcome: &Outcome,
        at: Timestamp,
    ) {
        let Some(notes) = &self.0 else { return };
        let outcome = outcome.to_string();
        let _ = notes.try_send(Note::Attempt {
            seq,
            at,
            consumer: consumer.to_owned(),
            attempt,
            outcome: escape_controls(&outcome)
                .chars()
                .take(MAX_OUTCOME)
                .collect(),
        });
    }

    /// Events up to `up_to` have left the journal.
    pub(crate) fn trimmed(&self, up_to: Seq) {
        let Some(notes) = &self.0 else { return };
        let _ = notes.try_send(Note::Trimmed(up_to));
    }

    /// An event was received that is the same as the event `of`.
    pub(crate) fn duplicate(&self, received: &Arc<Received>, events: &Arc<[Event]>, of: Seq) {
        let Some(notes) = &self.0 else { return };
        let _ = notes.try_send(Note::Duplicate {
            received: Arc::clone(received),
            events: Arc::clone(events),
            of,
        });
    }
}

/// An event's id in a form that sorts like the number it is.
fn id_bytes(id: Uuid) -> [u8; 16] {
    id.into_bytes()
}

const MAX_NOTES: usize = 16_384;
const MAX_OUTCOME: usize = 500;
