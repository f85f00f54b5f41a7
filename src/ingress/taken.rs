//! [`Taken`]: a verified body that is opened, with the work that is left for the engine.

use std::sync::Arc;
use std::time::Instant;

use super::sources::Served;
use crate::engine::{Engine, Envelope, Work};
use crate::signature::Verified;
use crate::{Event, escape_controls};

/// The engine's work on a verified body, which has not begun.
pub(crate) struct Taken {
    pub(super) served: Arc<Served>,
    /// When its request began.
    pub(super) started: Instant,
    pub(super) work: Work,
}

impl Taken {
    /// Opens the envelope, and notes that its sessions were seen `at` this time. What may take long is done
    /// here.
    pub(super) fn new(
        verified: Verified,
        served: Arc<Served>,
        engine: Arc<dyn Engine>,
        started: Instant,
        at: Instant,
    ) -> Self {
        let (envelope, events) = Envelope::open(verified, &served.reader);
        let received = envelope.received();
        let (id, bytes) = (received.id, received.body.len() as u64);
        served.metrics.body_bytes.inc_by(bytes);
        log::debug!(
            event:% = id, source:% = served.name;
            "event {id}: {bytes} bytes from {}", served.name
        );
        if let Some(odd) = &received.odd {
            log::debug!(event:% = id; "event {id}: {}", escape_controls(odd));
        }
        let seen = &served.seen;
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
            work: engine.accept(envelope, events.into()),
            served,
            started,
        }
    }
}
