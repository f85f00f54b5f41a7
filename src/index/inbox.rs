//! [`Inbox`]: what happened to events and is not indexed yet, and who waits for it.
//!
//! Consumers tell of each attempt, so a note costs a lock and a push; the indexer takes all of them at
//! once. It is woken by the first note and not by the next. When it cannot keep up, or has ended,
//! notes are left out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::attempts::Attempt;
use super::segment::{Item, nanos};
use crate::dispatch::{AttemptObserver, Outcome};
use crate::journal::Seq;
use crate::{Event, EventKind, Received, Timestamp, escape_controls};

/// What waits for the indexer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// There is something.
    pub(super) something: Notify,
    /// It should not wait for more.
    pub(super) hurry: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Notes,
    asked: Vec<oneshot::Sender<()>>,
    /// How many consumers may still make attempts.
    consumers: usize,
    /// The indexer does not come for now: nobody should wait for it.
    away: bool,
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) attempts: Vec<Attempt>,
    pub(super) duplicates: Vec<Duplicate>,
    /// The bytes of the duplicates' texts.
    text_bytes: usize,
    /// Events up to this one have left the journal.
    pub(super) trimmed: Seq,
}

/// A duplicate, without its body.
#[derive(Debug)]
pub(super) struct Duplicate {
    id: Uuid,
    of: Seq,
    at: i64,
    source: Arc<str>,
    session: Option<String>,
    kind: EventKind,
    name: Option<String>,
    bytes: u64,
}

impl Duplicate {
    pub(super) fn item(&self) -> Item<'_> {
        Item {
            id: self.id,
            number: self.of,
            duplicate: true,
            at: self.at,
            source: &self.source,
            session: self.session.as_deref(),
            kind: self.kind,
            name: self.name.as_deref(),
            bytes: self.bytes,
        }
    }
}

impl Inbox {
    /// Takes what happened.
    pub(super) fn take(&self) -> Notes {
        let mut waiting = self.lock();
        let trimmed = waiting.notes.trimmed;
        let empty = Notes {
            // As much room as the last ones took.
            attempts: Vec::with_capacity(waiting.notes.attempts.len()),
            trimmed,
            ..Notes::default()
        };
        std::mem::replace(&mut waiting.notes, empty)
    }

    /// Takes those who wait until what happened before they asked is indexed.
    pub(super) fn take_asked(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.lock().asked)
    }

    /// Whether some consumer may still make attempts.
    pub(super) fn has_consumers(&self) -> bool {
        self.lock().consumers > 0
    }

    /// Whether nobody should wait for the indexer. Who waits already waits no longer.
    pub(super) fn set_away(&self, away: bool) {
        let mut waiting = self.lock();
        waiting.away = away;
        if away {
            waiting.asked.clear();
        }
    }

    /// Waits until all that happened before is indexed, or for a second.
    pub(super) async fn caught_up(&self) {
        let asked = {
            let mut waiting = self.lock();
            if waiting.away || waiting.asked.len() >= MAX_ASKED {
                return;
            }
            let (answer, asked) = oneshot::channel();
            waiting.asked.push(answer);
            asked
        };
        self.something.notify_one();
        self.hurry.notify_one();
        // Late is no failure: the search shows what there is.
        let _ = tokio::time::timeout(MAX_WAIT, asked).await;
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        let mut waiting = self.lock();
        let notes = &mut waiting.notes;
        let (attempts, duplicates, trimmed) =
            (notes.attempts.len(), notes.duplicates.len(), notes.trimmed);
        note(notes);
        let first = (attempts == 0 && !notes.attempts.is_empty())
            || (duplicates == 0 && !notes.duplicates.is_empty())
            || trimmed != notes.trimmed;
        let many = notes.attempts.len() == MANY || notes.duplicates.len() == MAX_DUPLICATES;
        drop(waiting);
        if first || many {
            self.something.notify_one();
        }
        if many {
            self.hurry.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the index of what happens.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptLog(pub(super) Option<Arc<Inbox>>);

impl AttemptLog {
    /// Where this consumer tells of its attempts. The index ends after the last of these is dropped.
    pub(crate) fn of(&self, consumer: &str) -> ConsumerLog {
        if let Some(inbox) = &self.0 {
            inbox.lock().consumers += 1;
        }
        ConsumerLog {
            inbox: self.0.clone(),
            consumer: consumer.into(),
        }
    }

    /// Events up to `up_to` have left the journal.
    pub(crate) fn trimmed(&self, up_to: Seq) {
        if let Some(inbox) = &self.0 {
            inbox.note(|notes| notes.trimmed = notes.trimmed.max(up_to));
        }
    }

    /// An event was received that is the same as the event `of`.
    pub(crate) fn duplicate(&self, received: &Received, events: &[Event], of: Seq) {
        let Some(inbox) = &self.0 else { return };
        let item = Item::new(received, events, of, true);
        let duplicate = Duplicate {
            id: item.id,
            of,
            at: item.at,
            source: Arc::clone(&received.source),
            session: received.session.clone(),
            kind: item.kind,
            name: item.name.map(str::to_owned),
            bytes: item.bytes,
        };
        inbox.note(|notes| {
            let bytes = duplicate.session.as_deref().map_or(0, str::len)
                + duplicate.name.as_deref().map_or(0, str::len);
            if notes.duplicates.len() < MAX_DUPLICATES && notes.text_bytes + bytes <= MAX_TEXT {
                notes.text_bytes += bytes;
                notes.duplicates.push(duplicate);
            }
        });
    }
}

/// Tells the index of one consumer's attempts.
#[derive(Debug)]
pub(crate) struct ConsumerLog {
    inbox: Option<Arc<Inbox>>,
    consumer: Arc<str>,
}

impl AttemptObserver for ConsumerLog {
    fn attempted(&self, seq: Seq, attempt: u32, outcome: &Outcome, at: Timestamp) {
        let Some(inbox) = &self.inbox else { return };
        let outcome = match outcome {
            Outcome::Done => None,
            other => Some(shortened(&other.to_string()).into()),
        };
        let attempt = Attempt {
            seq,
            at: nanos(at),
            consumer: Arc::clone(&self.consumer),
            attempt,
            outcome,
        };
        inbox.note(|notes| {
            if notes.attempts.len() < MAX_ATTEMPTS {
                notes.attempts.push(attempt);
            }
        });
    }
}

impl Drop for ConsumerLog {
    fn drop(&mut self) {
        if let Some(inbox) = &self.inbox {
            inbox.lock().consumers -= 1;
            // It may be what a stop waits for.
            inbox.something.notify_one();
            inbox.hurry.notify_one();
        }
    }
}

fn shortened(outcome: &str) -> String {
    escape_controls(outcome).chars().take(MAX_OUTCOME).collect()
}

/// So many attempts wait at most.
const MAX_ATTEMPTS: usize = 65_536;

/// With so many the indexer does not wait for more.
const MANY: usize = 8192;

/// So many duplicates wait at most.
const MAX_DUPLICATES: usize = 4096;

/// So many bytes of their texts.
const MAX_TEXT: usize = 4 * 1024 * 1024;

const MAX_ASKED: usize = 1024;
const MAX_WAIT: Duration = Duration::from_secs(1);
const MAX_OUTCOME: usize = 500;
