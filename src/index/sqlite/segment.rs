//! [`Segment`]: some thousand consecutive events as rows of numbers, with their texts in a list.
//!
//! The newest events are in the [`OpenSegment`]. A full one is sealed: it becomes one blob of about
//! 26 bytes an event, a summary, and a filter of its sessions. The blob is postcard's encoding of
//! the segment, which is fixed since its version 1, with the rows sorted by id. The id, the number
//! and the time of a row are stored as differences from the row before: small numbers take few bytes.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::index::EventEntry;
use crate::journal::{BloomFilter, KeyHash, Part, Position, Seq};
use crate::{Event, EventId, EventKind, Received, Timestamp};

/// Events with their texts. The texts of the open segment are `Arc<str>`; those of a sealed segment
/// are `&str` and borrow from the blob.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Segment<T> {
    texts: Vec<T>,
    pub(super) rows: Vec<Row>,
}

/// An [`EventEntry`] whose texts are places in the segment's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    /// The body's id as a number, which sorts like the id.
    pub(super) id: u128,
    pub(super) part: Part,
    /// The number of the body; for a duplicate, the number of the original's body.
    seq: i64,
    /// For a duplicate, which event of its body the original is.
    duplicate_of: Option<Part>,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    bytes: u64,
    source: u32,
    /// 0 for none, otherwise the place plus 1.
    pub(super) session: u32,
    /// 0 for none, [`NAME_IS_KIND`], or the place plus 2.
    name: u32,
    /// The place in [`KINDS`], or [`DELETED`].
    kind: u8,
    /// Why it is unusual: 0 for none, otherwise the place plus 1.
    odd: u32,
}

impl<'a> EventEntry<&'a str> {
    /// Makes the entry of an event, or of a duplicate of the event at `position`.
    pub(super) fn new(
        received: &'a Received,
        part: Part,
        session: Option<&'a str>,
        events: &'a [Event],
        position: Position,
        is_duplicate: bool,
    ) -> Self {
        let first = events.first();
        Self {
            id: EventId::new(received.id, part),
            position,
            is_duplicate,
            is_deleted: false,
            duplicate_of: None,
            at: received.received_at,
            source: &received.source,
            session,
            kind: first.map_or(EventKind::Unknown, Event::kind),
            name: first.and_then(Event::name),
            bytes: received.body.len() as u64,
            odd: received.odd.as_deref(),
        }
    }

    /// What is left of it after its body was deleted.
    pub(super) fn erased(self) -> Self {
        Self {
            is_deleted: true,
            source: "",
            session: None,
            kind: EventKind::Unknown,
            name: None,
            bytes: 0,
            odd: None,
            ..self
        }
    }
}

impl Row {
    pub(super) fn id(&self) -> EventId {
        EventId::new(Uuid::from_u128(self.id), self.part)
    }

    /// Returns its position; for a duplicate, the position of its original.
    pub(super) fn position(&self) -> Position {
        Position::new(self.seq(), self.duplicate_of.unwrap_or(self.part))
    }

    pub(super) fn seq(&self) -> Seq {
        self.seq.cast_unsigned()
    }

    pub(super) fn is_duplicate(&self) -> bool {
        self.duplicate_of.is_some()
    }

    /// Whether its body was deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.kind == DELETED
    }

    /// Returns the event's kind; that of a deleted one is unknown.
    pub(super) fn kind(&self) -> EventKind {
        let kind = KINDS.get(usize::from(self.kind));
        kind.copied().unwrap_or(EventKind::Unknown)
    }
}

impl<T: AsRef<str>> Segment<T> {
    /// Returns the number of a session in [`Row::session`], or `None` if no event has it.
    pub(super) fn session(&self, session: &str) -> Option<u32> {
        let mut texts = self.texts.iter();
        let place = texts.position(|text| text.as_ref() == session)?;
        u32::try_from(place + 1).ok()
    }

    /// Returns the event of a row. Of a duplicate, it lacks the id of the original.
    pub(super) fn entry<'s, U: From<&'s str>>(&'s self, row: &Row) -> EventEntry<U> {
        let text = |place: u32| U::from(self.texts[place as usize].as_ref());
        EventEntry {
            id: row.id(),
            position: row.position(),
            is_duplicate: row.is_duplicate(),
            is_deleted: row.is_deleted(),
            duplicate_of: None,
            at: Timestamp::from_nanosecond(row.at.into()).unwrap_or_default(),
            source: text(row.source),
            session: row.session.checked_sub(1).map(text),
            kind: row.kind(),
            name: match row.name {
                NAME_IS_KIND => Some(row.kind().as_str().into()),
                name => name.checked_sub(2).map(text),
            },
            bytes: row.bytes,
            odd: row.odd.checked_sub(1).map(text),
        }
    }

    /// Returns the events at these positions, which must be sorted; no deleted ones.
    pub(super) fn at(&self, positions: &[Position]) -> Vec<EventEntry> {
        let rows = self.rows.iter();
        let rows = rows.filter(|row| !row.is_duplicate() && !row.is_deleted());
        rows.filter(|row| positions.binary_search(&row.position()).is_ok())
            .map(|row| self.entry(row))
            .collect()
    }
}

/// A segment that still grows. Events are in the order of their arrival.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenSegment {
    pub(super) segment: Segment<Arc<str>>,
    places: HashMap<Arc<str>, u32, RandomState>,
    text_bytes: usize,
}

impl OpenSegment {
    pub(super) fn push(&mut self, entry: &EventEntry<&str>) {
        let row = Row {
            id: entry.id.body().as_u128(),
            part: entry.id.part(),
            seq: entry.position.seq().cast_signed(),
            duplicate_of: entry.is_duplicate.then_some(entry.position.part()),
            at: nanos(entry.at),
            bytes: entry.bytes,
            source: self.place(entry.source),
            session: entry.session.map_or(0, |session| self.place(session) + 1),
            name: match entry.name {
                None => 0,
                Some(name) if name == entry.kind.as_str() => NAME_IS_KIND,
                Some(name) => self.place(name) + 2,
            },
            kind: if entry.is_deleted {
                DELETED
            } else {
                place_of(entry.kind)
            },
            odd: entry.odd.map_or(0, |odd| self.place(odd) + 1),
        };
        self.segment.rows.push(row);
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let text: Arc<str> = text.into();
        // Never reached: a segment is full long before.
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX - 2);
        self.text_bytes += text.len();
        self.segment.texts.push(Arc::clone(&text));
        self.places.insert(text, place);
        place
    }

    /// Forgets all events.
    pub(super) fn clear(&mut self) {
        let mut rows = std::mem::take(&mut self.segment.rows);
        clear(&mut rows);
        *self = Self::default();
        self.segment.rows = rows;
    }

    pub(super) fn len(&self) -> usize {
        self.segment.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segment.rows.is_empty()
    }

    /// Returns whether it holds `events` events, or as many texts as a segment may.
    pub(super) fn is_full(&self, events: usize) -> bool {
        self.len() >= events || self.text_bytes >= FULL_TEXT
    }

    /// Encodes the segment. Returns `None` for a segment without events.
    pub(super) fn seal(&self) -> Option<Sealed> {
        let Segment { texts, rows } = &self.segment;
        let mut rows: Vec<&Row> = rows.iter().collect();
        rows.sort_unstable_by_key(|row| (row.id, row.part, row.position()));
        let mut sealed = Sealed::of(&rows, texts)?;
        // A segment as `Segment::decode` reads it.
        let segment = (Texts(texts), Differences(&rows));
        sealed.events = postcard::to_allocvec(&segment).expect("memory takes any length");
        Some(sealed)
    }
}

struct Texts<'a>(&'a [Arc<str>]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(AsRef::<str>::as_ref))
    }
}

/// Rows, each relative to the row before.
struct Differences<'a>(&'a [&'a Row]);

impl Serialize for Differences<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (mut id, mut seq, mut at) = (0, 0, 0);
        serializer.collect_seq(self.0.iter().map(|row| Row {
            id: row.id.wrapping_sub(std::mem::replace(&mut id, row.id)),
            seq: row.seq.wrapping_sub(std::mem::replace(&mut seq, row.seq)),
            at: row.at.wrapping_sub(std::mem::replace(&mut at, row.at)),
            ..**row
        }))
    }
}

/// A segment as the database stores it: the blob, and what is known without reading it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) count: usize,
    pub(super) min_id: Uuid,
    pub(super) max_id: Uuid,
    /// The lowest number of all events, including the originals of duplicates.
    pub(super) first_seq: Seq,
    /// The last number of the events in the journal; 0 if the segment has only duplicates.
    pub(super) last_seq: Seq,
    /// The highest number of all events, including the originals of duplicates.
    pub(super) max_number: Seq,
    pub(super) first_at: i64,
    pub(super) last_at: i64,
    /// One bit for each kind in the segment.
    pub(super) kinds: u32,
    /// A [`BloomFilter`] of its sessions.
    pub(super) filter: Vec<u8>,
    pub(super) events: Vec<u8>,
}

impl Sealed {
    /// Sums up rows that are sorted by id. Returns `None` if there are none.
    fn of(rows: &[&Row], texts: &[Arc<str>]) -> Option<Self> {
        let in_journal = rows.iter().filter(|row| !row.is_duplicate());
        Some(Self {
            count: rows.len(),
            min_id: Uuid::from_u128(rows.first()?.id),
            max_id: Uuid::from_u128(rows.last()?.id),
            first_seq: rows.iter().map(|row| row.seq()).min()?,
            last_seq: in_journal.map(|row| row.seq()).max().unwrap_or(0),
            max_number: rows.iter().map(|row| row.seq()).max()?,
            first_at: rows.iter().map(|row| row.at).min()?,
            last_at: rows.iter().map(|row| row.at).max()?,
            kinds: rows.iter().fold(0, |kinds, row| kinds | 1 << row.kind),
            filter: session_filter(rows, texts),
            events: Vec::new(),
        })
    }
}

/// Returns the bit of a kind in [`Sealed::kinds`].
pub(super) fn kind_bit(kind: EventKind) -> u32 {
    1 << place_of(kind)
}

fn place_of(kind: EventKind) -> u8 {
    let place = KINDS.iter().position(|one| *one == kind);
    // There are far fewer than 256.
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(UNKNOWN)
}

fn session_filter(rows: &[&Row], texts: &[Arc<str>]) -> Vec<u8> {
    let mut sessions: Vec<u32> = rows.iter().map(|row| row.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let mut filter = BloomFilter::for_keys(sessions.len() as u64);
    for place in sessions.iter().filter_map(|session| session.checked_sub(1)) {
        filter.insert(session_key(&texts[place as usize]));
    }
    filter.to_bytes()
}

/// Returns the key of a session in a segment's filter.
pub(super) fn session_key(session: &str) -> KeyHash {
    let digest = Sha256::digest(session);
    let (first, _) = digest.split_first_chunk().expect("16 of 32");
    KeyHash::from_be_bytes(*first)
}

impl<'a> Segment<&'a str> {
    /// Decodes the events of a [`Sealed`] segment. Returns `None` for any other bytes.
    pub(super) fn decode(events: &'a [u8]) -> Option<Self> {
        let (mut segment, rest): (Self, _) = postcard::take_from_bytes(events).ok()?;
        for at in 1..segment.rows.len() {
            let before = segment.rows[at - 1];
            let row = &mut segment.rows[at];
            row.id = row.id.wrapping_add(before.id);
            row.seq = row.seq.wrapping_add(before.seq);
            row.at = row.at.wrapping_add(before.at);
        }
        let texts = segment.texts.len() as u64;
        let fits = |row: &Row| {
            u64::from(row.source) < texts
                && u64::from(row.session) < texts + 1
                && u64::from(row.name) < texts + 2
                && u64::from(row.odd) < texts + 1
                && (usize::from(row.kind) < KINDS.len() || row.is_deleted())
        };
        (rest.is_empty() && segment.rows.iter().all(fits)).then_some(segment)
    }
}

/// Removes everything from a list. It keeps no more memory than it has used.
pub(super) fn clear<T>(all: &mut Vec<T>) {
    all.shrink_to(2 * all.len());
    all.clear();
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The kind of an event whose body was deleted. It is a bit of [`Sealed::kinds`], too.
const DELETED: u8 = 31;

/// The kinds by their numbers in files: a new one is added at the end.
const KINDS: [EventKind; EventKind::ALL.len()] = [
    EventKind::Message,
    EventKind::Status,
    EventKind::Connection,
    EventKind::Unknown,
    EventKind::SourceQuiet,
    EventKind::SourceResumed,
    EventKind::Sent,
    EventKind::Change,
];
const UNKNOWN: u8 = 3;

/// The event's name is its kind, as is usual.
const NAME_IS_KIND: u32 = 1;

/// A segment with so many bytes of texts is full.
pub(super) const FULL_TEXT: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::ContextV7;

    use super::*;

    type Fields = (
        (u128, Part),
        (u64, Part),
        bool,
        i64,
        usize,
        Option<usize>,
        usize,
        Option<usize>,
        (u64, Option<usize>),
    );

    fn fields() -> impl Strategy<Value = Fields> {
        (
            (
                prop_oneof![any::<u128>(), 0..1000u128, Just(u128::MAX)],
                part(),
            ),
            (prop_oneof![any::<u64>(), 0..50u64], part()),
            any::<bool>(),
            any::<i64>(),
            0..3usize,
            proptest::option::of(0..TEXTS.len()),
            0..4usize,
            proptest::option::of(0..TEXTS.len()),
            (any::<u64>(), proptest::option::of(0..TEXTS.len())),
        )
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![8 => Just(1), 1 => 1..5u16, 1 => 1..=u16::MAX]
    }

    const TEXTS: [&str; 6] = ["", "a", "message", "status", "ünïcode \0", "408f7372"];

    fn entry(fields: &Fields) -> EventEntry<&'static str> {
        let (id, number, duplicate, at, source, session, kind, name, (bytes, odd)) = *fields;
        EventEntry {
            id: EventId::new(Uuid::from_u128(id.0), id.1),
            position: Position::new(number.0, if duplicate { number.1 } else { id.1 }),
            is_duplicate: duplicate,
            is_deleted: false,
            duplicate_of: None,
            at: Timestamp::from_nanosecond(at.into()).unwrap(),
            source: TEXTS[source],
            session: session.map(|place| TEXTS[place]),
            kind: EventKind::ALL[kind],
            name: name.map(|place| TEXTS[place]),
            bytes,
            odd: odd.map(|place| TEXTS[place]),
        }
    }

    fn read_or_refuse(blob: &[u8]) {
        if let Some(segment) = Segment::decode(blob) {
            for row in &segment.rows {
                segment.entry::<&str>(row);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_encoded_is_read(fields in vec(fields(), 0..60)) {
            let mut segment = OpenSegment::default();
            let mut items: Vec<_> = fields.iter().map(entry).collect();
            for item in &items {
                segment.push(item);
            }
            let Some(sealed) = segment.seal() else {
                prop_assert!(items.is_empty());
                return Ok(());
            };
            items.sort_by_key(|item| (item.id, item.position));
            let decoded = Segment::decode(&sealed.events).unwrap();
            let mut read: Vec<_> = decoded.rows.iter().map(|row| decoded.entry(row)).collect();
            prop_assert_eq!((sealed.min_id, sealed.max_id), (items[0].id.body(), items[items.len() - 1].id.body()));
            prop_assert_eq!(sealed.count, items.len());
            for item in &items {
                prop_assert!(item.is_duplicate || (sealed.first_seq..=sealed.last_seq).contains(&item.position.seq()));
                prop_assert!(item.position.seq() <= sealed.max_number);
                prop_assert!((sealed.first_at..=sealed.last_at).contains(&nanos(item.at)));
                prop_assert!(sealed.kinds & kind_bit(item.kind) != 0);
                let contains = |session| {
                    BloomFilter::stored_may_contain(&sealed.filter, session_key(session)).unwrap()
                };
                prop_assert!(item.session.is_none_or(contains));
            }
            // The order of rows with the same id and number may change.
            let key = |item: &EventEntry<&str>| format!("{item:?}");
            items.sort_by_key(key);
            read.sort_by_key(key);
            prop_assert_eq!(read, items);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            noise in vec(any::<u8>(), 0..300),
            fields in vec(fields(), 1..20),
            at in any::<proptest::sample::Index>(),
            byte: u8,
        ) {
            read_or_refuse(&noise);
            BloomFilter::stored_may_contain(&noise, session_key("any"));
            let mut segment = OpenSegment::default();
            for fields in &fields {
                segment.push(&entry(fields));
            }
            let mut blob = segment.seal().unwrap().events;
            prop_assert!(Segment::decode(&blob[..blob.len() - 1]).is_none());
            let at = at.index(blob.len());
            blob[at] = byte;
            read_or_refuse(&blob);
        }
    }

    /// As at 1,000 events a second. An id alone has 16 bytes.
    #[test]
    fn an_event_takes_few_bytes() {
        let (order, mut random) = (ContextV7::new(), fastrand::Rng::with_seed(7));
        let mut segment = OpenSegment::default();
        for seq in 1..=8192 {
            let at = 1_700_000_000_000_000_000 + seq * 1_000_000 + random.u64(..500_000);
            let (seconds, nanos) = (at / 1_000_000_000, at % 1_000_000_000);
            let id = Uuid::new_v7(uuid::Timestamp::from_unix(&order, seconds, nanos as u32));
            segment.push(&EventEntry {
                id: id.into(),
                position: Position::first(seq),
                is_duplicate: false,
                is_deleted: false,
                duplicate_of: None,
                at: Timestamp::from_nanosecond(at.into()).unwrap(),
                source: "gateway",
                session: Some(&format!("{:08x}", random.u32(..1000))),
                kind: EventKind::Message,
                name: Some("message"),
                bytes: random.u64(300..1000),
                odd: None,
            });
        }
        let bytes = segment.seal().unwrap().events.len() as f64 / 8192.0;
        assert!(bytes < 28.0, "{bytes}");
    }

    /// The filters are stored, so the keys must stay the same.
    #[test]
    fn a_session_has_a_fixed_key() {
        assert_eq!(
            session_key("408f7372"),
            0x4cae9a4a_dbe1491a_82ab7fd8_ae667451
        );
    }
}
