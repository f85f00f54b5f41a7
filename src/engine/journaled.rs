//! [`JournalEngine`]: the engine over a [`Journal`]. An event is acknowledged when it is durable.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::index::AttemptLog;
use crate::journal::{Appended, Claim, Entry, Journal};
use crate::{Event, Received};

/// Appends each event; consumers follow the journal.
#[derive(Debug)]
pub(crate) struct JournalEngine {
    journal: Arc<dyn Journal>,
    windows: Windows,
    notes: AttemptLog,
}

/// How long a later event with the same key is a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    /// For events that say themselves which one they are.
    pub(crate) keyed: Duration,
    /// For those that can only be compared by their bytes: two real ones may look the same.
    pub(crate) unkeyed: Duration,
}

impl JournalEngine {
    pub(crate) fn new(journal: Arc<dyn Journal>, windows: Windows, notes: AttemptLog) -> Self {
        Self {
            journal,
            windows,
            notes,
        }
    }
}

impl Engine for JournalEngine {
    fn accept(self: Arc<Self>, envelope: Envelope, events: Vec<Event>) -> Work {
        let claim = claim(envelope.received(), &events, self.windows);
        let events: Arc<[Event]> = events.into();
        let entry = Entry {
            received: Arc::clone(envelope.received()),
            events: Arc::clone(&events),
            claim,
        };
        Box::pin(async move {
            match self.journal.append(entry).await {
                Ok(Appended::New(_)) => Ok(Accepted::New),
                Ok(Appended::Duplicate(of)) => {
                    self.notes.duplicate(envelope.received(), &events, of);
                    Ok(Accepted::Duplicate)
                }
                Err(_) => Err(NotAccepted::Unavailable),
            }
        })
    }

    fn not_ready(&self) -> Option<&'static str> {
        (!self.journal.is_ready()).then_some("the journal cannot store events")
    }
}

/// What makes another event the same as this one.
///
/// A message by its id, a status by the message's id and the status, a connection by status and
/// timestamp, each within its source and session; everything else, and bodies with several events, by
/// the bytes. What offhook itself says is never the same as anything.
fn claim(received: &Received, events: &[Event], windows: Windows) -> Claim {
    if let [Event::Source(_)] = events {
        return Claim {
            key: hash(&[b"own", received.id.as_bytes()]),
            window: Duration::ZERO,
            named: true,
        };
    }
    let key = match events {
        [Event::Message(event)] => event.message_id.as_deref().map(|id| ["message", id, ""]),
        [Event::Status(event)] => match (event.message_id.as_deref(), &event.status) {
            (Some(id), Some(status)) => Some(["status", id, status.as_str()]),
            _ => None,
        },
        _ => None,
    };
    let timestamp = match events {
        [Event::Connection(event)] => event.timestamp.map(|time| time.to_string()),
        _ => None,
    };
    let key = match (events, &timestamp) {
        ([Event::Connection(event)], Some(time)) => Some(["connection", event.status(), time]),
        _ => key,
    };
    let session = received.session.as_deref().unwrap_or_default();
    match key {
        Some([kind, id, more]) => Claim {
            key: hash(&[&received.source, session, kind, id, more].map(str::as_bytes)),
            window: windows.keyed,
            named: true,
        },
        None => Claim {
            key: hash(&[
                received.source.as_bytes(),
                session.as_bytes(),
                b"body",
                &received.body,
            ]),
            window: windows.unkeyed,
            named: false,
        },
    }
}

/// The first half of the SHA-256 of the parts, each with its length before it.
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
