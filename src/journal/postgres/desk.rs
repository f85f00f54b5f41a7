//! [`PostgresDesk`]: the progress of consumers in one share. [`Saver`]: the task that saves changes of all desks
//! together, in one transaction.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::editions::{Editions, Known};
use super::link::Link;
use super::session::Session;
use super::shared::Shared;
use super::sql::signed;
use super::verify::Verifier;
use crate::journal::{
    DeadLetter, Desk, Grant, Position, ProgressChange, SavedProgress, Share, Unavailable,
};

/// The desk of a share, under the epoch in which the share was taken.
#[derive(Debug)]
pub(super) struct PostgresDesk {
    shared: Arc<Shared>,
    saves: mpsc::Sender<Save>,
    grant: Grant,
    /// How often the log had gone back when the desk was opened.
    generation: u64,
    editions: Arc<Editions>,
}

/// A change to save, and the caller that waits.
#[derive(Debug)]
pub(super) struct Save {
    change: ProgressChange,
    grant: Grant,
    /// That of its desk.
    generation: u64,
    editions: Arc<Editions>,
    caller: oneshot::Sender<Result<(), Unavailable>>,
}

impl PostgresDesk {
    pub(super) fn new(shared: Arc<Shared>, saves: mpsc::Sender<Save>, grant: Grant) -> Self {
        let generation = shared.verifier.generation();
        Self {
            shared,
            saves,
            grant,
            generation,
            editions: Arc::default(),
        }
    }

    fn is_fenced(&self) -> bool {
        self.generation != self.shared.verifier.generation()
    }
}

#[async_trait]
impl Desk for PostgresDesk {
    fn share(&self) -> Share {
        self.grant.share
    }

    async fn saved(&self, consumer: &str) -> Result<Option<SavedProgress>, Unavailable> {
        let read = read(&self.shared.link, self.grant.share, consumer).await?;
        let Some((saved, edition)) = read else {
            self.editions.forget(consumer);
            return Ok(None);
        };
        self.editions.read(consumer, edition);
        Ok(Some(saved))
    }

    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable> {
        if self.is_fenced() {
            return Err(Unavailable::Fenced(self.grant.share));
        }
        let (caller, answered) = oneshot::channel();
        let save = Save {
            change,
            grant: self.grant,
            generation: self.generation,
            editions: Arc::clone(&self.editions),
            caller,
        };
        self.saves
            .send(save)
            .await
            .map_err(|_| Unavailable::Ended)?;
        let saved = answered.await.map_err(|_| Unavailable::Ended)?;
        if let Err(Unavailable::Fenced(_)) = saved {
            self.shared.counts.fenced.fetch_add(1, Ordering::Relaxed);
            self.shared.grants.remove(self.grant);
            // Where it is still held, it is taken again, and its consumers begin from what is stored.
            self.shared.grants.look.notify_one();
        }
        saved
    }
}

/// Returns what was saved last of a consumer in a share, with its edition.
async fn read(
    link: &Link,
    share: Share,
    consumer: &str,
) -> Result<Option<(SavedProgress, Uuid)>, Unavailable> {
    let (name, share) = (consumer.as_bytes(), i32::from(share));
    // One statement, so that head and rows belong together.
    let rows = link.read(SAVED, &[&name, &share]).await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let (head, edition) = (first.get(0), first.get(1));
    let pairs = rows.iter().filter_map(|row| {
        let key: Option<Vec<u8>> = row.get(2);
        Some((key?, row.get::<_, Option<Vec<u8>>>(3)?))
    });
    let rows = pairs.collect();
    Ok(Some((SavedProgress { head, rows }, edition)))
}

/// Returns what was saved last of a consumer in each share.
pub(super) async fn saved_everywhere(
    link: &Link,
    consumer: &str,
) -> Result<BTreeMap<Share, SavedProgress>, Unavailable> {
    let rows = link.read(SAVED_EVERYWHERE, &[&consumer.as_bytes()]).await?;
    let mut shares: BTreeMap<Share, SavedProgress> = BTreeMap::new();
    for row in &rows {
        let share = shares.entry(row.get::<_, i32>(0) as Share);
        let saved = share.or_insert_with(|| SavedProgress {
            head: row.get(1),
            rows: Vec::new(),
        });
        if let (Some(key), Some(value)) = (row.get(2), row.get(3)) {
            saved.rows.push((key, value));
        }
    }
    Ok(shares)
}

/// Saves changes of all desks of this instance, as many as wait in one transaction.
pub(super) struct Saver {
    link: Link,
    verifier: Arc<Verifier>,
    asked: mpsc::Receiver<Save>,
    waiting: VecDeque<Save>,
}

impl Saver {
    pub(super) fn new(link: Link, verifier: Arc<Verifier>, asked: mpsc::Receiver<Save>) -> Self {
        Self {
            link,
            verifier,
            asked,
            waiting: VecDeque::new(),
        }
    }

    /// Saves until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        loop {
            let mut received = Vec::new();
            if self.waiting.is_empty() {
                self.asked.recv_many(&mut received, MAX_SAVES).await;
                if received.is_empty() {
                    return;
                }
            }
            self.waiting.extend(received);
            // A new connection may show that the log has gone back, and then what waits is made from what is lost. So
            // the generation is compared when the connection is there, and the changes go over that one.
            let session = self.link.session().await;
            self.refuse_older(self.verifier.generation());
            let batch = self.one_batch();
            if batch.is_empty() {
                continue;
            }
            let arrays = Arrays::of(&batch);
            let saved = match &session {
                Ok(session) => arrays.save(session).await,
                Err(why) => Err(why.clone()),
            };
            let (known, editions) = (arrays.known_as, arrays.editions);
            for (index, save) in batch.into_iter().enumerate() {
                let outcome = match &saved {
                    Ok(outcomes) if outcomes.get(index) == Some(&SAVED_NOW) => Ok(()),
                    Ok(outcomes) => Err(refused(&save, outcomes.get(index))),
                    Err(why) => Err(why.clone()),
                };
                if let Ok(()) | Err(Unavailable::Unknown(_)) = outcome {
                    let (consumer, is_certain) = (&save.change.consumer, outcome.is_ok());
                    let (known, edition) = (known[index].as_ref(), editions[index]);
                    save.editions.saved(consumer, known, edition, is_certain);
                }
                // A caller that no longer waits needs no answer.
                drop(save.caller.send(outcome));
            }
        }
    }

    /// Refuses what waits from desks that were opened before the log went back.
    fn refuse_older(&mut self, generation: u64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (left, older) = waiting.partition(|save: &Save| save.generation == generation);
        self.waiting = left;
        let older: VecDeque<Save> = older;
        for save in older {
            let share = save.grant.share;
            drop(save.caller.send(Err(Unavailable::Fenced(share))));
        }
    }

    /// Takes what is saved together: at most one change of a consumer in a share, and about 1 MiB.
    fn one_batch(&mut self) -> Vec<Save> {
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        let (mut places, mut bytes) = (HashSet::new(), 0);
        for save in self.waiting.drain(..) {
            let place = (save.grant.share, save.change.consumer.clone());
            if bytes >= MAX_SAVE_BYTES || !places.insert(place) {
                later.push_back(save);
                continue;
            }
            bytes += weight(&save.change);
            batch.push(save);
        }
        self.waiting = later;
        batch
    }
}

/// Why the database has not saved a change: 1 its share is not held any more, 2 it is made from another progress, 3 there
/// is none.
fn refused(save: &Save, outcome: Option<&i32>) -> Unavailable {
    let (share, consumer) = (save.grant.share, &save.change.consumer);
    match outcome {
        Some(2) => log::error!(
            "journal: what {consumer} has saved in share {share} is not there any more: the database has gone back (a \
             fail-over to a standby that did not have it, or a restore); it begins again from what is stored, and what \
             was settled since is delivered again"
        ),
        Some(3) => log::error!(
            "journal: nothing is saved of {consumer} in share {share} any more: it was removed, or the database has gone \
             back behind its start (a fail-over or a restore); the consumers of the share begin again from what is stored"
        ),
        _ => {}
    }
    Unavailable::Fenced(share)
}

/// About how many bytes a change has.
fn weight(change: &ProgressChange) -> usize {
    let rows = change
        .rows
        .iter()
        .map(|(key, value)| 64 + key.len() + value.as_ref().map_or(0, Vec::len));
    let dead = change.dead.iter().map(|letter| 64 + letter.reason.len());
    change.consumer.len()
        + change.head.len()
        + rows.sum::<usize>()
        + dead.sum::<usize>()
        + 16 * change.revived.len()
}

/// Changes as the database takes them.
#[derive(Default)]
struct Arrays<'a> {
    shares: Vec<i32>,
    holders: Vec<Uuid>,
    epochs: Vec<i64>,
    consumers: Vec<&'a [u8]>,
    heads: Vec<&'a [u8]>,
    editions: Vec<Uuid>,
    known_from: Vec<Option<i32>>,
    known_to: Vec<Option<i32>>,
    known: Vec<Uuid>,
    /// The same, for each change.
    known_as: Vec<Option<Known>>,
    row_of: Vec<i32>,
    row_keys: Vec<&'a [u8]>,
    row_values: Vec<Option<&'a [u8]>>,
    revived: Places,
    dead: Places,
    attempts: Vec<i64>,
    reasons: Vec<&'a [u8]>,
    ats: Vec<i64>,
}

/// Positions, and whose they are.
#[derive(Default)]
struct Places {
    of: Vec<i32>,
    seqs: Vec<i64>,
    parts: Vec<i32>,
}

impl<'a> Arrays<'a> {
    fn of(batch: &'a [Save]) -> Self {
        let mut arrays = Self::default();
        for (save, index) in batch.iter().zip(1..) {
            let change = &save.change;
            arrays.shares.push(save.grant.share.into());
            arrays.holders.push(save.grant.holder);
            arrays.epochs.push(signed(save.grant.epoch));
            arrays.consumers.push(change.consumer.as_bytes());
            arrays.heads.push(&change.head);
            arrays.editions.push(Uuid::now_v7());
            let known = save.editions.known(&change.consumer);
            let before = arrays.known.len() as i32;
            arrays
                .known
                .extend(known.iter().flat_map(|known| known.iter()));
            let last = arrays.known.len() as i32;
            arrays.known_from.push(known.as_ref().map(|_| before + 1));
            arrays.known_to.push(known.as_ref().map(|_| last));
            arrays.known_as.push(known);
            // Of several changes of one row, or of one letter, the last one counts.
            let rows: BTreeMap<_, _> = change
                .rows
                .iter()
                .map(|(key, value)| (key, value))
                .collect();
            for (key, value) in rows {
                arrays.row_of.push(index);
                arrays.row_keys.push(key);
                arrays.row_values.push(value.as_deref());
            }
            for position in &change.revived {
                arrays.revived.push(index, *position);
            }
            let dead: BTreeMap<Position, &DeadLetter> = change
                .dead
                .iter()
                .map(|letter| (letter.position, letter))
                .collect();
            for (position, letter) in dead {
                arrays.dead.push(index, position);
                arrays.attempts.push(letter.attempts.into());
                arrays.reasons.push(letter.reason.as_bytes());
                arrays.ats.push(letter.at.as_millisecond());
            }
        }
        arrays
    }

    /// Returns what became of each change.
    async fn save(&self, session: &Session) -> Result<Vec<i32>, Unavailable> {
        let (revived, dead) = (&self.revived, &self.dead);
        let values: [&(dyn ToSql + Sync); 21] = [
            &self.shares,
            &self.holders,
            &self.epochs,
            &self.consumers,
            &self.heads,
            &self.editions,
            &self.known_from,
            &self.known_to,
            &self.known,
            &self.row_of,
            &self.row_keys,
            &self.row_values,
            &revived.of,
            &revived.seqs,
            &revived.parts,
            &dead.of,
            &dead.seqs,
            &dead.parts,
            &self.attempts,
            &self.reasons,
            &self.ats,
        ];
        Ok(session.call(SAVE, &values).await?[0].get(0))
    }
}

impl Places {
    fn push(&mut self, of: i32, position: Position) {
        self.of.push(of);
        self.seqs.push(signed(position.seq()));
        self.parts.push(position.part().into());
    }
}

const SAVED: &str = "SELECT p.head, p.edition, r.key, r.value FROM progress p LEFT JOIN progress_row r \
    ON r.consumer = p.consumer AND r.share = p.share WHERE p.consumer = $1 AND p.share = $2 ORDER BY r.key";
const SAVED_EVERYWHERE: &str = "SELECT p.share, p.head, r.key, r.value FROM progress p \
    LEFT JOIN progress_row r ON r.consumer = p.consumer AND r.share = p.share WHERE p.consumer = $1 \
    ORDER BY p.share, r.key";
const SAVE: &str = "SELECT save_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
    $18, $19, $20, $21)";

/// What the database says of a change that it has saved.
const SAVED_NOW: i32 = 0;

/// How many changes may wait; a desk waits until there is room.
pub(super) const MAX_SAVES: usize = 4096;
const MAX_SAVE_BYTES: usize = 1024 * 1024;
