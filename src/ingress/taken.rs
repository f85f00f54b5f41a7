//! [`Taken`]: a verified body that is opened, with the work that is left for the engine.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::silence::SourceSeen;
use crate::Event;
use crate::dialect::BodyReader;
use crate::engine::{Engine, Envelope, Work};
use crate::signature::Verified;

/// A verified body with the engine's work on it, which has not begun.
pub(super) struct Taken {
    pub(super) id: Uuid,
    pub(super) bytes: u64,
    pub(super) odd: Option<Arc<str>>,
    pub(super) work: Work,
}

impl Taken {
    /// Opens the envelope, and notes that its sessions were seen `at` this time. What may take long is done
    /// here.
    pub(super) fn new(
        verified: Verified,
        reader: &BodyReader,
        engine: Arc<dyn Engine>,
        seen: &SourceSeen,
        at: Instant,
    ) -> Self {
        let (envelope, events) = Envelope::open(verified, reader);
        let received = envelope.received();
        let own = received.session.as_deref();
        seen.mark(at, received.received_at, own);
        let mut marked = own;
        for session in events.iter().filter_map(Event::session_id) {
            // The events of a body nearly always belong to one session.
            if marked != Some(session) {
                seen.mark(at, received.received_at, Some(session));
                marked = Some(session);
            }
        }
        Self {
            id: received.id,
            bytes: received.body.len() as u64,
            odd: received.odd.clone(),
            work: engine.accept(envelope, events.into()),
        }
    }
}
