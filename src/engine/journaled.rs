//! [`JournalEngine`]: the engine over a [`Journal`]. It acknowledges an event when the event is durable.

use std::sync::Arc;

use super::dedup_key::{self, Windows};
use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::Event;
use crate::index::Notes;
use crate::journal::{Appended, Entry, Journal};

/// Appends each event; consumers read the journal.
#[derive(Debug)]
pub(crate) struct JournalEngine {
    journal: Arc<dyn Journal>,
    windows: Windows,
    notes: Arc<dyn Notes>,
}

impl JournalEngine {
    pub(crate) fn new(journal: Arc<dyn Journal>, windows: Windows, notes: Arc<dyn Notes>) -> Self {
        Self {
            journal,
            windows,
            notes,
        }
    }
}

impl Engine for JournalEngine {
    fn accept(self: Arc<Self>, envelope: Envelope, events: Vec<Event>) -> Work {
        let received = Arc::clone(envelope.received());
        let parts = dedup_key::parts(&received, &events, self.windows);
        let events: Arc<[Event]> = events.into();
        let entry = Entry {
            received: Arc::clone(&received),
            events: Arc::clone(&events),
            parts,
        };
        Box::pin(async move {
            // Holds the body's share of the in-flight budget until the journal has it.
            let _envelope = envelope;
            match self.journal.append(entry).await {
                Ok(Appended::New { duplicates, .. }) => {
                    for (part, original) in duplicates {
                        self.notes.duplicate(&received, &events, part, original);
                    }
                    Ok(Accepted::New)
                }
                Ok(Appended::Duplicate(originals)) => {
                    for (part, original) in (1..).zip(originals) {
                        self.notes.duplicate(&received, &events, part, original);
                    }
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
