//! Reads ahead along the journal, and schedules replays.

use std::sync::Arc;

use super::Runner;
use crate::Event;
use crate::dispatch::records::{decoded, events_of};
use crate::journal::{Part, Position, Record, Seq, Unavailable};

impl Runner {
    /// Whether one more event fits within the read-ahead limit.
    fn has_room(&self) -> bool {
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
                self.take(record);
                if !self.has_room() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes the next body: each of its events is scheduled or skipped.
    fn take(&mut self, mut record: Arc<Record>) {
        let (seq, count) = (record.seq, record.parts.count());
        self.pass_gap(seq);
        self.reading.cursor = seq;
        if self.state.progress.is_body_settled(seq) {
            return;
        }
        self.state.progress.open(seq, count);
        let mut together = Vec::new();
        for part in 1..=count {
            let position = Position::new(seq, part);
            if self.state.progress.is_settled(position) {
                continue;
            }
            // An event of another session is not decoded.
            let mut wanted = self.may_want(&record, part);
            if wanted {
                record = decoded(record, &self.context.decoder);
                wanted = self.consumer.wants_any(events_of(&record, part));
            }
            if !wanted {
                self.reading.remembered.remove(&position);
                self.state.progress.settle(position);
                self.passed_by();
            } else if self.consumer.takes_bodies() && count > 1 {
                together.push(part);
            } else {
                self.wait(position, Arc::clone(&record));
            }
        }
        if let Some(first) = together.first() {
            let position = Position::new(seq, *first);
            self.reading.together.insert(position, together);
            self.wait(position, record);
        }
    }

    /// Settles bodies that retention has removed.
    fn pass_gap(&mut self, seq: Seq) {
        let gone = self.reading.cursor + 1..seq;
        if gone.is_empty() {
            return;
        }
        for seq in gone.clone() {
            self.state.progress.settle_body(seq);
        }
        let remembered = &mut self.reading.remembered;
        remembered.retain(|position, _| !gone.contains(&position.seq()));
    }

    /// Whether the consumer wants this event, as far as can be said without decoding it.
    fn may_want(&self, record: &Record, part: Part) -> bool {
        let view = record.parts.view(part, &record.received);
        !view.duplicate
            && view.share == self.context.desk.share()
            && self.consumer.wants_session(view.session)
    }

    /// Schedules an event, or a body with several events.
    fn wait(&mut self, position: Position, record: Arc<Record>) {
        let events = self.alone(position, &record);
        let waits = |position| self.schedule.contains(position);
        if let Some(monotonic) = &mut self.monotonic
            && !monotonic.comes(position, &record.received.source, events, waits)
        {
            self.reading.remembered.remove(&position);
            self.state.progress.settle(position);
            return self.unsaved();
        }
        self.add(position, record);
    }

    pub(super) async fn take_replays(&mut self) -> Result<(), Unavailable> {
        while let Some((position, due)) = self.reading.replays.front().copied()
            && self.reads_on()
            && due <= self.context.clock.now()
        {
            let record = self.context.record(position.seq()).await?;
            self.take_replay(position, record);
            self.reading.replays.pop_front();
        }
        Ok(())
    }

    fn take_replay(&mut self, position: Position, record: Option<Arc<Record>>) {
        if !self.state.replaying.contains(position) || self.group_of(position) != position {
            self.reading.remembered.remove(&position);
            return;
        }
        let wants = |record: &Record, part| {
            self.may_want(record, part) && self.consumer.wants_any(events_of(record, part))
        };
        let Some(record) = record.filter(|record| wants(record, position.part())) else {
            // Retention has removed it in the meantime, or this consumer never wanted it.
            self.reading.remembered.remove(&position);
            self.state.replaying.remove(position);
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
        self.add(position, record);
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

    /// The event at a position; none when a body with several events is delivered together.
    fn alone<'a>(&self, position: Position, record: &'a Record) -> &'a [Event] {
        if self.reading.together.contains_key(&position) {
            return &[];
        }
        events_of(record, position.part())
    }

    /// Adds to the schedule what [`Runner::wait`] takes.
    fn add(&mut self, position: Position, record: Arc<Record>) {
        let view = record.parts.view(position.part(), &record.received);
        let events = self.alone(position, &record);
        let order = self.consumer.order();
        let lane = order.lane(&record.received.source, view.session, events);
        let waiting = self.reading.remembered.remove(&position);
        let attempts = waiting.map_or(0, |waiting| waiting.attempts);
        let due = waiting.map(|waiting| waiting.due);
        if self.schedule.add(position, lane, attempts, due) {
            self.reading.next.put(position, record);
        }
    }
}
