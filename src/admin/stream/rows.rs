//! [`RowFilter`]: which events and changes a viewer sees; the rows that events become.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

use super::encoding;
use super::place::Place;
use crate::dialect::Decoder;
use crate::dispatch::{events_of, outlined};
use crate::journal::{PartView, Record, Seq};
use crate::telemetry::{About, Change, ChangeKind};
use crate::{Event, EventId, EventKind, Timestamp};

/// Which events and changes a viewer sees.
#[derive(Debug, Clone, Default)]
pub(super) struct RowFilter {
    pub(super) source: Option<String>,
    pub(super) session: Option<String>,
    pub(super) event: Option<EventKind>,
    /// Only what was received at this time or later.
    pub(super) from: Option<Timestamp>,
    /// The changes it sees.
    pub(super) changes: Vec<ChangeKind>,
}

/// An event, ready to be sent.
#[derive(Debug)]
pub(super) struct Row {
    /// The number of its body.
    pub(super) seq: Seq,
    pub(super) text: String,
}

/// What is told of an event.
#[derive(Serialize)]
struct ShownEvent<'a> {
    id: EventId,
    seq: Seq,
    /// How many events the body has, if it has several.
    #[serde(skip_serializing_if = "is_one")]
    parts: u16,
    source: &'a str,
    session: Option<&'a str>,
    event: EventKind,
    name: Option<&'a str>,
    received_at: Timestamp,
    bytes: usize,
    /// Why it is unusual.
    #[serde(skip_serializing_if = "Option::is_none")]
    odd: Option<&'a str>,
}

/// For serde, which skips what this returns true for.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_one(parts: &u16) -> bool {
    *parts == 1
}

impl RowFilter {
    /// Whether it leaves out events.
    pub(super) fn is_narrow(&self) -> bool {
        self.source.is_some() || self.session.is_some() || self.event.is_some()
    }

    /// Whether the change is to be shown.
    pub(super) fn takes(&self, change: &Change) -> bool {
        let passes = match &change.about {
            Some(about) => self.is_about(about),
            // Changes of consumers and replays are of no event. An attempt that began before somebody listened
            // is of an unknown one.
            None => change.kind != ChangeKind::State || !self.is_narrow(),
        };
        passes && self.changes.contains(&change.kind)
    }

    fn is_about(&self, about: &About) -> bool {
        let source = self.source.as_ref();
        source.is_none_or(|source| *source == about.source)
            && (self.session.is_none() || self.session == about.session)
            && (self.event.is_none() || about.event.is_none() || self.event == about.event)
    }

    /// Whether events of the body may be shown, as far as can be said without decoding it.
    fn may_take(&self, record: &Record) -> bool {
        let received = &record.received;
        record.missing.is_none()
            && self
                .source
                .as_ref()
                .is_none_or(|source| **source == *received.source)
            && self.from.is_none_or(|from| received.received_at >= from)
    }

    fn may_take_part(&self, view: &PartView<'_>) -> bool {
        let session = self.session.as_deref();
        !view.duplicate && (session.is_none() || session == view.session)
    }

    /// Whether the body has to be decoded, which takes a while.
    pub(super) fn must_decode(&self, record: &Record) -> bool {
        let mut views = record.parts.views(&record.received);
        record.events.known().is_none()
            && self.may_take(record)
            && views.any(|view| self.may_take_part(&view))
    }

    /// Adds the rows of a body that are behind `after`, as long as there is room: so many bytes. Returns up to where
    /// the body was read.
    pub(super) fn add_rows(
        &self,
        record: &Arc<Record>,
        after: Place,
        decoder: &Decoder,
        (rows, room): (&mut VecDeque<Row>, &mut usize),
    ) -> Place {
        let whole = Place::behind(record.seq);
        let views = record.parts.views(&record.received);
        let behind = |view: &PartView<'_>| Place::within(record.seq, view.part) > after;
        let views = views.filter(|view| behind(view) && self.may_take_part(view));
        let mut views = views.peekable();
        if !self.may_take(record) || views.peek().is_none() {
            return whole;
        }
        let known = outlined(Arc::clone(record), decoder);
        let kind = |view: &PartView<'_>| {
            let first = events_of(&known, view.part).first();
            first.map_or(EventKind::Unknown, Event::kind)
        };
        let wanted = |view: &PartView<'_>| self.event.is_none_or(|wanted| wanted == kind(view));
        let mut views = views.filter(wanted).peekable();
        while let Some(view) = views.next() {
            // The last one is behind the whole body.
            let place = match views.peek() {
                Some(_) => Place::within(record.seq, view.part),
                None => whole,
            };
            let data = data(&known, &view, kind(&view));
            let mut text = String::with_capacity(data.len() + FRAME);
            encoding::add(&mut text, Some(&place), "event", &data);
            *room = room.saturating_sub(text.len());
            let seq = record.seq;
            rows.push_back(Row { seq, text });
            if *room == 0 {
                return place;
            }
        }
        whole
    }
}

fn data(record: &Record, view: &PartView<'_>, kind: EventKind) -> String {
    let (received, events) = (&record.received, events_of(record, view.part));
    let shown = ShownEvent {
        id: EventId::new(received.id, view.part),
        seq: record.seq,
        parts: record.parts.count(),
        source: &received.source,
        session: view.session,
        event: kind,
        name: events.first().and_then(Event::name),
        received_at: received.received_at,
        bytes: received.body.len(),
        odd: received.odd.as_deref(),
    };
    serde_json::to_string(&shown).expect("texts, numbers and times are JSON")
}

/// About what a row has beside its data.
const FRAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{KeptPart, Parts};
    use crate::{Received, UnknownEvent, UnknownReason};

    /// A body with four events, of which the second and the last are duplicates.
    fn record() -> Arc<Record> {
        let mut received = Received::new("source", "{}");
        received.session = Some("a".to_owned());
        let kept = |session: Option<&str>, duplicate| KeptPart {
            session: session.map(str::to_owned),
            duplicate,
        };
        let kept = vec![
            kept(None, false),
            kept(None, true),
            kept(Some("b"), false),
            kept(None, true),
        ];
        let event = || Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
        Arc::new(Record {
            seq: 7,
            kept_at: Timestamp::UNIX_EPOCH,
            parts: Parts::several(kept, &received, 1),
            received: Arc::new(received),
            events: vec![event(), event(), event(), event()].into(),
            missing: None,
        })
    }

    fn ids(filter: &RowFilter, after: &str, mut room: usize) -> (Vec<String>, String) {
        let (mut rows, decoder) = (VecDeque::new(), Decoder::new([], 1024));
        let after = after.parse().unwrap();
        let at = filter.add_rows(&record(), after, &decoder, (&mut rows, &mut room));
        let id = |row: &Row| row.text.lines().next().unwrap_or_default().to_owned();
        (rows.iter().map(id).collect(), at.to_string())
    }

    #[test]
    fn duplicates_are_no_rows() {
        let all = RowFilter::default();
        let of = |session: &str| RowFilter {
            session: Some(session.to_owned()),
            ..RowFilter::default()
        };
        let table = [
            (&all, "6", 9999, &["id: 7.1", "id: 7"][..], "7"),
            (&all, "7.1", 9999, &["id: 7"], "7"),
            (&all, "7.3", 9999, &[], "7"),
            (&of("a"), "6", 9999, &["id: 7"], "7"),
            (&of("b"), "6", 9999, &["id: 7"], "7"),
            (&of("c"), "6", 9999, &[], "7"),
            // Without room it goes on within the body.
            (&all, "6", 1, &["id: 7.1"], "7.1"),
            (&all, "7.1", 1, &["id: 7"], "7"),
        ];
        for (filter, after, room, expected, at) in table {
            let (found, up_to) = ids(filter, after, room);
            assert!(
                found == expected && up_to == at,
                "{after}: {found:?}, {up_to}"
            );
        }
    }
}
