//! [`Exchange`]: where several instances share a journal, each tells the others how its attempts ended, and which duplicates
//! have arrived, so that lists and timelines are whole wherever they are asked for.
//!
//! What a subscriber has answered is not told, and nothing of what a duplicate holds: that goes when an event is deleted,
//! and a note does not. What a duplicate has in common with its original is taken from that one.

use std::collections::{BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{sleep, sleep_until, timeout};
use uuid::Uuid;

use super::attempts::{Attempt, Failure};
use super::inbox::Inbox;
use super::outbox::{Duplicate, Outbox, Untold};
use crate::clock::{Clock as _, SystemClock};
use crate::index::{EventEntry, Search};
use crate::journal::{Cluster, Gathered, Part, Position, Seq, Unavailable};
use crate::{EventId, EventKind, Timestamp};

/// Tells the other instances, and hears of them.
pub(crate) struct Exchange {
    pub(super) index: Arc<dyn Search>,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) cluster: Arc<dyn Cluster>,
    /// Has the number of the newest note that the index has.
    pub(super) file: PathBuf,
    /// No search waits for notes up to this number: they were heard, or cannot be taken now.
    pub(super) heard: watch::Sender<u64>,
}

/// What an instance has heard.
#[derive(Default)]
struct Hearing {
    /// The number of the newest note that was read.
    read: u64,
    /// Notes with duplicates that could not be taken yet, and their numbers.
    waiting: VecDeque<(u64, Vec<ToldDuplicate>)>,
}

/// What an instance tells.
#[derive(Default)]
struct Telling {
    /// Notes that are not stored, as far as is known. Nothing more is taken from the outbox before.
    notes: VecDeque<Vec<u8>>,
    /// Notes that are stored and were not read.
    own: BTreeSet<u64>,
    /// When it tells what waits.
    at: Option<Instant>,
}

/// Has the others tell what they have not told yet.
#[derive(Debug, Clone)]
pub(super) struct Others {
    pub(super) cluster: Arc<dyn Cluster>,
    /// No search waits for notes up to this number.
    pub(super) heard: watch::Receiver<u64>,
}

impl Others {
    /// Waits until everything that has happened at other instances before is in the inbox, for one second at most. Does not
    /// wait for what cannot be taken now.
    pub(super) async fn told(&self) {
        let mut heard = self.heard.clone();
        let told = async {
            self.cluster.gather(Gathered::Notes).await;
            // Notes are heard of before the answers of those who left them.
            let newest = *self.cluster.watch_notes().borrow();
            // It fails when the exchange has ended: then nothing more comes.
            let _ = heard.wait_for(|heard| *heard >= newest).await;
        };
        // A timeout is not an error: what is shown lacks the newest.
        let _ = timeout(LONGEST, told).await;
    }
}

/// An attempt in a note: body, part, time, consumer, number, duration, and how it failed.
type Told = (Seq, Part, i64, String, u32, u32, Option<String>);

/// A duplicate in a note: id of the body, part, body and part of the original, time, length.
type ToldDuplicate = (Uuid, Part, Seq, Part, i64, u64);

/// A note with duplicates. One with attempts is a list of them; an earlier version reads that alone.
#[derive(Serialize, Deserialize)]
struct Duplicates {
    duplicates: Vec<ToldDuplicate>,
}

impl Exchange {
    /// Tells and hears until told to stop, when all consumers have ended.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut newest = self.cluster.watch_notes();
        let mut hearing = Hearing {
            read: self.heard_before(),
            ..Hearing::default()
        };
        let mut telling = Telling::default();
        let mut pause: Option<Duration> = None;
        loop {
            if *stop.borrow_and_update() {
                self.tell(&mut telling).await;
                return;
            }
            let known = *newest.borrow_and_update();
            let heard = self.hear(&mut hearing, &mut telling.own).await;
            self.heard.send_replace(hearing.read.max(known));
            pause = match heard {
                Ok(()) => None,
                Err(error) => {
                    log::debug!("index: what other instances tell waits: {error}");
                    Some(pause.map_or(SHORTEST_PAUSE, |pause| (2 * pause).min(LONGEST_PAUSE)))
                }
            };
            tokio::select! {
                _ = stop.changed() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
                asked = self.cluster.asked_for(Gathered::Notes) => {
                    // What could not be stored waits for its time.
                    if telling.notes.is_empty() {
                        self.tell(&mut telling).await;
                    }
                    self.cluster.gathered(Gathered::Notes, asked);
                }
                () = self.outbox.something.notified(), if telling.at.is_none() => {
                    telling.at = Some(SystemClock.monotonic() + GATHER);
                }
                () = telling.due(), if telling.at.is_some() => self.tell(&mut telling).await,
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Leaves notes of what has ended here. What cannot be stored now is stored later, before anything else.
    async fn tell(&self, telling: &mut Telling) {
        let mut told = self.leave(telling).await;
        if told.is_ok() {
            telling.notes.extend(notes(self.outbox.take()));
            told = self.leave(telling).await;
        }
        telling.at = told.err().map(|error| {
            log::debug!("index: attempts or duplicates are shown only here so far: {error}");
            SystemClock.monotonic() + LONGEST_PAUSE
        });
    }

    async fn leave(&self, telling: &mut Telling) -> Result<(), Unavailable> {
        while let Some(note) = telling.notes.front() {
            let id = self.cluster.add_note(note).await?;
            telling.own.insert(id);
            telling.notes.pop_front();
        }
        Ok(())
    }

    /// Takes the notes that have come since. Attempts do not wait for duplicates that cannot be taken yet.
    async fn hear(
        &self,
        hearing: &mut Hearing,
        own: &mut BTreeSet<u64>,
    ) -> Result<(), Unavailable> {
        loop {
            let taken = self.take_waiting(hearing).await;
            let room = AT_ONCE - hearing.waiting.len();
            let notes = self.cluster.notes(hearing.read, room).await?;
            if notes.is_empty() {
                return taken;
            }
            for (id, body) in notes {
                hearing.read = id;
                if own.remove(&id) {
                    continue;
                }
                match read(&body) {
                    Ok(Read::Attempts(told)) => {
                        self.inbox.attempts_elsewhere(told.into_iter().map(attempt));
                    }
                    Ok(Read::Duplicates(told)) => {
                        hearing.waiting.push_back((id, told.duplicates));
                    }
                    Err(error) => log::debug!("index: note {id} cannot be read: {error}"),
                }
            }
            self.remember(hearing);
        }
    }

    /// Takes the duplicates that wait.
    async fn take_waiting(&self, hearing: &mut Hearing) -> Result<(), Unavailable> {
        let had_some = !hearing.waiting.is_empty();
        while let Some((_, told)) = hearing.waiting.front() {
            self.take_duplicates(told).await?;
            hearing.waiting.pop_front();
        }
        if had_some {
            self.remember(hearing);
        }
        Ok(())
    }

    /// Writes which notes need not be read after the next start. What is read again is shown once.
    fn remember(&self, hearing: &Hearing) {
        let waiting = hearing.waiting.front();
        let heard = waiting.map_or(hearing.read, |(id, _)| id - 1);
        let _ = block_in_place(|| std::fs::write(&self.file, heard.to_string()));
    }

    /// Takes duplicates that have arrived at another instance, with what they have in common with their originals.
    ///
    /// # Errors
    ///
    /// If those are not indexed yet, or cannot be read now.
    async fn take_duplicates(&self, told: &[ToldDuplicate]) -> Result<(), Unavailable> {
        let told: Vec<Duplicate> = told.iter().copied().map(duplicate).collect();
        let newest = told.iter().map(|one| one.of.seq()).max();
        if !self.index.is_complete(newest.unwrap_or_default()).await {
            let why = "their originals are not indexed yet";
            return Err(Unavailable::Away(why.to_owned()));
        }
        let originals = told.iter().map(|one| one.of).collect();
        let originals = self.index.by_positions(originals).await?;
        let entry = |one: &Duplicate| {
            let original = originals.binary_search_by_key(&one.of, |original| original.position);
            let original = original.ok().map(|at| &originals[at]);
            EventEntry {
                id: one.id,
                position: one.of,
                is_duplicate: true,
                // Its original was deleted, or has left the journal.
                is_deleted: original.is_none(),
                source: original.map_or("", |original| &original.source),
                session: original.and_then(|original| original.session.as_deref()),
                kind: original.map_or(EventKind::Unknown, |original| original.kind),
                name: original.and_then(|original| original.name.as_deref()),
                at: Timestamp::from_nanosecond(one.at.into()).unwrap_or_default(),
                bytes: original.map_or(0, |_| one.bytes),
                duplicate_of: None,
                odd: None,
            }
        };
        self.inbox.duplicates_elsewhere(told.iter().map(entry));
        Ok(())
    }

    fn heard_before(&self) -> u64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.parse().unwrap_or_default()
    }
}

impl Telling {
    /// Waits until it is time to tell.
    async fn due(&self) {
        if let Some(at) = self.at {
            sleep_until(at.into()).await;
        }
    }
}

/// Returns the notes that tell this.
fn notes(untold: Untold) -> impl Iterator<Item = Vec<u8>> {
    let attempts: Vec<Told> = untold.attempts.into_iter().map(told).collect();
    let attempts =
        (!attempts.is_empty()).then(|| serde_json::to_vec(&attempts).expect("numbers and text"));
    let duplicates: Vec<_> = untold.duplicates.into_iter().map(told_duplicate).collect();
    let duplicates: Vec<_> = duplicates
        .chunks(DUPLICATES_IN_A_NOTE)
        .map(|duplicates| {
            let duplicates = duplicates.to_vec();
            serde_json::to_vec(&Duplicates { duplicates }).expect("numbers and ids")
        })
        .collect();
    attempts.into_iter().chain(duplicates)
}

/// What a note holds.
enum Read {
    Attempts(Vec<Told>),
    Duplicates(Duplicates),
}

fn read(note: &[u8]) -> Result<Read, serde_json::Error> {
    match note.first() {
        Some(b'[') => serde_json::from_slice(note).map(Read::Attempts),
        _ => serde_json::from_slice(note).map(Read::Duplicates),
    }
}

fn told_duplicate(one: Duplicate) -> ToldDuplicate {
    let Duplicate { id, of, at, bytes } = one;
    (id.body(), id.part(), of.seq(), of.part(), at, bytes)
}

fn duplicate((body, part, seq, of, at, bytes): ToldDuplicate) -> Duplicate {
    Duplicate {
        id: EventId::new(body, part),
        of: Position::new(seq, of),
        at,
        bytes,
    }
}

fn told(attempt: Attempt) -> Told {
    (
        attempt.position.seq(),
        attempt.position.part(),
        attempt.at,
        attempt.consumer.to_string(),
        attempt.attempt,
        attempt.took_ms,
        attempt.failure.map(|failure| failure.outcome.to_string()),
    )
}

fn attempt((seq, part, at, consumer, attempt, took_ms, outcome): Told) -> Attempt {
    Attempt {
        position: Position::new(seq, part),
        at,
        consumer: consumer.into(),
        attempt,
        took_ms,
        failure: outcome.map(|outcome| Failure {
            outcome: outcome.into(),
            answer: None,
        }),
    }
}

/// How long attempts and duplicates are gathered for one note, unless somebody asks.
const GATHER: Duration = Duration::from_millis(500);

/// The pauses after what was told could not be taken.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long is waited for what others tell.
const LONGEST: Duration = Duration::from_secs(1);

/// How many notes are read together, and how many with duplicates wait at most.
const AT_ONCE: usize = 64;

/// So many duplicates are in one note at most: half of what the inbox of a reader has room for.
const DUPLICATES_IN_A_NOTE: usize = 2048;

#[cfg(test)]
mod tests;
