//! [`Segment`]: some thousand consecutive events as rows of numbers, their texts apart.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::query::Entry;
use crate::journal::Seq;
use crate::{Event, EventKind, Received, Timestamp};

/// An event as it is put into a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) id: Uuid,
    /// Its own number, or of a duplicate the number of the event that it is the same as.
    pub(super) number: Seq,
    /// It is not in the journal.
    pub(super) duplicate: bool,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) source: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) kind: EventKind,
    pub(super) name: Option<&'a str>,
    pub(super) bytes: u64,
}

impl<'a> Item<'a> {
    /// The event `number`, or a duplicate of it.
    pub(super) fn new(
        received: &'a Received,
        events: &'a [Event],
        number: Seq,
        duplicate: bool,
    ) -> Self {
        let first = events.first();
        Self {
            id: received.id,
            number,
            duplicate,
            at: nanos(received.received_at),
            source: &received.source,
            session: received.session.as_deref(),
            kind: first.map_or(EventKind::Unknown, Event::kind),
            name: first.and_then(Event::name),
            bytes: received.body.len() as u64,
        }
    }
}

/// An [`Item`] with its texts as places in a segment's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// In a form that sorts like the number it is.
    pub(super) id: u128,
    pub(super) number: Seq,
    pub(super) at: i64,
    pub(super) bytes: u64,
    pub(super) source: u32,
    /// 0 for none, else the place and 1.
    pub(super) session: u32,
    /// 0 for none, [`NAME_IS_KIND`], else the place and 2.
    pub(super) name: u32,
    pub(super) kind: EventKind,
    pub(super) duplicate: bool,
}

/// The usual name.
pub(super) const NAME_IS_KIND: u32 = 1;

/// A segment that is growing. Events are in the order they came.
#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    rows: Vec<Row>,
    texts: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
    text_bytes: usize,
    last_source: u32,
}

impl Segment {
    pub(super) fn push(&mut self, item: &Item<'_>) {
        let source = match self.texts.get(self.last_source as usize) {
            Some(last) if **last == *item.source => self.last_source,
            _ => self.place(item.source),
        };
        self.last_source = source;
        let row = Row {
            id: item.id.as_u128(),
            number: item.number,
            at: item.at,
            bytes: item.bytes,
            source,
            session: item.session.map_or(0, |session| self.place(session) + 1),
            name: match item.name {
                None => 0,
                Some(name) if name == item.kind.as_str() => NAME_IS_KIND,
                Some(name) => self.place(name) + 2,
            },
            kind: item.kind,
            duplicate: item.duplicate,
        };
        self.rows.push(row);
    }

    fn place(&mut self, text: &str) -> u32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let text: Arc<str> = text.into();
        // A segment is full long before.
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX - 2);
        self.text_bytes += text.len();
        self.texts.push(Arc::clone(&text));
        self.places.insert(text, place);
        place
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether it has as many events as it should, or texts.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= FULL || self.text_bytes >= FULL_TEXT
    }

    /// What can be searched.
    pub(super) fn view(&self) -> View<'_, Arc<str>> {
        View {
            rows: &self.rows,
            texts: &self.texts,
        }
    }
}

/// The events of a segment, wherever they are.
#[derive(Debug)]
pub(super) struct View<'a, T> {
    pub(super) rows: &'a [Row],
    pub(super) texts: &'a [T],
}

impl<T> Clone for View<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for View<'_, T> {}

impl<'a, T: AsRef<str>> View<'a, T> {
    pub(super) fn item(self, row: &Row) -> Item<'a> {
        let text = |place: u32| self.texts[place as usize].as_ref();
        Item {
            id: Uuid::from_u128(row.id),
            number: row.number,
            duplicate: row.duplicate,
            at: row.at,
            source: text(row.source),
            session: row.session.checked_sub(1).map(text),
            kind: row.kind,
            name: match row.name {
                NAME_IS_KIND => Some(row.kind.as_str()),
                name => name.checked_sub(2).map(text),
            },
            bytes: row.bytes,
        }
    }

    /// The event as it is shown, and of a duplicate the number of the event it is the same as.
    pub(super) fn entry(self, row: &Row) -> (Entry, Option<Seq>) {
        let item = self.item(row);
        let entry = Entry {
            id: item.id,
            seq: (!item.duplicate).then_some(item.number),
            duplicate_of: None,
            at: Timestamp::from_nanosecond(item.at.into()).unwrap_or_default(),
            source: item.source.to_owned(),
            session: item.session.map(str::to_owned),
            kind: item.kind,
            name: item.name.map(str::to_owned),
            bytes: item.bytes,
        };
        (entry, item.duplicate.then_some(item.number))
    }

    /// The place of a session's text in [`Row::session`], where it is there at all.
    pub(super) fn session(self, session: &str) -> Option<u32> {
        let place = self
            .texts
            .iter()
            .position(|text| text.as_ref() == session)?;
        u32::try_from(place + 1).ok()
    }
}

/// Nanoseconds since 1970.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

/// A segment is sealed with so many events. Few in unit tests, which reach it often.
pub(super) const FULL: usize = if cfg!(test) { 32 } else { 8192 };

/// A segment is sealed with so many bytes of texts.
pub(super) const FULL_TEXT: usize = 4 * 1024 * 1024;
