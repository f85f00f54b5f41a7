//! [`Instance`]: one instance of the model. It does in single steps what the engine's tasks do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use uuid::Uuid;

use super::changing::Changing;
use super::database::{Beat, Change, Database};
use super::uuid;
use super::{CONSUMERS, EVENTS, LEASE, Log, SHARES};
use crate::Timestamp;
use crate::journal::contract::body;
use crate::journal::postgres::batch::Plan;
use crate::journal::postgres::division::{
    Others, Step, has_gone_back, steps, still_held, valid_for,
};
use crate::journal::postgres::following::{Following, OwnBodies};
use crate::journal::{Appended, DedupKey, Entry, Events, Grant, Record, Seq, Share, Tail};

pub(super) struct Instance {
    id: Uuid,
    /// Its settings may have changed since the others were started.
    lease: Duration,
    pub(super) following: Following,
    others: Others,
    pub(super) held: BTreeMap<Share, Grant>,
    pub(super) valid_until: Instant,
    pub(super) paused_until: Instant,
    /// Whether its connections lead to the log that it knows.
    pub(super) is_verified: bool,
    /// Shares were lost with a lease, or with the log.
    is_lost: bool,
    /// A renewal that was sent at this time, and its answer.
    beat: Option<(Instant, Beat)>,
    /// How far each consumer is in the shares that are held.
    pub(super) cursors: BTreeMap<(Share, u8), Cursor>,
    /// A save that is on its way.
    pub(super) save: Option<Change>,
    /// Saves that were given up, and may still reach the database.
    pub(super) late: Vec<Change>,
    pub(super) changing: Changing,
}

/// How far a consumer is.
pub(super) struct Cursor {
    pub(super) at: Seq,
    /// What was saved or read last, and the editions that the stored progress may have.
    pub(super) saved: Seq,
    pub(super) known: Vec<Uuid>,
}

impl Instance {
    pub(super) fn new(database: &mut Database, rng: &mut Rng, now: Instant) -> Self {
        let id = uuid(rng);
        let lease = LEASE * rng.u32(1..4);
        let changing = Changing::read(database);
        database.join(id, uuid(rng), lease, changing.applied);
        let tail = Arc::new(Tail::new(database.head()));
        Self {
            id,
            lease,
            following: Following::new(tail, database.newest(), 0),
            others: Others::default(),
            held: BTreeMap::new(),
            valid_until: now,
            paused_until: now,
            is_verified: true,
            is_lost: false,
            beat: None,
            cursors: BTreeMap::new(),
            save: None,
            late: Vec::new(),
            changing,
        }
    }

    /// Takes a step. Returns what it was.
    pub(super) fn act(
        &mut self,
        choice: u8,
        now: Instant,
        database: &mut Database,
        rng: &mut Rng,
        is_faulty: bool,
        log: &mut Log,
    ) -> Option<&'static str> {
        // The first act after a pause: what is past its time is dropped.
        if now >= self.valid_until && !self.held.is_empty() {
            self.lose_shares();
        }
        let fault = if is_faulty { rng.u8(..10) } else { 9 };
        match choice {
            0 if is_faulty => self.append(database, rng, fault, log),
            1 => self.follow(database, rng),
            2 => self.send_beat(now, database, rng, fault),
            3 => self.take_beat(now, database, rng),
            4 | 5 => self.hand_over(database, rng, log),
            6 => self.prepare_save(rng),
            7 => self.finish_save(database, rng, fault),
            8 => self.read_documents(database, rng),
            9 => {
                self.attempt(database, log);
                None
            }
            10 => self.obey(database, rng, fault),
            // What was asked for is answered, and nothing more is asked for, when nothing goes wrong any more.
            _ if !is_faulty && !self.changing.waits() => None,
            _ if self.changing.asks_for_documents(rng) => {
                self.change_documents(database, rng, fault, log)
            }
            _ => self.command(database, rng, fault, log),
        }
    }

    /// A batch of events, some of which were sent before.
    fn append(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
        log: &mut Log,
    ) -> Option<&'static str> {
        self.verify(database, rng);
        let entries: Vec<Entry> = (0..rng.usize(1..5))
            .map(|_| event(rng.usize(..EVENTS)))
            .collect();
        let mut stored = HashMap::new();
        if fault == 0 {
            return Some("appends, and the request is lost");
        }
        loop {
            let plan = Plan::of(entries.iter(), &stored);
            let id = uuid(rng);
            let records =
                |first| plan.records(entries.iter(), first, Timestamp::UNIX_EPOCH, SHARES);
            let first = match plan.new {
                0 => 0,
                _ => match database.append(id, &plan.keys, records) {
                    Err(held) => {
                        stored.extend(held);
                        continue;
                    }
                    Ok(first) => first,
                },
            };
            if plan.new > 0 && fault == 1 {
                return Some("appends, and the answer is lost");
            }
            if plan.new > 0 {
                self.following.offer(OwnBodies {
                    batch: id,
                    records: records(first),
                });
            }
            for (index, entry) in entries.iter().enumerate() {
                let seq = match plan.outcome(index, first) {
                    Appended::New { seq, .. } => seq,
                    Appended::Duplicate(originals) => originals[0].seq(),
                };
                let before = log.acknowledged.insert(entry.parts[0].key.hash, seq);
                assert!(
                    before.is_none_or(|before| before == seq),
                    "an event has two numbers"
                );
            }
            return Some("appends");
        }
    }

    fn follow(&mut self, database: &mut Database, rng: &mut Rng) -> Option<&'static str> {
        self.verify(database, rng);
        let head = self.following.tail().head();
        let own = self.following.own_waiting();
        let read = database.blocks(head, 3, &own);
        if read.is_empty() || !self.following.take(read, !own.is_empty()) {
            self.following.take(database.blocks(head, 3, &[]), false);
        }
        None
    }

    fn send_beat(
        &mut self,
        now: Instant,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
    ) -> Option<&'static str> {
        if self.beat.is_some() {
            return None;
        }
        self.verify(database, rng);
        match fault {
            0 => Some("beats, and the request is lost"),
            1 => {
                database.beat(self.id, uuid(rng), self.changing.applied);
                Some("beats, and the answer is lost")
            }
            _ => {
                let beat = database.beat(self.id, uuid(rng), self.changing.applied);
                self.beat = Some((now, beat));
                None
            }
        }
    }

    /// The answer of a renewal may come long after it was sent.
    fn take_beat(
        &mut self,
        now: Instant,
        database: &mut Database,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let (sent, beat) = self.beat.take()?;
        // An answer that takes half a lease is not waited for.
        if now.saturating_duration_since(sent) > self.lease / 2 {
            return Some("gave its renewal up");
        }
        if self.verify(database, rng) {
            return Some("finds that the log has gone back");
        }
        if !beat.is_alive || self.is_lost {
            self.begin_again(database, rng);
            return Some("begins again");
        }
        self.following.heard(beat.head);
        self.valid_until = sent + valid_for(self.lease);
        for (id, seen) in self
            .others
            .vanished(self.id, &beat.instances, now, self.lease)
        {
            database.bury(id, seen);
        }
        if has_gone_back(&self.held, &beat.shares) {
            self.begin_again(database, rng);
            return Some("finds that its shares were not taken");
        }
        self.held = still_held(&self.held, &beat.shares, self.id);
        self.cursors
            .retain(|(share, _), _| self.held.contains_key(share));
        let living: Vec<Uuid> = beat.instances.iter().map(|one| one.id).collect();
        for step in steps(self.id, &living, &beat.shares, &self.held, SHARES) {
            match step {
                // As in lease.rs: subscriptions that were changed meanwhile are known before.
                Step::Take { .. } if self.changing.applied < beat.documents => {}
                Step::Take { no, epoch } => self.take(no, epoch, database, rng),
                Step::LetGo(no) => self.held.get_mut(&no).expect("it is held").is_ending = true,
            }
        }
        Some("renews its lease")
    }

    fn take(&mut self, share: Share, epoch: u64, database: &mut Database, rng: &mut Rng) {
        let taken = database.take(share, epoch, self.id);
        let is_answered = rng.u8(..8) > 0;
        let Some(epoch) = taken.filter(|_| is_answered) else {
            return;
        };
        self.held.insert(
            share,
            Grant {
                share,
                epoch,
                is_ending: false,
                holder: self.id,
            },
        );
        for consumer in 0..CONSUMERS {
            let saved = database.saved(consumer, share);
            let cursor = Cursor {
                at: saved.head,
                saved: saved.head,
                known: vec![saved.edition],
            };
            self.cursors.insert((share, consumer), cursor);
        }
    }

    /// A consumer is handed the next body, if it is of its share.
    fn hand_over(
        &mut self,
        database: &Database,
        rng: &mut Rng,
        log: &mut Log,
    ) -> Option<&'static str> {
        let at = rng.usize(..self.cursors.len().max(1));
        let ((share, consumer), cursor) = self.cursors.iter_mut().nth(at)?;
        let seq = cursor.at + 1;
        if self.held[share].is_ending || seq > self.following.tail().head() {
            return None;
        }
        let record = match self.following.tail().get(seq) {
            Some(record) => Record::clone(&record),
            None if self.is_verified => database.record(seq)?,
            None => return None,
        };
        cursor.at = seq;
        if of_share(&record) == *share {
            let consumer = *consumer;
            in_order(&record, consumer, database, log);
            log.started.insert((consumer, record.received.id));
        }
        None
    }

    fn lose_shares(&mut self) {
        self.held.clear();
        self.cursors.clear();
        self.is_lost = true;
    }

    fn begin_again(&mut self, database: &mut Database, rng: &mut Rng) {
        database.leave(self.id);
        self.lose_shares();
        self.others.forget();
        self.is_lost = false;
        self.id = uuid(rng);
        let applied = self.changing.applied;
        database.join(self.id, uuid(rng), self.lease, applied);
    }

    /// Returns whether the log had gone back.
    pub(super) fn verify(&mut self, database: &mut Database, rng: &mut Rng) -> bool {
        if std::mem::replace(&mut self.is_verified, true) {
            return false;
        }
        self.changing.give_up();
        let witnesses = self.following.witnesses();
        let Some(newest) = witnesses.last() else {
            return false;
        };
        if database.has(*newest) {
            return false;
        }
        let common = witnesses
            .iter()
            .rev()
            .find(|witness| database.has(**witness));
        self.following
            .reset(common.copied().or_else(|| database.newest()));
        self.save = None;
        self.beat = None;
        self.begin_again(database, rng);
        true
    }
}

/// An event is handed over for the first time only after all before it in its share.
fn in_order(record: &Record, consumer: u8, database: &Database, log: &Log) {
    let stored = database.log();
    let is_current = stored
        .get(record.seq as usize - 1)
        .is_some_and(|one| one.received.id == record.received.id);
    if !is_current || log.started.contains(&(consumer, record.received.id)) {
        return;
    }
    for earlier in &stored[..record.seq as usize - 1] {
        let is_started = log.started.contains(&(consumer, earlier.received.id));
        assert!(
            is_started || of_share(earlier) != of_share(record),
            "consumer {consumer} is handed body {} before {}",
            record.seq,
            earlier.seq
        );
    }
}

fn of_share(record: &Record) -> Share {
    record.parts.view(1, &record.received).share
}

/// The event `number`; its id is its key.
fn event(number: usize) -> Entry {
    let mut received = body("event");
    let hash = number as u128 + 1;
    received.id = Uuid::from_u128(hash);
    received.session = Some(format!("session {}", number % 5));
    let window = Duration::from_secs(3600);
    let key = DedupKey {
        hash,
        window,
        state: None,
        named: true,
    };
    Entry::one(Arc::new(received), Events::Unread, key)
}
