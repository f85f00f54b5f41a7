//! A sealed segment, encoded as one blob of about 25 bytes an event.
//!
//! The blob holds the texts, then the events by id. An id is stored as the number of leading bytes
//! that it shares with the id before, and its other bytes. Numbers and times are stored as
//! differences from the event before.

use uuid::Uuid;

use super::bytes::{Bytes, put, put_signed, put_text};
use super::segment::{NAME_IS_KIND, Row, View};
use super::sessions::SessionFilter;
use crate::EventKind;
use crate::journal::{Part, Position, Seq};

/// What the database knows of a segment without reading its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) count: usize,
    pub(super) min_id: Uuid,
    pub(super) max_id: Uuid,
    /// The first number of the events in the journal; 0 if the segment has only duplicates.
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    /// The highest number of all events, including the originals of duplicates.
    pub(super) max_number: Seq,
    pub(super) first_at: i64,
    pub(super) last_at: i64,
    /// One bit for each kind in the segment.
    pub(super) kinds: u32,
}

/// Encodes a segment as its head, its filter of sessions and its blob. Returns `None` for a segment
/// without events.
pub(super) fn encode<T: AsRef<str>>(view: View<'_, T>) -> Option<(Head, SessionFilter, Vec<u8>)> {
    let mut rows = view.rows.to_vec();
    rows.sort_unstable_by_key(|row| (row.id, row.part, row.position));
    let head = head(&rows)?;
    let mut out = Vec::with_capacity(rows.len() * 28);
    put(&mut out, view.texts.len() as u64);
    for text in view.texts {
        put_text(&mut out, text.as_ref());
    }
    put(&mut out, rows.len() as u64);
    let mut before = (0u128, 0u64, 0i64);
    for row in &rows {
        let same = ((row.id ^ before.0).leading_zeros() / 8) as usize;
        out.push(same as u8);
        out.extend_from_slice(&row.id.to_be_bytes()[same..]);
        let duplicate = if row.duplicate { DUPLICATE } else { 0 };
        let parts = (row.part, row.position.part());
        let divided = if parts == (1, 1) { 0 } else { DIVIDED };
        out.push(row.kind as u8 | duplicate | divided);
        put_signed(&mut out, row.position.seq().wrapping_sub(before.1) as i64);
        put_signed(&mut out, row.at.wrapping_sub(before.2));
        put(&mut out, row.source.into());
        put(&mut out, row.session.into());
        put(&mut out, row.name.into());
        put(&mut out, row.bytes);
        if divided != 0 {
            put(&mut out, parts.0.into());
            put(&mut out, parts.1.into());
        }
        before = (row.id, row.position.seq(), row.at);
    }
    Some((head, filter(&rows, view.texts), out))
}

fn head(rows: &[Row]) -> Option<Head> {
    let (first, last) = (rows.first()?, rows.last()?);
    let numbers = || {
        rows.iter()
            .filter(|row| !row.duplicate)
            .map(|row| row.position.seq())
    };
    let times = || rows.iter().map(|row| row.at);
    Some(Head {
        count: rows.len(),
        min_id: Uuid::from_u128(first.id),
        max_id: Uuid::from_u128(last.id),
        first_seq: numbers().min().unwrap_or(0),
        last_seq: numbers().max().unwrap_or(0),
        max_number: rows.iter().map(|row| row.position.seq()).max()?,
        first_at: times().min()?,
        last_at: times().max()?,
        kinds: rows.iter().fold(0, |kinds, row| kinds | kind_bit(row.kind)),
    })
}

/// Returns the bit of a kind in [`Head::kinds`].
pub(super) fn kind_bit(kind: EventKind) -> u32 {
    1 << kind as u32
}

fn filter<T: AsRef<str>>(rows: &[Row], texts: &[T]) -> SessionFilter {
    let mut is_session = vec![false; texts.len() + 1];
    for row in rows {
        is_session[row.session as usize] = true;
    }
    let sessions = is_session[1..].iter().zip(texts);
    let sessions = sessions.filter_map(|(is_session, text)| is_session.then_some(text));
    let mut filter = SessionFilter::for_sessions(sessions.clone().count());
    for session in sessions {
        filter.insert(session.as_ref());
    }
    filter
}

/// A sealed segment whose texts borrow from the blob.
#[derive(Debug)]
pub(super) struct Decoded<'a> {
    rows: Vec<Row>,
    texts: Vec<&'a str>,
}

impl<'a> Decoded<'a> {
    /// Decodes what [`encode`] wrote. Returns `None` for any other bytes.
    pub(super) fn read(blob: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(blob);
        let texts = (0..bytes.count(1)?).map(|_| bytes.text());
        let texts: Vec<&str> = texts.collect::<Option<_>>()?;
        let count = bytes.count(MIN_ROW)?;
        let mut rows: Vec<Row> = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(row(&mut bytes, rows.last(), texts.len())?);
        }
        bytes.is_empty().then_some(Self { rows, texts })
    }

    pub(super) fn view(&self) -> View<'_, &'a str> {
        View {
            rows: &self.rows,
            texts: &self.texts,
        }
    }
}

fn row(bytes: &mut Bytes<'_>, before: Option<&Row>, texts: usize) -> Option<Row> {
    let (id, seq, at) = before.map_or((0, 0, 0), |row| (row.id, row.position.seq(), row.at));
    let mut id: [u8; 16] = id.to_be_bytes();
    let same = usize::from(bytes.byte()?);
    let other = id.get_mut(same..)?;
    other.copy_from_slice(bytes.take(other.len())?);
    let flags = bytes.byte()?;
    let mut row = Row {
        id: u128::from_be_bytes(id),
        part: 1,
        kind: *EventKind::ALL.get(usize::from(flags & !(DUPLICATE | DIVIDED)))?,
        duplicate: flags & DUPLICATE != 0,
        position: Position::first(seq.wrapping_add(bytes.signed()? as u64)),
        at: at.wrapping_add(bytes.signed()?),
        source: bytes.index(texts)?,
        session: bytes.index(texts + 1)?,
        name: bytes.index(texts + 1 + NAME_IS_KIND as usize)?,
        bytes: bytes.number()?,
    };
    if flags & DIVIDED != 0 {
        row.part = part(bytes)?;
        row.position = Position::new(row.position.seq(), part(bytes)?);
    }
    Some(row)
}

fn part(bytes: &mut Bytes<'_>) -> Option<Part> {
    let part = Part::try_from(bytes.number()?).ok()?;
    (part > 0).then_some(part)
}

/// This bit marks a duplicate.
const DUPLICATE: u8 = 0x80;

/// This bit marks an event that is not the first of its body, or that repeats such an event.
const DIVIDED: u8 = 0x40;

/// The bytes of the shortest row: an id equal to the one before, and seven small numbers.
const MIN_ROW: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::segment::{Item, Segment};
    use super::*;
    use crate::EventId;

    type Fields = (
        (u128, Part),
        (u64, Part),
        bool,
        i64,
        usize,
        Option<usize>,
        usize,
        Option<usize>,
        u64,
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
            any::<u64>(),
        )
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![8 => Just(1), 1 => 1..5u16, 1 => 1..=u16::MAX]
    }

    const TEXTS: [&str; 6] = ["", "a", "message", "status", "ünïcode \0", "408f7372"];

    fn item(fields: &Fields) -> Item<'static> {
        let (id, number, duplicate, at, source, session, kind, name, bytes) = *fields;
        Item {
            id: EventId::new(Uuid::from_u128(id.0), id.1),
            position: Position::new(number.0, number.1),
            duplicate,
            at,
            source: TEXTS[source],
            session: session.map(|place| TEXTS[place]),
            kind: EventKind::ALL[kind],
            name: name.map(|place| TEXTS[place]),
            bytes,
        }
    }

    fn read_or_refuse(blob: &[u8]) {
        if let Some(decoded) = Decoded::read(blob) {
            let view = decoded.view();
            for row in view.rows {
                view.item(row);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_encoded_is_read(fields in vec(fields(), 0..60)) {
            let mut segment = Segment::default();
            let mut items: Vec<_> = fields.iter().map(item).collect();
            for item in &items {
                segment.push(item);
            }
            let Some((head, filter, blob)) = encode(segment.view()) else {
                prop_assert!(items.is_empty());
                return Ok(());
            };
            items.sort_by_key(|item| (item.id, item.position));
            let decoded = Decoded::read(&blob).unwrap();
            let view = decoded.view();
            let mut read: Vec<_> = view.rows.iter().map(|row| view.item(row)).collect();
            prop_assert_eq!((head.min_id, head.max_id), (items[0].id.body(), items[items.len() - 1].id.body()));
            prop_assert_eq!(head.count, items.len());
            for item in &items {
                prop_assert!(item.duplicate || (head.first_seq..=head.last_seq).contains(&item.position.seq()));
                prop_assert!(item.position.seq() <= head.max_number);
                prop_assert!((head.first_at..=head.last_at).contains(&item.at));
                prop_assert!(head.kinds & kind_bit(item.kind) != 0);
                let contains = |session: &str| {
                    super::super::sessions::may_contain(
                        filter.as_bytes(), super::super::sessions::hash(session))
                };
                prop_assert!(item.session.is_none_or(contains));
            }
            // The order of rows with the same id and number may change.
            let key = |item: &Item<'_>| format!("{item:?}");
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
            let mut segment = Segment::default();
            for fields in &fields {
                segment.push(&item(fields));
            }
            let (_, _, mut blob) = encode(segment.view()).unwrap();
            prop_assert!(Decoded::read(&blob[..blob.len() - 1]).is_none());
            let at = at.index(blob.len());
            blob[at] = byte;
            read_or_refuse(&blob);
        }
    }
}
