//! [`JournalEngine`]: the engine over a [`Journal`]. It acknowledges an event when the event is durable.
//!
//! It also says what makes another event a duplicate of this one: a message's id, a status's message
//! id and status, a connection's status and timestamp, each within its source and session; for
//! everything else the bytes of the body. Events that offhook itself creates are never duplicates.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::index::Notes;
use crate::journal::{Appended, DedupKey, Entry, EntryPart, Journal, MAX_PARTS, Part};
use crate::{Event, Received};

/// Appends each event; consumers read the journal.
#[derive(Debug)]
pub(crate) struct JournalEngine {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) windows: Windows,
    pub(crate) notes: Arc<dyn Notes>,
}

impl Engine for JournalEngine {
    fn accept(self: Arc<Self>, envelope: Envelope, events: Vec<Event>) -> Work {
        let received = Arc::clone(envelope.received());
        let parts = parts(&received, &events, self.windows);
        let events: Arc<[Event]> = events.into();
        let entry = Entry {
            received: Arc::clone(&received),
            events: Arc::clone(&events),
            parts,
        };
        Box::pin(async move {
            // Holds the body's share of the in-flight budget until the journal has it.
            let _envelope = envelope;
            let appended = self.journal.append(entry).await;
            let (accepted, duplicates) = match appended.map_err(|_| NotAccepted::Unavailable)? {
                Appended::New { duplicates, .. } => (Accepted::New, duplicates),
                Appended::Duplicate(originals) => {
                    (Accepted::Duplicate, (1..).zip(originals).collect())
                }
            };
            for (part, original) in duplicates {
                self.notes.duplicate(&received, &events, part, original);
            }
            Ok(accepted)
        })
    }

    fn not_ready(&self) -> Option<&'static str> {
        (!self.journal.is_ready()).then_some("the journal cannot store events")
    }
}

/// The dedup windows: how long a later event with the same key is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    /// For events that carry their own identity.
    pub(crate) keyed: Duration,
    /// For events that can only be compared by their bytes, where two different ones may look the same.
    pub(crate) unkeyed: Duration,
}

/// Divides a body into events, each with its dedup key.
fn parts(received: &Received, events: &[Event], windows: Windows) -> Vec<EntryPart> {
    let body = received.session.as_deref();
    let parts = (1..)
        .zip(events.iter().take(MAX_PARTS))
        .map(|(part, event)| {
            let session = event.session_id().or(body);
            // The last part has all remaining events, so none of them identifies it.
            let is_rest = usize::from(part) == MAX_PARTS && events.len() > MAX_PARTS;
            EntryPart {
                session: session.filter(|_| session != body).map(str::to_owned),
                key: if is_rest {
                    by_bytes(received, session.unwrap_or_default(), part, windows)
                } else {
                    key(received, session.unwrap_or_default(), event, part, windows)
                },
            }
        });
    parts.collect()
}

fn key(
    received: &Received,
    session: &str,
    event: &Event,
    part: Part,
    windows: Windows,
) -> DedupKey {
    let hash_of = |kind: &str, id: &str, more: &str| {
        hash(&[&received.source, session, kind, id, more].map(str::as_bytes))
    };
    let named = match event {
        Event::Source(_) => {
            return DedupKey {
                hash: hash(&[b"own", received.id.as_bytes()]),
                window: Duration::ZERO,
                named: true,
            };
        }
        Event::Message(event) => {
            { event.message_id.as_deref() }.map(|id| hash_of("message", id, ""))
        }
        Event::Status(event) => { event.message_id.as_deref() }
            .zip(event.status.as_ref())
            .map(|(id, status)| hash_of("status", id, status.as_str())),
        Event::Connection(event) => {
            { event.timestamp }.map(|time| hash_of("connection", event.status(), &time.to_string()))
        }
        _ => None,
    };
    match named {
        Some(hash) => DedupKey {
            hash,
            window: windows.keyed,
            named: true,
        },
        None => by_bytes(received, session, part, windows),
    }
}

fn by_bytes(received: &Received, session: &str, part: Part, windows: Windows) -> DedupKey {
    let (source, session) = (received.source.as_bytes(), session.as_bytes());
    let part = part.to_le_bytes();
    let parts: [&[u8]; 5] = [source, session, b"body", &received.body, &part];
    // The first event has the key that a whole body had before bodies had parts.
    let parts = if part == [1, 0] { &parts[..4] } else { &parts };
    DedupKey {
        hash: hash(parts),
        window: windows.unkeyed,
        named: false,
    }
}

/// The first half of the SHA-256 of the parts, each preceded by its length.
fn hash(parts: &[&[u8]]) -> u128 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let (half, _) = digest.split_first_chunk().expect("16 of 32");
    u128::from_le_bytes(*half)
}
