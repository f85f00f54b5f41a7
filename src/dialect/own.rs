//! What offhook says itself, as a body: the one "dialect" that no request can speak.
//!
//! An event of offhook's own goes through the journal like one that was received. It is told apart by
//! a header whose name HTTP does not allow, so that no request can forge it.

use bytes::Bytes;

use crate::{Received, SourceEvent};

/// Makes the event what a journal keeps; its id is the caller's to give.
pub(crate) fn enclose(event: &SourceEvent) -> Received {
    let mut received = Received::new(event.source.as_str(), event.to_json());
    received.session.clone_from(&event.session_id);
    received.received_at = event.timestamp;
    received.headers = vec![
        (MARK.into(), Bytes::from_static(b"source")),
        (
            "content-type".into(),
            Bytes::from_static(b"application/json"),
        ),
    ];
    received
}

/// Reads an event of offhook's own; `None` where `received` came from a sender.
///
/// `Some(Err(_))` where another version of offhook wrote it in a form that this one does not know.
pub(crate) fn read(received: &Received) -> Option<Result<SourceEvent, serde_json::Error>> {
    is_own(received).then(|| SourceEvent::from_json(&received.body))
}

/// Whether offhook said it itself.
pub(crate) fn is_own(received: &Received) -> bool {
    // The mark is always the first header, so the others need no look.
    let first = received.headers.first();
    first.is_some_and(|(name, _)| name == MARK)
}

/// Removes a mark that a sender cannot have meant: bodies that were verified without HTTP may carry any
/// header.
pub(crate) fn unmark(received: &mut Received) {
    received.headers.retain(|(name, _)| name != MARK);
}

/// A header's name that HTTP does not allow.
pub(crate) const MARK: &str = ":offhook";
