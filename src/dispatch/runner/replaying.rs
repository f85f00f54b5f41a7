//! Hands events over again, for replays.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;
use uuid::Uuid;

use super::Runner;
use super::fetching::{Fetched, Found};
use crate::dispatch::records::events_of;
use crate::dispatch::replay::{Replay, ReplayRequest};
use crate::dispatch::saved::Row;
use crate::dispatch::schedule::{Added, Via};
use crate::journal::{Position, Record, Seq};

impl Runner {
    /// Adds a replay of these events.
    pub(super) fn add_replay(&mut self, id: Uuid, request: ReplayRequest, events: Vec<Position>) {
        if events.is_empty() {
            return;
        }
        let (at, now) = self.seen;
        let replay = Replay::new(id, request, events, at);
        self.state.changed.insert(Row::Replay(id));
        self.state.replays.push(replay);
        self.tell_replay(id);
        self.replaying.next_at.insert(id, now);
        self.start_unsettled_again(id);
        self.forget_old_replays();
    }

    /// The events of a replay that are not settled need not be handed over twice: they are tried as if for
    /// the first time, here where the replay has no rate. One that runs may have begun long ago, so it is
    /// handed over again after its attempt.
    fn start_unsettled_again(&mut self, id: Uuid) {
        let Some(replay) = self
            .state
            .replay(id)
            .filter(|one| one.request.rate.is_none())
        else {
            return;
        };
        let unsettled = |event: &Position| {
            let is_done = self.state.progress.is_settled(*event) && !self.is_replayed(*event);
            !is_done && !self.schedule.runs(self.group_of(*event))
        };
        let unsettled: Vec<_> = replay.pending.iter().filter(unsettled).collect();
        for position in unsettled {
            self.start_again(position);
            self.handed_over(id, position);
        }
    }

    /// An attempt has failed: if a replay was asked for meanwhile, the next attempt is its first.
    pub(super) fn replay_after_failure(&mut self, position: Position) {
        let parts: Vec<_> = self.reading.parts(position).collect();
        let mut asked = Vec::new();
        for replay in self
            .state
            .replays
            .iter()
            .filter(|one| one.request.rate.is_none())
        {
            let pending = parts.iter().filter(|part| replay.pending.contains(**part));
            asked.extend(pending.map(|part| (replay.id, *part)));
        }
        for (id, part) in asked {
            self.start_again(part);
            // It is not settled: reading on finds it after a restart.
            self.state.replaying.insert(part);
            self.handed_over(id, part);
        }
    }

    /// Cancels a replay. Returns whether it ran.
    pub(super) fn cancel_replay(&mut self, id: Uuid) -> bool {
        let mut replays = self.state.replays.iter_mut();
        let Some(replay) = replays.find(|replay| replay.id == id && replay.is_running()) else {
            return false;
        };
        replay.cancel();
        self.tell_replay(id);
        self.state.changed.insert(Row::Replay(id));
        self.replaying.next_at.remove(&id);
        true
    }

    /// Events of bodies that were deleted need not be handed over.
    pub(super) fn forget_pending(&mut self, deleted: &[Seq]) {
        for replay in &mut self.state.replays {
            let pending = deleted.iter().flat_map(|seq| replay.pending.of_body(*seq));
            let pending: Vec<_> = pending.collect();
            if pending.is_empty() {
                continue;
            }
            for position in pending {
                replay.handed_over(position);
            }
            self.state.changed.insert(Row::Replay(replay.id));
            if !replay.is_running() {
                self.replaying.next_at.remove(&replay.id);
            }
        }
    }

    /// Starts the replays that ran when the consumer was saved.
    pub(super) fn resume_replays(&mut self) {
        let (_, now) = self.seen;
        let running = self
            .state
            .replays
            .iter()
            .filter(|replay| replay.is_running());
        let running: Vec<_> = running.map(|replay| (replay.id, replay.pause())).collect();
        for (id, pause) in running {
            self.replaying.next_at.insert(id, now + pause);
            self.start_unsettled_again(id);
        }
    }

    /// When a replay hands over next; `None` while all wait for something else.
    pub(super) fn next_replay(&self) -> Option<Instant> {
        if self.replaying.is_fetching || self.rests() {
            return None;
        }
        let at = |id: &Uuid| self.replaying.next_at[id];
        let ids = self.replaying.next_at.keys();
        ids.filter(|id| self.has_room_for(**id)).map(at).min()
    }

    fn has_room_for(&self, id: Uuid) -> bool {
        let count = self.replaying.counts.get(&id).copied().unwrap_or_default();
        count < self.context.tuning.replayed_together && self.next_of(id).is_some()
    }

    /// Hands over what is due: fetches the records first.
    pub(super) fn hand_over(&mut self) {
        if self.replaying.is_idle() || self.replaying.is_fetching || self.rests() {
            return;
        }
        let (_, now) = self.seen;
        let mut events = Vec::new();
        let ids: Vec<Uuid> = self.replaying.next_at.keys().copied().collect();
        for id in ids {
            self.take_due(id, now, HANDED_OVER_IN_A_TURN, &mut events);
        }
        if !self.replaying.waits_for_room {
            let again = HANDED_OVER_IN_A_TURN.min(self.replaying.again.len());
            let again = self.replaying.again.drain(..again);
            // Others were found by reading on, or are settled.
            let waits = |event: &Position| {
                self.state.replaying.contains(*event) && !self.schedule.contains(*event)
            };
            events.extend(again.filter(waits));
        }
        if events.is_empty() {
            return;
        }
        self.replaying.is_fetching = true;
        let (context, chunks) = (self.context.clone(), Arc::clone(&self.reading.chunks));
        self.fetches.push(Box::pin(async move {
            let fetch = async |position: Position| {
                let found = chunks.find(context.journal.as_ref(), position.seq()).await;
                let found = found.map(|record| record.map(|record| context.outlined(record)));
                (position, found)
            };
            Fetched::Replayed(join_all(events.into_iter().map(fetch)).await)
        }));
    }

    /// Takes the events of one replay that are due.
    fn take_due(&mut self, id: Uuid, now: Instant, most: usize, events: &mut Vec<Position>) {
        let most = events.len() + most;
        while events.len() < most
            && self.replaying.next_at.get(&id).is_some_and(|at| *at <= now)
            && self.has_room_for(id)
            && let Some(position) = self.next_of(id)
        {
            if self.state.progress.is_settled(position) && !self.is_replayed(position) {
                // From now on it is no dead letter.
                self.unsaved.revive(&[position]);
                self.state.replaying.insert(position);
                self.replaying.hand_over(id, position);
                events.push(position);
            } else {
                self.start_again(position);
            }
            self.handed_over(id, position);
        }
    }

    /// Whether the event is handed over again already.
    fn is_replayed(&self, position: Position) -> bool {
        self.state.replaying.contains(position)
    }

    /// The next event of a replay: one that runs waits until its attempt has ended.
    fn next_of(&self, id: Uuid) -> Option<Position> {
        let replay = self.state.replay(id)?;
        let runs = |position: &Position| self.schedule.runs(self.group_of(*position));
        replay.pending.iter().find(|position| !runs(position))
    }

    fn handed_over(&mut self, id: Uuid, position: Position) {
        let (_, now) = self.seen;
        let mut replays = self.state.replays.iter_mut();
        let Some(replay) = replays.find(|replay| replay.id == id) else {
            return;
        };
        replay.handed_over(position);
        let (is_running, pause) = (replay.is_running(), replay.pause());
        self.state.changed.insert(Row::Replay(id));
        if is_running {
            let at = self.replaying.next_at.entry(id).or_insert(now);
            // After a delay it does not hurry.
            *at = (*at + pause).max(now.checked_sub(pause).unwrap_or(now));
        } else {
            self.tell_replay(id);
            self.replaying.next_at.remove(&id);
        }
        self.unsaved();
    }

    /// Forgets the attempts of an event that waits, in the schedule or in the journal.
    fn start_again(&mut self, position: Position) {
        let (_, now) = self.seen;
        let waits_as = self.group_of(position);
        if self.schedule.afresh(waits_as, now) {
            self.has_retry(waits_as);
        } else if !self.schedule.contains(waits_as) {
            self.forget_retry(position);
        }
    }

    /// Takes the records of events that are handed over again.
    pub(super) fn take_replayed(&mut self, records: Vec<(Position, Found)>) {
        self.replaying.is_fetching = false;
        for (position, record) in records {
            match record {
                Ok(record) => self.take_replay(position, record),
                Err(error) => {
                    self.replaying.again.push_back(position);
                    self.stumble("cannot read the journal", &error);
                }
            }
        }
    }

    fn take_replay(&mut self, position: Position, record: Option<Arc<Record>>) {
        let is_known = self.schedule.contains(position) || self.group_of(position) != position;
        if is_known || !self.state.replaying.contains(position) {
            return;
        }
        let wants = |record: &Record, part| {
            self.may_want(record, part) && self.consumer.wants_any(events_of(record, part))
        };
        let Some(record) = record.filter(|record| wants(record, position.part())) else {
            // Retention has removed it in the meantime, or this consumer never wanted it.
            self.forget_retry(position);
            self.state.replaying.remove(position);
            self.replaying.settled(position);
            return self.unsaved();
        };
        let (seq, count) = (position.seq(), record.parts.count());
        if self.consumer.takes_bodies() && count > 1 {
            let is_replayed = |part| self.state.replaying.contains(Position::new(seq, part));
            let parts = position.part()..=count;
            let together = parts.filter(|part| is_replayed(*part) && wants(&record, *part));
            let together = together.collect();
            self.reading.together.insert(position, together);
        }
        let session = self.session_of(&record, position.part());
        if self.add(position, session, record, Via::Replay) == Added::Left {
            self.reading.together.remove(&position);
            self.replaying.again.push_back(position);
            self.replaying.waits_for_room = true;
        }
    }

    /// Keeps the newest replays that have ended, for administrators.
    fn forget_old_replays(&mut self) {
        let ended = self
            .state
            .replays
            .iter()
            .filter(|replay| !replay.is_running());
        let mut surplus = ended.count().saturating_sub(KEPT_REPLAYS);
        let changed = &mut self.state.changed;
        self.state.replays.retain(|replay| {
            let stays = replay.is_running() || surplus == 0;
            if !stays {
                surplus -= 1;
                changed.insert(Row::Replay(replay.id));
                let chunks = replay.pending.changed.iter();
                changed.extend(chunks.map(|chunk| Row::Pending(replay.id, *chunk)));
                self.replaying.forget(replay.id);
            }
            stays
        });
    }
}

/// How many events of a replay are fetched together.
const HANDED_OVER_IN_A_TURN: usize = 16;

/// How many replays that have ended are listed.
const KEPT_REPLAYS: usize = 20;
