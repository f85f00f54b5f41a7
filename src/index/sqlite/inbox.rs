//! [`Inbox`]: the notes that are not indexed yet, and the searches that wait for them.
//!
//! Consumers report each attempt, so a note costs only a lock and a push; the indexer takes all
//! notes together. Only the first note wakes the indexer. Notes are discarded if the indexer cannot
//! keep up or has ended.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::attempts::{Attempt, Failure};
use super::outbox::{Duplicate, Outbox};
use super::segment::{OpenSegment, nanos};
use crate::dispatch::{AttemptObserver, EndedAttempt, Outcome};
use crate::index::{EventEntry, Notes};
use crate::journal::{Part, Position, Record, Seq};
use crate::{Event, Received, Timestamp, escape_controls};

/// What waits for the indexer.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
    /// Wakes the indexer when there is something to take.
    pub(super) something: Notify,
    /// Tells the indexer not to gather more.
    pub(super) hurry: Notify,
    /// Where attempts and duplicates go for the other instances, if the journal is shared.
    outbox: OnceLock<Arc<Outbox>>,
}

#[derive(Debug, Default)]
struct Waiting {
    notes: Noted,
    asked: Vec<oneshot::Sender<()>>,
    /// How many consumers may still make attempts.
    consumers: usize,
    /// The indexer has stopped for now, so searches do not wait for it.
    away: bool,
    trouble: Option<Trouble>,
}

/// What a search has met that could not read the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// The database may have been removed.
    Unclear,
    Damage,
}

/// Notes that the indexer has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) attempts: Vec<Attempt>,
    /// How many bytes of answers came with them.
    answer_bytes: usize,
    pub(super) duplicates: OpenSegment,
    /// Events up to this one have left the journal; 0 for no news.
    pub(super) trimmed: Seq,
    /// The journal has new deletions.
    pub(super) deletions: bool,
}

impl Noted {
    /// Attempts that fail one after the other mostly fail in the same way, so they share their texts.
    fn failure(&mut self, outcome: String, answer: Option<String>) -> Failure {
        let before = self.attempts.last().and_then(|one| one.failure.clone());
        let (outcome_before, answer_before) = match before {
            Some(before) => (Some(before.outcome), before.answer),
            None => (None, None),
        };
        let same = |text: &str, before: Option<Arc<str>>| before.filter(|before| **before == *text);
        let answer = answer.and_then(|answer| {
            same(&answer, answer_before).or_else(|| {
                self.answer_bytes += answer.len();
                (self.answer_bytes <= MAX_ANSWER_BYTES).then(|| answer.into())
            })
        });
        Failure {
            outcome: same(&outcome, outcome_before).unwrap_or_else(|| outcome.into()),
            answer,
        }
    }

    fn is_empty(&self) -> bool {
        self.attempts.is_empty()
            && self.duplicates.is_empty()
            && self.trimmed == 0
            && !self.deletions
    }
}

impl Inbox {
    pub(super) fn take(&self) -> Noted {
        let mut waiting = self.lock();
        let empty = Noted {
            // Reserves as much room as the last notes took.
            attempts: Vec::with_capacity(waiting.notes.attempts.len()),
            ..Noted::default()
        };
        std::mem::replace(&mut waiting.notes, empty)
    }

    /// Takes the searches that wait until everything before them is indexed.
    pub(super) fn take_asked(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.lock().asked)
    }

    pub(super) fn has_consumers(&self) -> bool {
        self.lock().consumers > 0
    }

    /// Sets whether searches skip the wait for the indexer. Searches that already wait are
    /// released.
    pub(super) fn set_away(&self, away: bool) {
        let mut waiting = self.lock();
        waiting.away = away;
        if away {
            waiting.asked.clear();
        }
    }

    /// Tells the indexer that a search could not read the index.
    pub(super) fn report(&self, trouble: Trouble) {
        let mut waiting = self.lock();
        waiting.trouble = waiting.trouble.max(Some(trouble));
        drop(waiting);
        self.something.notify_one();
        self.hurry.notify_one();
    }

    pub(super) fn take_trouble(&self) -> Option<Trouble> {
        self.lock().trouble.take()
    }

    /// Waits until everything that happened before is indexed, for one second at most.
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
        // A timeout is not an error: the search shows what is indexed.
        let _ = tokio::time::timeout(MAX_WAIT, asked).await;
    }

    /// From now on attempts and duplicates go there too.
    pub(super) fn tell_others(&self, outbox: &Arc<Outbox>) {
        // It is set once, at the start.
        let _ = self.outbox.set(Arc::clone(outbox));
    }

    /// Takes attempts that another instance has made.
    pub(super) fn attempts_elsewhere(&self, attempts: impl Iterator<Item = Attempt>) {
        self.note(|notes| {
            let room = MAX_ATTEMPTS.saturating_sub(notes.attempts.len());
            notes.attempts.extend(attempts.take(room));
        });
    }

    /// Takes duplicates that have arrived at another instance.
    pub(super) fn duplicates_elsewhere<'a>(
        &self,
        duplicates: impl Iterator<Item = EventEntry<&'a str>>,
    ) {
        self.note(|notes| {
            for entry in duplicates {
                if !notes.duplicates.is_full(MAX_DUPLICATES) {
                    notes.duplicates.push(&entry);
                }
            }
        });
    }

    fn note(&self, note: impl FnOnce(&mut Noted)) {
        let mut waiting = self.lock();
        let notes = &mut waiting.notes;
        let first = notes.is_empty();
        note(notes);
        let many = notes.attempts.len() == MANY || notes.duplicates.is_full(MAX_DUPLICATES);
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

impl Notes for Arc<Inbox> {
    fn consumer(&self, name: &str) -> Arc<dyn AttemptObserver> {
        self.lock().consumers += 1;
        Arc::new(ConsumerLog {
            inbox: Arc::clone(self),
            consumer: name.into(),
        })
    }

    fn trimmed(&self, up_to: Seq) {
        self.note(|notes| notes.trimmed = notes.trimmed.max(up_to));
    }

    fn deleted(&self) {
        self.note(|notes| notes.deletions = true);
    }

    fn duplicate(&self, received: &Received, events: &[Event], part: Part, of: Position) {
        let count = Part::try_from(events.len()).unwrap_or(Part::MAX);
        let own = Record::events_of(count, part, events);
        let session = own.first().and_then(Event::session_id);
        let session = session.or(received.session.as_deref());
        let entry = EventEntry::new(received, part, session, own, of, true);
        if let Some(outbox) = self.outbox.get() {
            outbox.duplicate(Duplicate {
                id: entry.id,
                of,
                at: nanos(entry.at),
                bytes: entry.bytes,
            });
        }
        self.note(|notes| {
            if !notes.duplicates.is_full(MAX_DUPLICATES) {
                notes.duplicates.push(&entry);
            }
        });
    }
}

/// Passes the attempts of one consumer to the inbox.
#[derive(Debug)]
struct ConsumerLog {
    inbox: Arc<Inbox>,
    consumer: Arc<str>,
}

impl AttemptObserver for ConsumerLog {
    fn attempted(&self, position: Position, attempt: u32, made: &EndedAttempt, at: Timestamp) {
        let texts = match &made.outcome {
            Outcome::Done => None,
            other => {
                let outcome = cut(&escape_controls(&other.to_string()), MAX_OUTCOME);
                Some((outcome, other.answer().map(shown_answer)))
            }
        };
        self.inbox.note(|notes| {
            if notes.attempts.len() >= MAX_ATTEMPTS {
                return;
            }
            let failure = texts.map(|(outcome, answer)| notes.failure(outcome, answer));
            let attempt = Attempt {
                position,
                at: nanos(at),
                consumer: Arc::clone(&self.consumer),
                attempt,
                took_ms: u32::try_from(made.took.as_millis()).unwrap_or(u32::MAX),
                failure,
            };
            if let Some(outbox) = self.inbox.outbox.get() {
                outbox.attempt(&attempt);
            }
            notes.attempts.push(attempt);
        });
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// Cut first: what an escape adds does not count.
fn shown_answer(answer: &str) -> String {
    escape_controls(&cut(answer, MAX_ANSWER)).into_owned()
}

impl Drop for ConsumerLog {
    fn drop(&mut self) {
        self.inbox.lock().consumers -= 1;
        // The indexer may wait for this consumer in order to stop.
        self.inbox.something.notify_one();
        self.inbox.hurry.notify_one();
    }
}

/// The most attempts that wait; further ones are discarded.
const MAX_ATTEMPTS: usize = 65_536;

/// With so many attempts the indexer stops gathering.
const MANY: usize = 8192;

/// The most duplicates that wait; further ones are discarded. Their texts have the limit of a segment.
const MAX_DUPLICATES: usize = 4096;

const MAX_ASKED: usize = 1024;
const MAX_WAIT: Duration = Duration::from_secs(1);
const MAX_OUTCOME: usize = 500;

/// How much of an answer is stored, in characters.
const MAX_ANSWER: usize = 512;

/// So many bytes of answers wait at most; further attempts are stored without theirs.
const MAX_ANSWER_BYTES: usize = 1 << 20;
