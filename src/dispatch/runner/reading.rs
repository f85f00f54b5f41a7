//! Reads on along the journal, and again what had to be left there.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::Runner;
use super::fetching::{Fetched, Purpose, Reading};
use crate::Event;
use crate::dispatch::lane::SessionKey;
use crate::dispatch::records::events_of;
use crate::dispatch::schedule::{Added, Arrival, Via};
use crate::journal::{Missing, Part, Position, Record, Seq, Unavailable};

impl Runner {
    /// Whether reading goes on: a consumer that rests reads only a little ahead.
    pub(super) fn reads_on(&self) -> bool {
        !self.rests() || self.schedule.len() < self.context.tuning.next
    }

    /// Whether there is something to read.
    pub(super) fn is_behind(&self) -> bool {
        self.reads_on() && self.reading.cursor < self.context.journal.tail().head()
    }

    /// Whether there is something to read, and no read from the disk is on its way.
    pub(super) fn is_behind_in_memory(&self) -> bool {
        self.is_behind() && !self.is_fetching(Purpose::ReadOn)
    }

    /// Whether a backlog is read before more is started, because later statuses in it may overtake earlier
    /// ones.
    pub(super) fn reads_first(&mut self) -> bool {
        let first =
            self.monotonic.is_some() && self.is_behind() && self.reading.ahead < STATUSES_FIRST;
        if !first {
            self.reading.ahead = 0;
        }
        first
    }

    /// Reads on, for one turn. What is not in memory is fetched from the disk meanwhile.
    pub(super) fn read_on(&mut self) {
        if !self.is_behind() || self.is_fetching(Purpose::ReadOn) {
            return;
        }
        // Settled bodies need not be read again after a restart.
        let unsettled = self.state.progress.next_unsettled(self.reading.cursor);
        let head = self.context.journal.tail().head();
        self.reading.cursor = (unsettled - 1).min(head);
        if self.reading.cursor < head {
            self.read(Purpose::ReadOn, self.reading.cursor);
        }
    }

    /// Reads again what was left in the journal and has room by now, for one turn.
    pub(super) fn sweep(&mut self) {
        if self.rests() || self.is_fetching(Purpose::Sweep) {
            return;
        }
        loop {
            if self.reading.sweep.is_none() {
                let near = self
                    .reading
                    .cursor
                    .saturating_sub(self.context.tuning.bookmark_every);
                let from = self.schedule.begin_sweep(Position::first(near));
                self.reading.sweep = from.map(|from| from.seq().saturating_sub(1));
            }
            let Some(at) = self.reading.sweep else { return };
            let next = self.schedule.sweep_goes_on();
            let at = next.map_or(at, |next| at.max(next.seq().saturating_sub(1)));
            let at = self.state.progress.next_unsettled(at) - 1;
            if at < self.reading.cursor && next.is_some() {
                self.reading.sweep = Some(at);
                return self.read(Purpose::Sweep, at);
            }
            // Another may begin: there may be more room by now.
            self.reading.sweep = None;
            self.schedule.end_sweep(at >= self.reading.cursor);
        }
    }

    /// Whether a sweep runs and waits for nothing.
    pub(super) fn is_sweeping(&self) -> bool {
        self.reading.sweep.is_some() && !self.is_fetching(Purpose::Sweep) && !self.rests()
    }

    fn is_fetching(&self, purpose: Purpose) -> bool {
        self.reading.on_its_way[purpose as usize]
    }

    /// Takes the next records from memory, or begins to fetch them.
    fn read(&mut self, purpose: Purpose, after: Seq) {
        let most = self.context.tuning.read_in_a_turn;
        let records = self.context.journal.tail().range(after, most);
        if !records.is_empty() {
            return self.take_all(purpose, after, records);
        }
        self.reading.on_its_way[purpose as usize] = true;
        let journal = Arc::clone(&self.context.journal);
        self.fetches.push(Box::pin(async move {
            let read = journal.read(after, most).await;
            let read = read.map(|records| records.into_iter().map(Arc::new).collect());
            Fetched::Records(purpose, after, read)
        }));
    }

    /// Takes what was fetched from the disk.
    pub(super) fn fetched(&mut self, fetched: Fetched) {
        self.look_at_the_clock();
        let (purpose, after, read) = match fetched {
            Fetched::Replayed(records) => return self.take_replayed(records),
            Fetched::Records(purpose, after, read) => (purpose, after, read),
        };
        self.reading.on_its_way[purpose as usize] = false;
        let missing = || Unavailable::Away("a stored body cannot be found".to_owned());
        match read.and_then(|records| {
            let found = !records.is_empty();
            found.then_some(records).ok_or_else(missing)
        }) {
            Ok(records) => self.take_all(purpose, after, records),
            Err(error) => self.stumble("cannot read the journal", &error),
        }
    }

    fn take_all(&mut self, purpose: Purpose, after: Seq, records: Vec<Arc<Record>>) {
        let swept = purpose == Purpose::Sweep;
        let end = if swept {
            self.reading.cursor
        } else {
            Seq::MAX - 1
        };
        // Those numbers are of other records now.
        if self.resets.has_changed().unwrap_or(false) {
            return;
        }
        let (mut at, mut missing, mut deleted) = (after, Vec::new(), 0);
        for record in records {
            let seq = record.seq.min(end + 1);
            self.pass_gap(at + 1..seq);
            at = seq.min(end);
            if seq > end {
                break;
            }
            if !swept {
                self.reading.cursor = seq;
                self.reading.ahead += 1;
            }
            if record.missing.is_none() {
                self.take(record, if swept { Via::Sweep } else { Via::ReadOn });
            } else if !self.state.progress.is_body_settled(seq) {
                self.state.progress.settle_body(seq);
                deleted += u64::from(matches!(record.missing, Some(Missing::Deleted(_))));
                missing.push(seq);
            }
        }
        if !missing.is_empty() {
            self.forget_gone(|seq| missing.binary_search(&seq).is_ok());
            self.tell_deleted(deleted);
            self.passed_by();
        }
        if swept {
            self.reading.sweep = Some(at);
        }
    }

    /// Takes a body: each of its events is scheduled, left in the journal, or skipped.
    fn take(&mut self, mut record: Arc<Record>, via: Via) {
        let (seq, count) = (record.seq, record.parts.count());
        if self.state.progress.is_body_settled(seq) {
            return;
        }
        let mut together = Vec::new();
        for part in 1..=count {
            let position = Position::new(seq, part);
            if self.is_known(position) {
                continue;
            }
            if !self.may_want(&record, part) {
                self.pass_by(position, count);
                continue;
            }
            let session = self.session_of(&record, part);
            // An event without room need not be decoded, and is not handed over together with others.
            let is_judged_now = count > 1 || record.events.known().is_none();
            if is_judged_now && self.schedule.leaves(session, position, via) {
                continue;
            }
            record = self.context.outlined(record);
            if !self.consumer.wants_any(events_of(&record, part)) {
                self.pass_by(position, count);
            } else if self.consumer.takes_bodies() && count > 1 {
                together.push(part);
            } else {
                self.wait(position, session, Arc::clone(&record), via);
            }
        }
        if let Some(first) = together.first() {
            let position = Position::new(seq, *first);
            let session = self.session_of(&record, *first);
            self.reading.together.insert(position, together);
            self.wait(position, session, record, via);
        }
    }

    /// Whether the event is settled or in the schedule.
    fn is_known(&self, position: Position) -> bool {
        self.state.progress.is_settled(position)
            || self.schedule.contains(position)
            || self.group_of(position) != position
    }

    /// Settles an event that the consumer does not want. If that is forgotten it is skipped again, so a
    /// thousand consumers that wait for other events write almost nothing.
    fn pass_by(&mut self, position: Position, of: Part) {
        self.forget_retry(position);
        self.state.progress.open(position.seq(), of);
        self.state.progress.settle(position);
        self.passed_by();
    }

    /// Settles bodies that are not in the journal any more, for example because retention has removed them.
    fn pass_gap(&mut self, gone: Range<Seq>) {
        if gone.is_empty() {
            return;
        }
        let mut seq = self.state.progress.next_unsettled(gone.start - 1);
        while seq < gone.end {
            self.state.progress.settle_body(seq);
            seq = self.state.progress.next_unsettled(seq);
        }
        self.forget_gone(|seq| gone.contains(&seq));
        self.passed_by();
    }

    /// Settles bodies that were deleted. What was read of them before is not used any more, because they are
    /// settled. An attempt that runs goes on, and is the last one.
    pub(super) fn pass_deleted(&mut self, bodies: &[Seq]) {
        let is_skipped = |seq: &&Seq| {
            let position = Position::first(**seq);
            !self.state.progress.is_body_settled(**seq) && !self.schedule.runs(position)
        };
        let skipped = bodies.iter().filter(is_skipped).count();
        for seq in bodies {
            self.state.progress.settle_body(*seq);
        }
        let deleted: HashSet<Seq, FixedState> = bodies.iter().copied().collect();
        self.forget_gone(|seq| deleted.contains(&seq));
        self.forget_pending(bodies);
        self.reading.next.forget(|seq| deleted.contains(&seq));
        // A later replay must not find them there.
        self.reading.chunks = Arc::default();
        self.tell_deleted(skipped as u64);
        self.unsaved();
    }

    /// Counts and logs deleted bodies that the consumer had not settled.
    fn tell_deleted(&self, bodies: u64) {
        if bodies > 0 {
            self.consumer.metrics.deleted.inc_by(bodies);
            let name = self.consumer.name();
            log::info!(consumer = name; "{name}: skips {bodies} deleted events that it had not settled");
        }
    }

    /// Forgets the retries and the replays of bodies that are not in the journal any more, and are settled.
    fn forget_gone(&mut self, is_gone: impl Fn(Seq) -> bool) {
        let (retries, replaying) = (
            self.schedule.retries().keys().copied(),
            self.state.replaying.iter(),
        );
        let known = retries.chain(replaying);
        let known: Vec<_> = known.filter(|event| is_gone(event.seq())).collect();
        let (_, now) = self.seen;
        for position in known {
            let waits_as = self.group_of(position);
            if self.schedule.contains(waits_as) {
                // What waits for a retry finds it out now and not when that is due.
                self.schedule.afresh(waits_as, now);
            } else {
                self.forget_retry(position);
            }
            self.state.replaying.remove(position);
            self.replaying.settled(position);
        }
    }

    /// Settles what retention has removed since the last call.
    pub(super) fn pass_removed(&mut self) {
        let removed = self.context.journal.tail().removed();
        if removed > self.reading.removed {
            let first = self.reading.removed + 1;
            self.reading.removed = removed;
            self.pass_gap(first..removed + 1);
        }
    }

    /// Whether the consumer wants this event, as far as can be said without decoding it.
    pub(super) fn may_want(&self, record: &Record, part: Part) -> bool {
        let view = record.parts.view(part, &record.received);
        !view.duplicate
            && view.share == self.context.desk.share()
            && self.consumer.wants_session(view.session)
    }

    /// Schedules an event, or a body with several events, unless a later status has overtaken it.
    fn wait(&mut self, position: Position, session: SessionKey, record: Arc<Record>, via: Via) {
        let events = alone(&self.reading, position, &record);
        let waits = |position| self.schedule.contains(position);
        let is_replay = self.state.replaying.contains(position);
        let statuses = &mut self.state.statuses;
        if let Some(monotonic) = &mut self.monotonic
            && !is_replay
            && !monotonic.comes(statuses, position, &record.received.source, events, waits)
        {
            self.forget_retry(position);
            let progress = &mut self.state.progress;
            progress.open(record.seq, record.parts.count());
            progress.settle(position);
            return self.unsaved();
        }
        if self.add(position, session, record, via) == Added::Left {
            self.reading.together.remove(&position);
        }
    }

    /// Adds an event to the schedule, with the attempts that it had.
    pub(super) fn add(
        &mut self,
        position: Position,
        session: SessionKey,
        record: Arc<Record>,
        via: Via,
    ) -> Added {
        let part = position.part();
        let view = record.parts.view(part, &record.received);
        let events = alone(&self.reading, position, &record);
        let order = self.consumer.order();
        let added = self.schedule.add(Arrival {
            position,
            lane: order.lane(&record.received.source, view.session, events),
            session,
            via,
        });
        if added != Added::Left {
            self.state.progress.open(record.seq, record.parts.count());
        }
        if added == Added::First {
            self.reading.next.put(position, record);
        }
        added
    }

    /// The session of an event.
    pub(super) fn session_of(&self, record: &Record, part: Part) -> SessionKey {
        let session = record.parts.view(part, &record.received).session;
        self.hasher.key(&record.received.source, session)
    }

    /// The event that stands for this one in the schedule, when it is delivered together with another
    /// event of its body; otherwise the event itself.
    pub(super) fn group_of(&self, position: Position) -> Position {
        let mut others = (1..position.part()).map(|part| Position::new(position.seq(), part));
        let first = others.find(|other| {
            let together = self.reading.together.get(other);
            together.is_some_and(|parts| parts.contains(&position.part()))
        });
        first.unwrap_or(position)
    }
}

/// The event at a position; none when a body with several events is delivered together.
fn alone<'a>(reading: &Reading, position: Position, record: &'a Record) -> &'a [Event] {
    if reading.together.contains_key(&position) {
        return &[];
    }
    events_of(record, position.part())
}

/// How many records of a backlog are read before their first event starts, where statuses only go forward.
const STATUSES_FIRST: usize = 16_384;
