//! [`Segment`]: some thousand consecutive events as rows of numbers, with their texts in a list.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::index::EventEntry;
use crate::journal::{Part, PartView, Position};
use crate::{Event, EventId, EventKind, Received, Timestamp};

/// An event to add to a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) id: EventId,
    /// Its position; for a duplicate, the position of its original.
    pub(super) position: Position,
    /// Whether it is a duplicate, which is not in the journal.
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
    /// Makes the item of an event, or of a duplicate of the event at `position`.
    pub(super) fn new(
        received: &'a Received,
        view: PartView<'a>,
        events: &'a [Event],
        position: Position,
        duplicate: bool,
    ) -> Self {
        let first = events.first();
        Self {
            id: EventId::new(received.id, view.part),
            position,
            duplicate,
            at: nanos(received.received_at),
            source: &received.source,
            session: view.session,
            kind: first.map_or(EventKind::Unknown, Event::kind),
            name: first.and_then(Event::name),
            bytes: received.body.len() as u64,
        }
    }
}

/// An [`Item`] whose texts are places in the segment's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    /// The body's id as a number, which sorts like the id.
    pub(super) id: u128,
    /// Which event of the body.
    pub(super) part: Part,
    pub(super) position: Position,
    pub(super) at: i64,
    pub(super) bytes: u64,
    pub(super) source: u32,
    /// 0 for none, otherwise the place plus 1.
    pub(super) session: u32,
    /// 0 for none, [`NAME_IS_KIND`], or the place plus 2.
    pub(super) name: u32,
    pub(super) kind: EventKind,
    pub(super) duplicate: bool,
}

impl Row {
    pub(super) fn id(&self) -> EventId {
        EventId::new(Uuid::from_u128(self.id), self.part)
    }
}

/// The event's name is its kind, as is usual.
pub(super) const NAME_IS_KIND: u32 = 1;

/// A segment that still grows. Events are in the order of their arrival.
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
            id: item.id.body().as_u128(),
            part: item.id.part(),
            position: item.position,
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
        // Never reached: a segment is full long before.
        let place = u32::try_from(self.texts.len()).unwrap_or(u32::MAX - 2);
        self.text_bytes += text.len();
        self.texts.push(Arc::clone(&text));
        self.places.insert(text, place);
        place
    }

    /// Returns how many events it holds.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns whether it holds `events` events, or as many texts as a segment may.
    pub(super) fn is_full(&self, events: usize) -> bool {
        self.rows.len() >= events || self.text_bytes >= FULL_TEXT
    }

    /// Returns the view for searches.
    pub(super) fn view(&self) -> View<'_, Arc<str>> {
        View {
            rows: &self.rows,
            texts: &self.texts,
        }
    }
}

/// The events of an open or a sealed segment.
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
            id: row.id(),
            position: row.position,
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

    /// Returns the event as searches show it, and for a duplicate the position of its original.
    pub(super) fn entry(self, row: &Row) -> (EventEntry, Option<Position>) {
        let item = self.item(row);
        let entry = EventEntry {
            id: item.id,
            position: (!item.duplicate).then_some(item.position),
            duplicate_of: None,
            at: Timestamp::from_nanosecond(item.at.into()).unwrap_or_default(),
            source: item.source.to_owned(),
            session: item.session.map(str::to_owned),
            kind: item.kind,
            name: item.name.map(str::to_owned),
            bytes: item.bytes,
        };
        (entry, item.duplicate.then_some(item.position))
    }

    /// Returns the number of a session in [`Row::session`], or `None` if no event has it.
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

/// A segment with so many bytes of texts is full.
pub(super) const FULL_TEXT: usize = 4 * 1024 * 1024;
