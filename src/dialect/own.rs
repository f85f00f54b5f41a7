//! Encodes the events that offhook itself creates as bodies: the one "dialect" that no request can use.
//!
//! Such an event goes through the journal like a received one. A header whose name HTTP does not allow
//! marks it, so that no request can forge it.

use bytes::Bytes;

use crate::{Received, SourceEvent};

/// Turns the event into what a journal stores; the caller assigns its id.
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

/// Reads an event that offhook itself created; `None` if `received` came from a sender.
///
/// `Some(Err(_))` if another version of offhook wrote it in an unknown form.
pub(crate) fn read(received: &Received) -> Option<Result<SourceEvent, serde_json::Error>> {
    is_own(received).then(|| SourceEvent::from_json(&received.body))
}

/// Whether offhook itself created it.
pub(crate) fn is_own(received: &Received) -> bool {
    // The mark is always the first header, so the others need no check.
    let first = received.headers.first();
    first.is_some_and(|(name, _)| name == MARK)
}

/// Removes a mark that came from a sender: bodies that were verified without HTTP may have any header.
pub(crate) fn unmark(received: &mut Received) {
    received.headers.retain(|(name, _)| name != MARK);
}

/// A header name that HTTP does not allow.
pub(crate) const MARK: &str = ":offhook";
