//! Reads ahead along the journal, and schedules replays.

use std::sync::Arc;

use super::find::find;
use super::state::Runner;
use crate::dispatch::saved::Waiting;
use crate::journal::{PartView, Position, Record, Seq, Unavailable};
use crate::{Event, Timestamp};

impl Runner {
    /// Whether one more event fits within the read-ahead limit.
    pub(super) fn has_room(&self) -> bool {
        self.schedule.len() < self.context.tuning.read_ahead
    }

    /// Whether reading ahead would find events that could start now, or that overtake waiting ones.
    pub(super) fn reads_on(&self) -> bool {
        self.has_room() && (self.monotonic.is_some() || !self.schedule.has_enough())
    }

    /// Whether there is something to read ahead.
    pub(super) fn is_behind(&self) -> bool {
        self.reads_on() && self.reading.cursor < self.context.journal.tail().head()
    }

    pub(super) async fn read_ahead(&mut self) -> Result<(), Unavailable> {
        let most = self.context.tuning.read_in_a_turn;
        while self.is_behind() {
            let cursor = self.reading.cursor;
            let mut records = self.context.journal.tail().range(cursor, most);
            if records.is_empty() {
                let read = self.context.journal.read(cursor, most).await?;
                records = read.into_iter().map(Arc::new).collect();
            }
            if records.is_empty() {
                let next = cursor + 1;
                return Err(Unavailable::Away(format!("event {next} is not there")));
            }
            for record in records {
                self.take(&record);
                if !self.has_room() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the next body: each of its events is scheduled or skipped.
    fn take(&mut self, record: &Arc<Record>) {
        let seq = record.seq;
        self.pass_gap(seq);
        self.reading.cursor = seq;
        if self.progress.is_body_settled(seq) {
            return;
        }
        let count = record.parts.count();
        self.progress.open(seq, count);
        let mut decoded: Option<(Arc<Record>, Arc<[Event]>)> = None;
        let mut together = Vec::new();
        for part in 1..=count {
            let position = Position::new(seq, part);
            if self.progress.is_settled(position) {
                continue;
            }
            let view = record.parts.view(part, &record.received);
            // An event of another session is not decoded.
            if !self.may_want(&view) {
                self.pass(position);
                continue;
            }
            let decoder = &self.context.decoder;
            let (record, events) = decoded.get_or_insert_with(|| {
                Arc::clone(record).decoded(|received| decoder.decode(received))
            });
            let events = Record::events_of(count, part, events);
            if !self.consumer.wants_any(events) {
                self.pass(position);
            } else if self.consumer.takes_bodies() && count > 1 {
                together.push(part);
            } else {
                self.wait(position, Arc::clone(record), events);
            }
        }
        if let (Some(first), Some((record, _))) = (together.first(), decoded) {
            let position = Position::new(seq, *first);
            self.reading.together.insert(position, together);
            self.wait(position, record, &[]);
        }
    }

    /// Settles bodies that retention has removed.
    fn pass_gap(&mut self, seq: Seq) {
        let first = self.reading.cursor + 1;
        if first == seq {
            return;
        }
        for gone in first..seq {
            self.progress.settle_body(gone);
        }
        let gone = first..seq;
        let remembered = &mut self.reading.remembered;
        remembered.retain(|position, _| !gone.contains(&position.seq()));
    }

    fn may_want(&self, view: &PartView<'_>) -> bool {
        !view.duplicate
            && view.share == self.context.desk.share()
            && self.consumer.wants_session(view.session)
    }

    /// Skips an event that this consumer does not want.
    fn pass(&mut self, position: Position) {
        self.reading.remembered.remove(&position);
        self.progress.settle(position);
        self.passed_by();
    }

    /// Schedules an event, or a body with several events (none in `events`).
    fn wait(&mut self, position: Position, record: Arc<Record>, events: &[Event]) {
        let waits = |position| self.schedule.contains(position);
        if let Some(monotonic) = &mut self.monotonic
            && !monotonic.comes(position, &record.received.source, events, waits)
        {
            self.reading.remembered.remove(&position);
            self.progress.settle(position);
            return self.unsaved();
        }
        let waiting = if self.reading.remembered.is_empty() {
            None
        } else {
            self.reading.remembered.remove(&position)
        };
        self.add(position, record, events, waiting);
    }

    pub(super) async fn take_replays(&mut self) -> Result<(), Unavailable> {
        let now = self.context.clock.now();
        while self.reads_on() {
            let due = self.reading.replays.front().filter(|(_, at)| *at <= now);
            let Some((position, _)) = due.copied() else {
                break;
            };
            let record = find(self.context.journal.as_ref(), position.seq()).await?;
            self.take_replay(position, record);
            self.reading.replays.pop_front();
        }
        Ok(())
    }

    fn take_replay(&mut self, position: Position, record: Option<Arc<Record>>) {
        let waiting = self.reading.remembered.remove(&position);
        if !self.reading.replaying.contains(position) || self.group_of(position) != position {
            return;
        }
        let decoder = &self.context.decoder;
        let decoded = record.map(|record| record.decoded(|received| decoder.decode(received)));
        let wanted = decoded.filter(|(record, events)| {
            let view = record.parts.view(position.part(), &record.received);
            let own = Record::events_of(record.parts.count(), position.part(), events);
            self.may_want(&view) && self.consumer.wants_any(own)
        });
        let Some((record, events)) = wanted else {
            // Retention has removed it in the meantime, or this consumer never wanted it.
            self.reading.replaying.remove(position);
            return self.unsaved();
        };
        let (seq, count) = (position.seq(), record.parts.count());
        if self.consumer.takes_bodies() && count > 1 {
            let replaying = (position.part()..=count).filter(|part| {
                let view = record.parts.view(*part, &record.received);
                let own = Record::events_of(count, *part, &events);
                self.reading.replaying.contains(Position::new(seq, *part))
                    && self.may_want(&view)
                    && self.consumer.wants_any(own)
            });
            let together = replaying.collect();
            self.reading.together.insert(position, together);
            self.add(position, record, &[], waiting);
        } else {
            let own = Record::events_of(count, position.part(), &events);
            self.add(position, record, own, waiting);
        }
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

    fn add(
        &mut self,
        position: Position,
        record: Arc<Record>,
        events: &[Event],
        waiting: Option<Waiting>,
    ) {
        let due = waiting.and_then(|waiting| Timestamp::from_millisecond(waiting.due).ok());
        let attempts = waiting.map_or(0, |waiting| waiting.attempts);
        let view = record.parts.view(position.part(), &record.received);
        let order = self.consumer.order();
        let lane = order.lane(&record.received.source, view.session, events);
        if self.schedule.add(position, lane, attempts, due) {
            self.reading.next.put(position, record);
        }
    }
}
