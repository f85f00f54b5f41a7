//! What makes an event a duplicate of an earlier one: its [`DedupKey`].
//!
//! Two different events are never taken for one; when in doubt an event is handed over twice.
//!
//! | an event | is a duplicate of one with the same source and session, and | for |
//! |---|---|---|
//! | with an id of the sender's own | this id, whatever the content | `dedup_window` |
//! | message, status or change with the id of a message | kind, that id and [content](Dialect::content) | `dedup_window` |
//! | without a kind, with an id of the gateway's | this id | `dedup_window` |
//! | connection | the same bytes, if that is the session's newest connection | `dedup_window_unkeyed` |
//! | any other | the same bytes | `dedup_window_unkeyed` |
//!
//! What was refused at first is stored long after it came. All time is divided into windows, and two such events with the same
//! bytes are one only if they came in the same of them: those that came further apart than a window are two.
//!
//! Events that offhook itself creates are never duplicates.

use std::time::Duration;

#[cfg(feature = "sqlite")]
use super::envelope::since;
#[cfg(doc)]
use crate::dialect::Dialect;
use crate::dialect::{BodyReader, ContentHash, EventIds, Pieces};
#[cfg(feature = "sqlite")]
use crate::dialect::{Decoder, read_own};
#[cfg(feature = "sqlite")]
use crate::journal::Record;
use crate::journal::{DedupKey, EntryPart, MAX_PARTS, Part};
use crate::{Event, Received};

/// The dedup windows: how long a later event with the same key is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    /// For events that carry their own identity.
    pub(crate) keyed: Duration,
    /// For events that can only be compared by their bytes, where two different ones may look the same.
    pub(crate) unkeyed: Duration,
}

/// Divides a body into events, each with its dedup key. `reader` has read the body, and the hashes of their
/// `contents`; an event of offhook's own has none. `late` is how long after its receipt it is stored.
pub(super) fn parts(
    received: &Received,
    events: &[Event],
    (reader, contents): (Option<&BodyReader>, &[Option<ContentHash>]),
    (late, windows): (Duration, Windows),
) -> Vec<EntryPart> {
    let came_in = (late > windows.unkeyed).then(|| {
        let window = windows.unkeyed.as_millis().max(1);
        let window = i64::try_from(window).unwrap_or(i64::MAX);
        received.received_at.as_millisecond().div_euclid(window)
    });
    let body = received.session.as_deref();
    let ids = reader.map(|reader| reader.event_ids(&received.content, &received.headers));
    let ids: EventIds = ids.unwrap_or_default();
    let name = reader.and_then(|reader| reader.event_header(&received.headers));
    let parts = (1..)
        .zip(events.iter().take(MAX_PARTS))
        .map(|(part, event)| {
            let session = event.session_id().or(body);
            let keys = Keys {
                received,
                content: contents.get(usize::from(part) - 1).and_then(Option::as_ref),
                session: session.unwrap_or_default(),
                name,
                part,
                windows,
                came_in: came_in.map(i64::to_le_bytes),
            };
            // The last part has all remaining events, so none of them identifies it.
            let is_rest = usize::from(part) == MAX_PARTS && events.len() > MAX_PARTS;
            EntryPart {
                session: session.filter(|_| session != body).map(str::to_owned),
                key: match (ids.of_events.get(usize::from(part) - 1), &ids.of_body) {
                    _ if is_rest && ids.of_body.is_none() => keys.by_bytes(),
                    (Some(Some(id)), _) if !is_rest => keys.named(&[b"event id", id]),
                    (_, Some(id)) => keys.by_id(id),
                    _ => keys.of(event),
                },
            }
        });
    parts.collect()
}

/// The parts of a body that is kept, as they would be made today.
#[cfg(feature = "sqlite")]
pub(super) fn keys_of(record: &Record, decoder: &Decoder, windows: Windows) -> Vec<EntryPart> {
    let when = (since(record.received.received_at, record.kept_at), windows);
    if let Some(own) = read_own(&record.received) {
        let own: Vec<Event> = own.map(Event::Source).into_iter().collect();
        return parts(&record.received, &own, (None, &[]), when);
    }
    let mut received = Received::clone(&record.received);
    let reader = decoder.reader(&received.source).with_contents();
    let mut reading = reader.read(&received.body, &received.headers);
    record.set_sessions(&mut reading.events);
    received.content = reading.content;
    let read = (Some(&reader), &reading.contents[..]);
    parts(&received, &reading.events, read, when)
}

/// What the key of one event is made of.
struct Keys<'a> {
    received: &'a Received,
    /// The hash of what the event says; `None` if only the bytes of the body tell.
    content: Option<&'a ContentHash>,
    session: &'a str,
    /// What a header says happened.
    name: Option<&'a [u8]>,
    part: Part,
    windows: Windows,
    /// In which window it came, if that is over.
    came_in: Option<[u8; 8]>,
}

impl Keys<'_> {
    fn of(&self, event: &Event) -> DedupKey {
        let message_id = match event {
            Event::Source(_) => {
                return DedupKey {
                    hash: hash([&b"own"[..], self.received.id.as_bytes()].iter()),
                    window: Duration::ZERO,
                    state: None,
                    named: true,
                };
            }
            // A message may be changed more than once.
            Event::Message(event) | Event::Sent(event) | Event::Change(event) => {
                event.message_id.as_deref().or(event.target.as_deref())
            }
            Event::Status(event) => event.message_id.as_deref(),
            Event::Connection(_) => return self.by_state("connection"),
            Event::Unknown(event) => match event.event_id.as_deref() {
                Some(id) if !id.is_empty() => return self.named(&[b"unknown", id.as_bytes()]),
                _ => None,
            },
            #[allow(unreachable_patterns)]
            _ => None,
        };
        // An empty id is none: some senders write one where they have none.
        match message_id.filter(|id| !id.is_empty()) {
            Some(id) => self.by_content(event.kind().as_str(), id),
            None => self.by_bytes(),
        }
    }

    fn by_id(&self, id: &[u8]) -> DedupKey {
        self.named(&[b"id", id, &self.part.to_le_bytes()])
    }

    fn by_content(&self, kind: &str, id: &str) -> DedupKey {
        let (kind, id) = (kind.as_bytes(), id.as_bytes());
        match self.content {
            Some(content) => self.named(&[kind, id, content]),
            None => self.named(&[kind, id, b"", &self.received.body, &self.part.to_le_bytes()]),
        }
    }

    fn named(&self, parts: &[&[u8]]) -> DedupKey {
        DedupKey {
            hash: self.hash(parts),
            window: self.windows.keyed,
            state: None,
            named: true,
        }
    }

    /// The key of an event that says the state of its session.
    fn by_state(&self, what: &str) -> DedupKey {
        let (what, part) = (what.as_bytes(), self.part.to_le_bytes());
        let mut parts: Vec<&[u8]> = vec![what, &self.received.body, &part];
        parts.extend(self.came_in.as_ref().map(<[u8; 8]>::as_slice));
        DedupKey {
            hash: self.hash(&parts),
            window: self.windows.unkeyed,
            state: Some(self.hash(&[b"state", what])),
            named: false,
        }
    }

    fn by_bytes(&self) -> DedupKey {
        let part = self.part.to_le_bytes();
        let mut parts: Vec<&[u8]> = vec![b"body", &self.received.body];
        // The first event has the key that a whole body had before bodies had parts.
        if self.part > 1 {
            parts.push(&part);
        }
        if let Some(name) = self.name {
            parts.extend([b"name", name]);
        }
        if let Some(window) = &self.came_in {
            parts.extend([&b"came"[..], window]);
        }
        DedupKey {
            hash: self.hash(&parts),
            window: self.windows.unkeyed,
            state: None,
            named: false,
        }
    }

    fn hash(&self, parts: &[&[u8]]) -> u128 {
        let own: [&[u8]; 2] = [self.received.source.as_bytes(), self.session.as_bytes()];
        hash(own.iter().chain(parts))
    }
}

/// The first half of the SHA-256 of the parts, each preceded by its length.
fn hash<'a>(parts: impl Iterator<Item = &'a &'a [u8]>) -> u128 {
    let mut hasher = Pieces::default();
    for part in parts {
        hasher.add(&(part.len() as u64).to_le_bytes());
        hasher.add(part);
    }
    let digest = hasher.finish();
    let (half, _) = digest.split_first_chunk().expect("16 of 32");
    u128::from_le_bytes(*half)
}

#[cfg(test)]
mod tests;
