//! What goes into a journal, and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use crate::journal::Seq;
use crate::{Event, Received, Timestamp};

/// An event to append.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What was received; all of it is kept but the decoded content.
    pub(crate) received: Arc<Received>,
    /// What the dialect made of it, for consumers that keep up; not kept.
    pub(crate) events: Arc<[Event]>,
    /// What makes another event the same as this one.
    pub(crate) claim: Claim,
}

/// What makes two events the same, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// A hash of what identifies the event.
    pub(crate) key: ClaimKey,
    /// A later event with the same key is a duplicate for this long.
    pub(crate) window: Duration,
    /// The key is of what the event calls itself, so no other event has it. Those that are only the
    /// same to the byte may be two.
    pub(crate) named: bool,
}

/// 128 bits of a cryptographic hash: that two events share it by chance does not happen.
pub(crate) type ClaimKey = u128;

/// An event as the journal has it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) seq: Seq,
    /// When it was made durable; never before the event ahead of it, also where the clock was set back.
    pub(crate) kept_at: Timestamp,
    pub(crate) received: Arc<Received>,
    /// What the dialect makes of it; `None` where it is read from the disk and not read yet.
    pub(crate) events: Option<Arc<[Event]>>,
}

impl Record {
    /// The record with its events; asks `decode` for them where they are not known yet.
    pub(crate) fn decoded(
        self: Arc<Self>,
        decode: impl FnOnce(&Arc<Received>) -> (Arc<Received>, Arc<[Event]>),
    ) -> (Arc<Self>, Arc<[Event]>) {
        if let Some(events) = &self.events {
            let events = Arc::clone(events);
            return (self, events);
        }
        let (received, events) = decode(&self.received);
        let record = Self {
            received,
            events: Some(Arc::clone(&events)),
            ..Self::clone(&self)
        };
        (Arc::new(record), events)
    }
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is durable under this number.
    New(Seq),
    /// It is the same as this one, which is durable.
    Duplicate(Seq),
}
