//! [`JournalEngine`]: the engine over a [`Journal`]. It acknowledges an event when the event is durable.
//!
//! What makes another event a duplicate of this one is in `keys.rs`.

use std::sync::Arc;

use super::keys::{Windows, parts};
use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::Event;
use crate::dialect::outline;
use crate::index::Notes;
use crate::journal::{Appended, Entry, Events, Journal};

/// Appends each event; consumers read the journal.
#[derive(Debug)]
pub(crate) struct JournalEngine {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) windows: Windows,
    pub(crate) notes: Arc<dyn Notes>,
    /// Several instances share the journal, in a database that may fail over.
    pub(crate) is_shared: bool,
}

impl Engine for JournalEngine {
    fn accept(self: Arc<Self>, mut envelope: Envelope, events: Arc<[Event]>) -> Work {
        let when = (envelope.late(), self.windows);
        let parts = parts(envelope.received(), &events, envelope.read(), when);
        envelope.count_events(&events);
        // A handler that needs more decodes the body once more: the content must not wait with the event.
        let events = if envelope.is_decoded() {
            Events::Outline(events.iter().map(outline).collect())
        } else {
            Events::Typed(events)
        };
        envelope.forget_content();
        let entry = Entry {
            received: Arc::clone(envelope.received()),
            events: events.clone(),
            parts,
        };
        Box::pin(async move {
            // The envelope holds the body's share of the in-flight budget until the journal has it.
            let appended = self.journal.append(entry).await;
            let (accepted, duplicates) = match appended.map_err(|_| NotAccepted::Unavailable)? {
                Appended::New { duplicates, .. } => (Accepted::New, duplicates),
                Appended::Duplicate(originals) => {
                    (Accepted::Duplicate, (1..).zip(originals).collect())
                }
            };
            for (part, original) in duplicates {
                let events = events.known().map_or(&[][..], |events| events);
                let received = envelope.received();
                self.notes.duplicate(received, events, part, original);
            }
            Ok(accepted)
        })
    }

    fn compares_contents(&self) -> bool {
        true
    }

    fn retry_after(&self) -> u64 {
        if self.is_shared { 2 } else { 1 }
    }

    fn not_ready(&self) -> Option<&'static str> {
        (!self.journal.is_ready()).then_some("the journal cannot store events")
    }
}
