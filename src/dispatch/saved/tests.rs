use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use roaring::RoaringTreemap;

use super::*;
use crate::dispatch::replay::ReplayRequest;
use crate::journal::{Position, SavedProgress};

fn position() -> impl Strategy<Value = Position> {
    let seq = prop_oneof![8 => 0..40u64, 1 => 4090..4100u64, 1 => 0..1u64 << 47];
    (seq, prop_oneof![9 => Just(1), 1 => 1..9u16]).prop_map(|(seq, part)| Position::new(seq, part))
}

fn time() -> impl Strategy<Value = Timestamp> {
    // The full range that can be stored, in milliseconds.
    (-300_000_000_000_000..250_000_000_000_000i64)
        .prop_map(|time| Timestamp::from_millisecond(time).unwrap())
}

fn saved() -> impl Strategy<Value = Saved> {
    let head = (
        any::<bool>(),
        prop::option::of(any::<u64>()),
        prop::option::of((time(), ".*")),
    );
    let waiting = (position(), any::<u32>(), time());
    let parts = (
        0..40u64,
        vec(position(), 0..50),
        vec(waiting, 0..5),
        vec(position(), 0..5),
        vec((any::<u128>(), vec(position(), 0..5), time()), 0..3),
        head,
    );
    parts.prop_map(|(floor, settled, waiting, replaying, replays, head)| {
        let mut saved = Saved::starting_after(floor);
        let (paused, failing_ms, suspended) = head;
        for position in settled {
            saved.progress.open(position.seq(), position.part() + 1);
            saved.progress.settle(position);
        }
        for (position, attempts, due) in waiting {
            let at = due;
            saved
                .retries
                .insert(position, Waiting { attempts, due, at });
            saved.changed.insert(Row::Retry(position));
        }
        replaying
            .into_iter()
            .for_each(|one| _ = saved.replaying.insert(one));
        for (id, events, at) in replays {
            let (id, request) = (uuid::Uuid::from_u128(id), ReplayRequest::default());
            saved.replays.push(Replay::new(id, request, events, at));
            saved.changed.insert(Row::Replay(id));
        }
        saved.head = Head {
            floor: saved.progress.floor(),
            paused,
            failing_ms,
            suspended: suspended.map(|(since, reason)| Suspended { since, reason }),
        };
        saved
    })
}

/// Writes what has changed, as a journal would.
fn write(saved: &mut Saved, rows: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> SavedProgress {
    for row in saved.take_changed().collect::<Vec<_>>() {
        match saved.row(row) {
            Some(value) => drop(rows.insert(row.encode(), value)),
            None => drop(rows.remove(&row.encode())),
        }
    }
    SavedProgress {
        head: saved.head.encode(),
        rows: rows.clone().into_iter().collect(),
    }
}

fn assert_same(one: &Saved, other: &Saved) {
    assert_eq!(one.head, other.head);
    for seq in (0..60).chain(4080..4110) {
        let settled = |saved: &Saved| {
            [1, 2, 3].map(|part| saved.progress.is_settled(Position::new(seq, part)))
        };
        assert_eq!(settled(one), settled(other), "{seq}");
    }
    assert_eq!(one.progress.lag(1 << 47), other.progress.lag(1 << 47));
    assert_eq!(one.retries, other.retries);
    let replaying = |saved: &Saved| saved.replaying.iter().collect::<Vec<_>>();
    assert_eq!(replaying(one), replaying(other));
    let replays = |saved: &Saved| {
        let mut replays: Vec<_> = { saved.replays.iter() }
            .map(|one| (one.id, one.pending.iter().collect::<Vec<_>>(), one.matched))
            .collect();
        replays.sort();
        replays
    };
    assert_eq!(replays(one), replays(other));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_saved_is_read(mut saved in saved(), later in vec(position(), 0..20)) {
        let mut rows = BTreeMap::new();
        let written = write(&mut saved, &mut rows);
        assert_same(&Saved::decode(&written).unwrap(), &saved);
        // The next save writes only what has changed since.
        for position in later {
            saved.progress.open(position.seq(), position.part() + 1);
            saved.progress.settle(position);
            saved.replaying.remove(position);
        }
        saved.head.floor = saved.progress.floor();
        let written = write(&mut saved, &mut rows);
        assert_same(&Saved::decode(&written).unwrap(), &saved);
        prop_assert_eq!(saved.take_changed().count(), 0);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        head in vec(any::<u8>(), 0..200),
        rows in vec((vec(any::<u8>(), 0..30), vec(any::<u8>(), 0..60)), 0..4),
    ) {
        let bytes = SavedProgress { head, rows };
        // Everything that decodes can be used.
        if let Some(mut saved) = Saved::decode(&bytes) {
            saved.progress.settle_body(saved.progress.floor().saturating_add(1));
        }
    }

    #[test]
    fn rows_with_some_changed_are_read_or_refused(
        mut saved in saved(),
        changes in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut written = write(&mut saved, &mut BTreeMap::new());
        for (row, index, byte) in changes {
            if !written.rows.is_empty() {
                let row = row.index(written.rows.len());
                let value = &mut written.rows[row].1;
                let length = value.len();
                value[index.index(length)] = byte;
            }
        }
        if let Some(mut saved) = Saved::decode(&written) {
            let next = saved.progress.floor().saturating_add(1);
            saved.progress.settle_body(next);
            prop_assert!(saved.progress.is_body_settled(next));
        }
    }
}

#[test]
fn every_key_is_read_as_it_was_written() {
    let (id, position) = (uuid::Uuid::from_u128(7), Position::new(9, 3));
    let rows = [
        Row::Settled(1),
        Row::Partly(2),
        Row::Retry(position),
        Row::Replaying(3),
        Row::Replay(id),
        Row::Pending(id, 4),
        Row::Statuses(5),
    ];
    for row in rows {
        let key = row.encode();
        assert_eq!(Row::decode(&key), Some(row));
        assert_eq!(Row::decode(&key[..key.len() - 1]), None, "{row:?}");
    }
    assert_eq!(Row::decode(b""), None);
}

#[test]
fn an_event_that_changes_costs_a_few_bytes() {
    let mut saved = Saved::starting_after(0);
    for seq in 2..=1_000_000 {
        if seq % 3 > 0 {
            saved.progress.settle_body(seq);
        }
    }
    write(&mut saved, &mut BTreeMap::new());
    saved.progress.settle_body(600_000);
    let written = write(&mut saved, &mut BTreeMap::new());
    let row = |(key, value): &(Vec<u8>, Vec<u8>)| key.len() + value.len();
    let bytes: usize = written.rows.iter().map(row).sum();
    assert!(bytes + written.head.len() < 700, "{bytes}");
}

fn older(head: &[u8], bitmaps: [RoaringTreemap; 2]) -> SavedProgress {
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head);
    for bitmap in bitmaps {
        bitmap.serialize_into(&mut bytes).unwrap();
    }
    SavedProgress {
        head: bytes,
        rows: Vec::new(),
    }
}

fn millisecond(at: i64) -> Timestamp {
    Timestamp::from_millisecond(at).unwrap()
}

#[test]
fn what_version_3_wrote_is_read_and_written_again() {
    let head = br#"{"floor":7,"paused":true,"waiting":[{"seq":9,"attempts":2,"due":5},
        {"seq":10,"part":2,"attempts":1,"due":-5}],
        "failing_since":1700000000123,"suspended":[-1,"gone"],"saved_at":1700000001123,
        "partly":[[10,3,[1,3]]]}"#;
    let replaying = [3, 5, 3 | 1 << 48];
    let bitmaps = [
        RoaringTreemap::from_iter([11]),
        RoaringTreemap::from_iter(replaying),
    ];
    let mut saved = Saved::decode(&older(head, bitmaps)).unwrap();
    let written = write(&mut saved, &mut BTreeMap::new());
    for saved in [saved, Saved::decode(&written).unwrap()] {
        let settled = [7, 8, 9, 11].map(|seq| saved.progress.is_body_settled(seq));
        assert_eq!(settled, [true, false, false, true]);
        let parts = [1, 2, 3].map(|part| saved.progress.is_settled(Position::new(10, part)));
        assert_eq!(parts, [true, false, true]);
        let waiting = |attempts, due| Waiting {
            attempts,
            due: millisecond(due),
            at: millisecond(1_700_000_001_123),
        };
        assert_eq!(saved.retries.len(), 2);
        assert_eq!(saved.retries[&Position::first(9)], waiting(2, 5));
        assert_eq!(saved.retries[&Position::new(10, 2)], waiting(1, -5));
        let replaying: Vec<_> = saved.replaying.iter().collect();
        let expected = [(3, 1), (5, 1), (3, 2)];
        assert_eq!(
            replaying,
            expected.map(|(seq, part)| Position::new(seq, part))
        );
        assert!(saved.head.paused);
        assert_eq!(saved.head.failing_ms, Some(1000));
        let suspended = Suspended {
            since: millisecond(-1),
            reason: "gone".to_owned(),
        };
        assert_eq!(saved.head.suspended, Some(suspended));
    }
}

/// Further events of replayed bodies were in the head once, and some fields were missing.
#[test]
fn earlier_forms_are_read() {
    let head =
        br#"{"floor":7,"paused":false,"waiting":[],"replaying":[[3,2],[281474976710655,65535]]}"#;
    let none = || RoaringTreemap::new();
    let saved = Saved::decode(&older(head, [none(), none()])).unwrap();
    let replaying: Vec<_> = saved.replaying.iter().collect();
    let expected = [(3, 2), (281_474_976_710_655, 65_535)];
    assert_eq!(
        replaying,
        expected.map(|(seq, part)| Position::new(seq, part))
    );
    assert_eq!(saved.head.floor, 7);
    let whole = older(head, [none(), none()]).head;
    // Of an empty one nothing is known: the consumer begins with the oldest event.
    let lost = Saved::decode(&SavedProgress::default()).unwrap();
    assert_eq!(lost.head.floor, 0);
    for length in 1..whole.len() {
        let head = whole[..length].to_vec();
        let rows = Vec::new();
        assert!(
            Saved::decode(&SavedProgress { head, rows }).is_none(),
            "{length}"
        );
    }
}

#[test]
fn a_replay_keeps_what_it_was_asked() {
    let request = ReplayRequest {
        session: Some("s".to_owned()),
        event: None,
        from: Some(millisecond(1_700_000_000_123)),
        to: None,
        ids: Some(3),
        rate: Some(20),
    };
    let id = uuid::Uuid::from_u128(1);
    let events = [1, 2, 9000].map(Position::first);
    let mut replay = Replay::new(id, request.clone(), events, millisecond(5));
    replay.handed_over(events[0]);
    let mut saved = Saved::starting_after(9);
    saved.replays.push(replay);
    saved.changed.insert(Row::Replay(id));
    let mut rows = BTreeMap::new();
    let again = Saved::decode(&write(&mut saved, &mut rows)).unwrap();
    let replay = &again.replays[0];
    assert_eq!((replay.id, &replay.request), (id, &request));
    assert_eq!((replay.matched, replay.handed_over), (3, 1));
    assert_eq!(replay.pending.iter().collect::<Vec<_>>(), events[1..]);
    saved.replays[0].cancel();
    let again = Saved::decode(&write(&mut saved, &mut rows)).unwrap();
    assert!(again.replays[0].pending.is_empty());
    assert_eq!(rows.len(), 1);
}

/// The length of an older head may begin with the byte of a brace.
#[test]
fn an_older_head_of_any_length_is_read() {
    let mut head = br#"{"floor":7,"paused":false,"waiting":[]}"#.to_vec();
    while head.len() < 400 {
        head.push(b' ');
        let none = || RoaringTreemap::new();
        let saved = Saved::decode(&older(&head, [none(), none()]));
        assert_eq!(saved.unwrap().head.floor, 7, "{} bytes", head.len());
    }
}

/// A consumer starts even if the row of its replay is gone.
#[test]
fn rows_of_a_forgotten_replay_are_skipped() {
    let mut saved = Saved::starting_after(9);
    let id = uuid::Uuid::from_u128(1);
    let events = [Position::first(1)];
    let replay = Replay::new(id, ReplayRequest::default(), events, millisecond(5));
    saved.replays.push(replay);
    let written = write(&mut saved, &mut BTreeMap::new());
    assert_eq!(written.rows.len(), 1);
    assert!(Saved::decode(&written).unwrap().replays.is_empty());
}
