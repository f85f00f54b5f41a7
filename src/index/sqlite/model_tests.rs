//! Compares the index with a plain list: whatever happens in any order, and whenever the index is
//! closed or killed, both answer every question alike.

use std::cmp::Reverse;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index as Pick;
use rusqlite::Connection;
use uuid::Uuid;

use super::attempts::{Attempt, Failure};
use super::query::Snapshot;
use super::schema::{self, IndexTuning};
use super::segment::OpenSegment;
use super::writer::{IndexWriter, lock};
use crate::dialect::{Codeskytz, Decoder, Dialect as _};
use crate::index::{EventEntry, EventFilter};
use crate::journal::{
    Deletion, KeptPart, Part, PartView, Parts, Position, Record, Seq, TestFolder,
};
use crate::{EventId, EventKind, Received, Timestamp};

#[derive(Debug, Clone)]
enum Step {
    Events(Vec<New>),
    Duplicate(Pick, New),
    /// Attempts at these events, with these numbers and outcomes.
    Attempts(Vec<(Pick, u32, Option<&'static str>)>),
    Seal,
    Trim(Pick),
    Delete(Vec<Pick>),
    Reopen,
    Kill,
}

/// An event to be received.
#[derive(Debug, Clone)]
struct New {
    /// How far the clock moves; it may move backwards.
    millis: i64,
    session: Option<u8>,
    name: &'static str,
    bytes: usize,
    /// The sessions of further events of the body, and whether each is a duplicate.
    further: Vec<(Option<u8>, bool)>,
}

fn new() -> impl Strategy<Value = New> {
    let millis = prop_oneof![8 => 0..20i64, 1 => -200..200i64];
    let name = proptest::sample::select(vec!["message", "message", "status", "connection", "odd"]);
    let further =
        prop_oneof![4 => Just(Vec::new()), 1 => vec((option::of(0..5u8), any::<bool>()), 0..4)];
    let fields = (millis, option::of(0..5u8), name, 0..100usize, further);
    fields.prop_map(|(millis, session, name, bytes, further)| New {
        millis,
        session,
        name,
        bytes,
        further,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = || option::of(proptest::sample::select(vec!["a bad mood", "not done"]));
    prop_oneof![
        6 => vec(new(), 1..20).prop_map(Step::Events),
        1 => vec(new(), 20..100).prop_map(Step::Events),
        2 => (any::<Pick>(), new()).prop_map(|(of, new)| Step::Duplicate(of, new)),
        3 => vec((any::<Pick>(), 1..4u32, outcome()), 1..40).prop_map(Step::Attempts),
        3 => Just(Step::Seal),
        1 => any::<Pick>().prop_map(Step::Trim),
        1 => vec(any::<Pick>(), 1..10).prop_map(Step::Delete),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
    ]
}

/// An item of the model, and whether it must survive a crash.
type Sealed<T> = (T, bool);

fn sealed<T>((_, sealed): &mut Sealed<T>) {
    *sealed = true;
}

struct World {
    folder: TestFolder,
    decoder: Decoder,
    writer: Option<IndexWriter>,
    reader: Connection,
    clock: i64,
    ids: u64,
    journal: Vec<Record>,
    duplicates: Vec<Sealed<(Seq, Received)>>,
    attempts: Vec<Sealed<Attempt>>,
    deletions: Vec<Deletion>,
    trimmed: Seq,
}

impl World {
    fn new() -> Self {
        let folder = TestFolder::new();
        let path = folder.path().join("index.db");
        let writer = IndexWriter::open(&path, SMALL).unwrap();
        Self {
            reader: schema::open_reader(&path).unwrap(),
            folder,
            decoder: Decoder::new([], 1024),
            writer: Some(writer),
            clock: 1_700_000_000_000,
            ids: 0,
            journal: Vec::new(),
            duplicates: Vec::new(),
            attempts: Vec::new(),
            deletions: Vec::new(),
            trimmed: 0,
        }
    }

    fn writer(&mut self) -> &mut IndexWriter {
        self.writer.as_mut().unwrap()
    }

    fn received(&mut self, new: &New) -> Received {
        self.clock += new.millis;
        self.ids += 1;
        let body = format!(
            r#"{{"event":"{}","x":"{}"}}"#,
            new.name,
            "x".repeat(new.bytes)
        );
        let mut received = Received::new(["one", "two"][new.bytes % 2], body);
        received.id = Uuid::from_u128((self.clock as u128) << 80 | 7 << 76 | u128::from(self.ids));
        received.session = new.session.map(|session| format!("session {session}"));
        received.received_at = Timestamp::from_millisecond(self.clock).unwrap();
        received
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Events(events) => {
                for new in events {
                    let received = self.received(new);
                    self.journal.push(self.record(received, new));
                }
                self.catch_up();
            }
            Step::Duplicate(of, new) => {
                let received = self.received(new);
                let kept = self.journal.len() as Seq - self.trimmed;
                if kept > 0 {
                    let of = self.trimmed + 1 + of.index(kept as usize) as Seq;
                    self.duplicate(of, received);
                }
            }
            Step::Attempts(attempts) => self.add_attempts(attempts),
            Step::Seal => self.seal(),
            Step::Trim(up_to) => {
                // The newest body stays.
                if self.journal.len() > 1 {
                    let up_to = up_to.index(self.journal.len()) as Seq;
                    self.writer().trim(up_to).unwrap();
                    while self.writer().remove_some().unwrap() {}
                    self.trimmed = self.trimmed.max(up_to);
                }
            }
            Step::Delete(picks) => self.delete(picks),
            Step::Reopen => {
                self.seal();
                self.reopen();
            }
            Step::Kill => {
                self.duplicates.retain(|(_, sealed)| *sealed);
                self.attempts.retain(|(_, sealed)| *sealed);
                self.reopen();
            }
        }
    }

    fn delete(&mut self, picks: &[Pick]) {
        let kept = self.journal.len() - self.trimmed as usize;
        for pick in picks.iter().filter(|_| kept > 0) {
            let index = self.trimmed as usize + pick.index(kept);
            let record = &mut self.journal[index];
            if record.missing.is_none() {
                *record = record.without_body(Timestamp::UNIX_EPOCH);
                let (number, seq) = (self.deletions.len() as u64 + 1, record.seq);
                self.deletions.push(Deletion { number, seq });
            }
        }
        self.erase();
    }

    /// Takes the deletions that the index does not know.
    fn erase(&mut self) {
        let (known, trimmed) = (self.writer().erased.known, self.trimmed);
        let new = self.deletions.iter().copied();
        let new = new.filter(|deletion| deletion.number > known && deletion.seq > trimmed);
        let new: Vec<Deletion> = new.collect();
        self.writer().erase(&new).unwrap();
    }

    fn is_deleted(&self, seq: Seq) -> bool {
        self.journal[seq as usize - 1].missing.is_some()
    }

    fn record(&self, received: Received, new: &New) -> Record {
        let first = KeptPart {
            session: None,
            duplicate: false,
        };
        let further = new.further.iter().map(|(session, duplicate)| KeptPart {
            session: session.map(|session| format!("session {session}")),
            duplicate: *duplicate,
        });
        let parts: Vec<_> = [first].into_iter().chain(further).collect();
        let events = Codeskytz.events(&text(&received));
        Record {
            seq: self.journal.len() as Seq + 1,
            kept_at: received.received_at,
            events: vec![events[0].clone(); parts.len()].into(),
            parts: Parts::several(parts, &received, 1),
            received: Arc::new(received),
            missing: None,
        }
    }

    fn duplicate(&mut self, of: Seq, received: Received) {
        let events = Codeskytz.events(&text(&received));
        let (session, of_event) = (received.session.as_deref(), Position::first(of));
        let mut duplicates = OpenSegment::default();
        duplicates.push(&EventEntry::new(
            &received, 1, session, &events, of_event, true,
        ));
        while self.writer().add_duplicates(&duplicates.segment, 0) == 0 {
            self.seal();
        }
        self.duplicates.push(((of, received), false));
        self.seal_if_full();
    }

    fn add_attempts(&mut self, attempts: &[(Pick, u32, Option<&'static str>)]) {
        if self.journal.is_empty() {
            return;
        }
        let made = attempts.iter().map(|(of, attempt, outcome)| {
            self.clock += 1;
            self.ids += 1;
            Attempt {
                position: {
                    let record = &self.journal[of.index(self.journal.len())];
                    Position::new(record.seq, *attempt as Part % record.parts.count() + 1)
                },
                // The clock may go back, but no two attempts are the same.
                at: self.clock * 1_000_000 + self.ids.cast_signed(),
                consumer: ["handler:a", "handler:b"][*attempt as usize % 2].into(),
                attempt: *attempt,
                took_ms: *attempt * 100,
                failure: outcome.map(|outcome| Failure {
                    outcome: outcome.into(),
                    answer: (attempt % 2 == 0).then(|| "no".into()),
                }),
            }
        });
        let made: Vec<_> = made.collect();
        self.writer().add_attempts(made.clone());
        self.attempts
            .extend(made.into_iter().map(|made| (made, false)));
        self.seal_if_full();
    }

    fn catch_up(&mut self) {
        loop {
            let after = self.writer().cursor.max(self.trimmed) as usize;
            let writer = self.writer.as_mut().unwrap();
            writer.add_records(
                &self.journal[after.min(self.journal.len())..],
                &self.decoder,
            );
            self.seal_if_full();
            if self.writer().cursor >= self.journal.len() as Seq {
                return;
            }
        }
    }

    fn seal_if_full(&mut self) {
        if !self.writer().is_due(false) {
            return;
        }
        self.writer().seal(false).unwrap();
        let open = Arc::clone(&self.writer().unwritten);
        let open = lock(&open);
        if open.events.is_empty() {
            self.duplicates.iter_mut().for_each(sealed);
        }
        if open.attempts.is_empty() {
            self.attempts.iter_mut().for_each(sealed);
        }
    }

    fn seal(&mut self) {
        self.writer().seal(true).unwrap();
        self.duplicates.iter_mut().for_each(sealed);
        self.attempts.iter_mut().for_each(sealed);
    }

    fn reopen(&mut self) {
        self.writer = None;
        let path = self.folder.path().join("index.db");
        self.writer = Some(IndexWriter::open(&path, SMALL).unwrap());
        assert!(self.writer().cursor <= self.journal.len() as Seq);
        self.catch_up();
        self.erase();
    }

    /// Returns every event that a search must find, newest first.
    fn entries(&self) -> Vec<EventEntry> {
        let kept = self
            .journal
            .iter()
            .filter(|record| record.seq > self.trimmed && record.missing.is_none());
        let kept = kept.flat_map(|record| {
            let new = record
                .parts
                .views(&record.received)
                .filter(|view| !view.duplicate);
            new.map(|view| {
                let position = Position::new(record.seq, view.part);
                entry(&record.received, view, position, None)
            })
        });
        let duplicates = self.duplicates.iter().map(|(duplicate, _)| duplicate);
        let duplicates = duplicates
            .filter(|(of, _)| *of > self.trimmed && !self.is_deleted(*of))
            .map(|(of, received)| {
                let view = PartView {
                    part: 1,
                    session: received.session.as_deref(),
                    share: 0,
                    duplicate: true,
                };
                let original = self.journal[*of as usize - 1].received.id;
                entry(received, view, Position::first(*of), Some(original.into()))
            });
        let mut entries: Vec<_> = kept.chain(duplicates).collect();
        entries.sort_by_key(|entry| Reverse(entry.id));
        entries
    }

    fn check(&self, filters: &[Asked]) {
        let entries = self.entries();
        let open = &self.writer.as_ref().unwrap().unwritten;
        let all = Snapshot::take(&self.reader, open).unwrap();
        for asked in filters {
            let filter = asked.filter(&entries);
            let passing = || entries.iter().filter(|entry| passes(&filter, entry));
            let newest: Vec<_> = passing().take(asked.limit).cloned().collect();
            assert_eq!(
                all.newest(&filter, asked.limit).unwrap(),
                newest,
                "{filter:?}"
            );
            let mut numbers: Vec<_> = passing().filter_map(EventEntry::in_journal).collect();
            numbers.sort_unstable();
            numbers.truncate(asked.limit);
            assert_eq!(
                all.positions(&filter, asked.limit).unwrap(),
                numbers,
                "{filter:?}"
            );
            let mut wanted = numbers.clone();
            let none = [0, self.trimmed, self.journal.len() as Seq + 1];
            wanted.extend(none.map(Position::first));
            let found = all.by_positions(wanted.clone()).unwrap();
            let found: Vec<_> = found.iter().filter_map(EventEntry::in_journal).collect();
            assert_eq!(found, numbers);
        }
        for entry in &entries {
            assert_eq!(all.by_id(entry.id).unwrap().as_ref(), Some(entry));
        }
        let deleted = { self.journal.iter() }.filter(|record| record.missing.is_some());
        for record in deleted.filter(|record| record.seq > self.trimmed) {
            let left = all.by_id(record.received.id.into()).unwrap().unwrap();
            assert!(left.is_deleted && left.source.is_empty() && left.session.is_none());
            assert_eq!((left.at, left.bytes), (record.received.received_at, 0));
            let id = left.id;
            assert_eq!(all.between(id, id).unwrap(), [left]);
        }
        for entry in &entries {
            assert_eq!(
                all.between(entry.id, entry.id).unwrap().as_slice(),
                std::slice::from_ref(entry)
            );
        }
        let every = all.between(Uuid::nil().into(), EventId::new(Uuid::max(), Part::MAX));
        let kept = all.newest(&EventFilter::default(), 2).unwrap().len();
        assert!((kept..=2).contains(&every.unwrap().len()));
        assert_eq!(all.by_id(Uuid::nil().into()).unwrap(), None);
        let kept = self.journal.iter().skip(self.trimmed as usize);
        let positions = kept.flat_map(|record| {
            (1..=record.parts.count()).map(|part| Position::new(record.seq, part))
        });
        for position in positions {
            let made = all.attempts(position, SMALL.bucket).unwrap();
            let made: Vec<_> = made
                .iter()
                .map(|made| {
                    (
                        made.at.as_nanosecond(),
                        &*made.consumer,
                        made.attempt,
                        &*made.outcome,
                        (made.took_ms, made.answer.as_deref()),
                    )
                })
                .collect();
            let expected = self.attempts.iter().map(|(attempt, _)| attempt);
            let mut expected: Vec<_> = expected
                .filter(|attempt| attempt.position == position)
                .map(|made| {
                    (
                        made.at.into(),
                        &*made.consumer,
                        made.attempt,
                        match &made.failure {
                            Some(_) if self.is_deleted(made.position.seq()) => "failed",
                            Some(failure) => &*failure.outcome,
                            None => "done",
                        },
                        (
                            made.took_ms,
                            { made.failure.as_ref() }
                                .filter(|_| !self.is_deleted(made.position.seq()))
                                .and_then(|failure| failure.answer.as_deref()),
                        ),
                    )
                })
                .collect();
            expected.sort_by_key(|(at, consumer, attempt, outcome, _)| {
                (*at, *attempt, *consumer, *outcome)
            });
            assert_eq!(made, expected, "of {position}");
        }
    }
}

fn text(received: &Received) -> bytestring::ByteString {
    received.body.clone().try_into().unwrap()
}

fn entry(
    received: &Received,
    view: PartView<'_>,
    position: Position,
    duplicate_of: Option<EventId>,
) -> EventEntry {
    let events = Codeskytz.events(&text(received));
    EventEntry {
        id: EventId::new(received.id, view.part),
        position,
        is_duplicate: duplicate_of.is_some(),
        is_deleted: false,
        duplicate_of,
        at: received.received_at,
        source: received.source.to_string(),
        session: view.session.map(str::to_owned),
        kind: events[0].kind(),
        name: events[0].name().map(str::to_owned),
        odd: received.odd.as_deref().map(str::to_owned),
        bytes: received.body.len() as u64,
    }
}

/// A question whose arguments depend on what is indexed.
#[derive(Debug, Clone)]
struct Asked {
    session: Option<u8>,
    kind: Option<usize>,
    before: Option<Pick>,
    from: Option<Pick>,
    to: Option<Pick>,
    after: Option<Pick>,
    limit: usize,
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        option::of(0..6u8),
        option::of(0..4usize),
        option::of(any::<Pick>()),
        option::of(any::<Pick>()),
        option::weighted(0.2, any::<Pick>()),
        option::weighted(0.2, any::<Pick>()),
        prop_oneof![1..10usize, Just(500)],
    )
        .prop_map(|(session, kind, before, from, to, after, limit)| Asked {
            session,
            kind,
            before,
            from,
            to,
            after,
            limit,
        })
}

impl Asked {
    fn filter(&self, entries: &[EventEntry]) -> EventFilter {
        let pick = |pick: &Pick| entries.get(pick.index(entries.len().max(1)));
        let time =
            |pick_time: &Option<Pick>| pick_time.as_ref().and_then(pick).map(|entry| entry.at);
        EventFilter {
            session: self.session.map(|session| format!("session {session}")),
            kind: self.kind.map(|kind| EventKind::ALL[kind]),
            before: self.before.as_ref().and_then(pick).map(|entry| entry.id),
            from: time(&self.from),
            to: time(&self.to),
            after: self
                .after
                .as_ref()
                .and_then(pick)
                .map(|entry| entry.position),
        }
    }
}

fn passes(filter: &EventFilter, entry: &EventEntry) -> bool {
    filter
        .session
        .as_ref()
        .is_none_or(|session| entry.session.as_ref() == Some(session))
        && filter.kind.is_none_or(|kind| entry.kind == kind)
        && filter.before.is_none_or(|before| entry.id < before)
        && filter.from.is_none_or(|from| entry.at >= from)
        && filter.to.is_none_or(|to| entry.at < to)
        && filter.after.is_none_or(|after| entry.position > after)
}

proptest! {
    // One case asks hundreds of questions.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_question_has_the_answer_of_a_list(
        steps in vec(step(), 1..40),
        filters in vec(asked(), 1..8),
    ) {
        let mut world = World::new();
        for (number, step) in steps.iter().enumerate() {
            world.step(step);
            if number % 4 == 0 {
                world.check(&filters);
            }
        }
        world.check(&filters);
    }
}

#[test]
fn slow_traffic_leaves_few_segments_and_blobs() {
    let mut world = World::new();
    let events = 20 * SMALL.full;
    for _ in 0..events {
        let new = New {
            millis: 3000,
            session: Some(1),
            name: "message",
            bytes: 1,
            further: Vec::new(),
        };
        world.step(&Step::Events(vec![new]));
        let last = world.journal.len() as Seq;
        world.writer().add_attempts(vec![Attempt {
            position: Position::first(last),
            at: 0,
            consumer: "handler:a".into(),
            attempt: 1,
            took_ms: 0,
            failure: None,
        }]);
        world.seal();
    }
    let count = |sql| world.reader.query_row(sql, [], |row| row.get(0)).unwrap();
    let segments: usize = count("SELECT count(*) FROM segments");
    let contents: usize = count("SELECT count(*) FROM contents");
    assert_eq!(segments, contents);
    // At least two thirds of 2 × full events each, and the few that still grow.
    assert!(segments <= 15 + 6, "{segments} for {events} events");
    let blobs: usize = count("SELECT count(*) FROM attempts");
    assert!(blobs <= events / 8 + 1 + 4, "{blobs} for {events} attempts");
    // What has left the journal is hidden in one step, and removed in short ones.
    let newest = world.journal.len() as Seq;
    world.writer().trim(newest - 1).unwrap();
    let rows = |world: &World, table: &str| -> usize {
        let sql = format!("SELECT count(*) FROM {table}");
        world.reader.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(rows(&world, "segments"), segments);
    assert!(world.writer().remove_some().unwrap());
    while world.writer().remove_some().unwrap() {}
    assert!(rows(&world, "segments") <= 1 && rows(&world, "attempts") <= 1);
}

/// Small sizes, so that short tests reach every limit.
pub(super) const SMALL: IndexTuning = IndexTuning {
    full: 32,
    bucket: 8,
    read_in_a_turn: 16,
    far: 100,
};

/// What was read of the journal may be older than what the index knows of its deletions.
#[test]
fn a_body_that_was_read_before_its_deletion_is_erased() {
    let mut world = World::new();
    let new = New {
        millis: 1,
        session: Some(1),
        name: "message",
        bytes: 9,
        further: Vec::new(),
    };
    let received = world.received(&new);
    let record = world.record(received, &new);
    let deletion = Deletion { number: 1, seq: 1 };
    world.writer().erase(&[deletion]).unwrap();
    let writer = world.writer.as_mut().unwrap();
    assert_eq!(writer.add_records(&[record], &world.decoder), 1);
    let unwritten = lock(&writer.unwritten);
    let rows = &unwritten.events.segment.rows;
    assert!(rows.len() == 1 && rows[0].is_deleted());
}
