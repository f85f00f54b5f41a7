//! The bodies that the cases append, and helpers that check what is read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::journal::{
    Appended, DeadLetter, DedupKey, Desk, Entry, EntryPart, Events, Expected, Journal, Position,
    ProgressChange, Record, SavedProgress, Seq,
};
use crate::{Event, Received, Timestamp, UnknownEvent, UnknownReason};

/// A body that is one event without a name, with this key.
pub(crate) fn entry(received: Received, hash: u128, window: Duration) -> Entry {
    let part = part(None, hash, window);
    divided(received, vec![part])
}

/// A body that is divided into these events.
pub(crate) fn divided(received: Received, parts: Vec<EntryPart>) -> Entry {
    let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
    Entry {
        events: Events::Typed(vec![event; parts.len()].into()),
        received: Arc::new(received),
        parts,
    }
}

pub(crate) fn part(session: Option<&str>, hash: u128, window: Duration) -> EntryPart {
    EntryPart {
        session: session.map(str::to_owned),
        key: DedupKey {
            hash,
            window,
            state: None,
            named: false,
        },
    }
}

/// An event that equals only events with the same number.
pub(crate) fn numbered(number: u128) -> Entry {
    let mut received = body(&number.to_string());
    received.id = Uuid::from_u128(number);
    entry(received, spread(number), WINDOW)
}

/// Spreads numbers like a hash.
pub(crate) fn spread(number: u128) -> u128 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

pub(crate) fn body(text: &str) -> Received {
    Received::new("gateway", text.to_owned())
}

/// Appends a body without duplicate parts. Returns its number.
pub(crate) async fn new(journal: &dyn Journal, entry: Entry) -> Seq {
    match journal.append(entry).await {
        Ok(Appended::New { seq, duplicates }) if duplicates.is_empty() => seq,
        other => panic!("{other:?}"),
    }
}

/// The answer to the append of a duplicate of the body `seq`.
pub(crate) fn duplicate(seq: Seq) -> Appended {
    Appended::Duplicate(vec![Position::first(seq)])
}

pub(crate) async fn seqs(journal: &dyn Journal, after: Seq, most: usize) -> Vec<Seq> {
    let records = journal.read(after, most).await.unwrap();
    records.iter().map(|record| record.seq).collect()
}

pub(crate) async fn trim_all(journal: &dyn Journal, up_to: Seq) -> usize {
    let mut all = 0;
    loop {
        match journal.trim(up_to).await.unwrap() {
            0 => return all,
            trimmed => all += trimmed,
        }
    }
}

pub(crate) async fn save(desk: &dyn Desk, consumer: &str, progress: &[u8], dead: Vec<DeadLetter>) {
    let change = change(consumer, progress, dead);
    assert_eq!(desk.save(change).await, Ok(()));
}

pub(crate) fn change(consumer: &str, progress: &[u8], dead: Vec<DeadLetter>) -> ProgressChange {
    ProgressChange {
        consumer: consumer.to_owned(),
        head: progress.to_vec(),
        rows: Vec::new(),
        revived: Vec::new(),
        dead,
    }
}

pub(crate) async fn put(journal: &dyn Journal, key: &str, value: Option<&[u8]>) {
    let value = value.map(<[u8]>::to_vec);
    journal
        .put_document(key, value, Expected::Anything)
        .await
        .unwrap();
}

/// The dead letter of the only event of the body `seq`.
pub(crate) fn letter(seq: Seq, reason: &str) -> DeadLetter {
    DeadLetter {
        position: Position::first(seq),
        attempts: 12,
        reason: reason.to_owned(),
        at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    }
}

/// Returns all dead letters of a consumer, oldest first.
pub(crate) async fn letters(journal: &dyn Journal, consumer: &str) -> Vec<DeadLetter> {
    let letters = journal.dead_letters(Some(consumer), None, usize::MAX).await;
    let oldest_first = letters.unwrap().into_iter().rev();
    oldest_first.map(|(_, letter)| letter).collect()
}

/// Bodies with unusual content, which an engine could change or lose.
pub(crate) fn remarkable() -> Vec<Received> {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut all = vec![
        body(""),
        body("{}"),
        Received::new(HOSTILE, Bytes::from_static(b"\0\xff\xfe\0")),
        Received::new("", vec![0; 1024 * 1024]),
        Received::new("gateway", every_byte.repeat(4096)),
    ];
    let sessions = ["", "408f", HOSTILE, "\u{10ffff}é\u{1}"];
    all.extend(sessions.map(|session| {
        let mut received = body("a body");
        received.session = Some(session.to_owned());
        received
    }));
    let times = [
        0,
        1,
        -1,
        1_700_000_000_123_456_789,
        1_999_999_999_999_999_999,
    ];
    all.extend(times.map(|nanoseconds| {
        let mut received = body("at a time");
        received.received_at = Timestamp::from_nanosecond(nanoseconds).unwrap();
        received
    }));
    let headers: [Vec<(&'static str, Bytes)>; 3] = [
        vec![("content-type", "application/json".into())],
        vec![
            ("x-bytes", every_byte.into()),
            ("x-empty", Bytes::new()),
            ("x-twice", "1".into()),
            ("x-twice", "2".into()),
        ],
        vec![("", "no name".into()), (HOSTILE, HOSTILE.into())],
    ];
    all.extend(headers.map(|headers| {
        let mut received = body("with headers");
        let pairs = headers.into_iter();
        received.headers = pairs.map(|(name, value)| (name.into(), value)).collect();
        received
    }));
    for (number, received) in all.iter_mut().enumerate() {
        received.id = Uuid::from_u128(u128::MAX - number as u128);
    }
    all
}

pub(crate) async fn all_there(journal: &dyn Journal, all: &[Received]) {
    let read = journal.read(0, all.len() + 1).await.unwrap();
    assert_eq!(read.len(), all.len());
    for (index, (record, received)) in read.iter().zip(all).enumerate() {
        same(record, index as Seq + 1, received);
    }
    let ids: HashSet<_> = read.iter().map(|record| record.received.id).collect();
    assert_eq!(ids.len(), all.len());
}

/// Compares a record with what was received. Large bodies are not printed.
pub(crate) fn same(record: &Record, seq: Seq, received: &Received) {
    let kept = &record.received;
    assert_eq!(record.seq, seq);
    assert_eq!(kept.id, received.id);
    assert_eq!(kept.source, received.source);
    assert_eq!(kept.session, received.session);
    assert_eq!(kept.received_at, received.received_at);
    assert_eq!(kept.headers, received.headers);
    assert!(kept.body == received.body, "the body of {seq} differs");
}

pub(crate) const WINDOW: Duration = Duration::from_secs(3600);

/// A name that breaks careless SQL and output.
pub(crate) const HOSTILE: &str = "'; DROP TABLE events; --\0\n%_\"\u{202e}\u{fffd}";

/// The saved progress that [`save`] wrote: a head without rows.
pub(crate) fn only_head(head: impl Into<Vec<u8>>) -> SavedProgress {
    SavedProgress {
        head: head.into(),
        rows: Vec::new(),
    }
}
