//! [`Envelope`]: one received event with what is known about it; a journal stores it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use uuid::{ContextV7, Uuid};

use crate::dialect::{self, Dialect};
use crate::signature::{Held, Verified};
use crate::{Event, Received, SourceEvent, Timestamp, UnknownReason};

/// One received event: its id, where it came from, and its bytes.
///
/// The bytes are authoritative; events and session are what the source's dialect reads from them.
///
/// Only a [`Verified`] body becomes an envelope, so no unverified byte reaches a handler or a journal.
/// Events that offhook itself creates about a source are envelopes too, marked by a header that no
/// request can have.
#[derive(Debug)]
pub(crate) struct Envelope {
    received: Arc<Received>,
    odd: Option<Odd>,
    /// The body's share of the in-flight budget, released with the envelope.
    _held: Option<Held>,
}

/// Why an accepted event is unusual.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Odd {
    /// The path names one session and the body another; the event belongs to the path's session.
    #[error("the body names another session than the path")]
    OtherSession,
    /// The event has no known kind.
    #[error("{0}")]
    NoKind(UnknownReason),
}

impl Envelope {
    /// Opens a verified body: assigns an id and reads its events, of which there is at least one.
    ///
    /// A session that was determined earlier (by the path, or by the session whose secret matched) is
    /// the session of every event in the body, whatever the body says. A `Content-Encoding` is decoded,
    /// up to `max_body` bytes.
    pub(crate) fn open(
        verified: Verified,
        dialect: &dyn Dialect,
        max_body: usize,
    ) -> (Self, Vec<Event>) {
        let (sender, mut request) = verified.into_parts();
        let encoding = dialect::content_encoding(&request.headers);
        let reading = dialect::read(dialect, &request.body, encoding, max_body);
        let mut events = reading.events;
        // The decoded bytes are held in addition to the body. They are in memory already, so they count
        // even where they do not fit.
        if encoding.is_some()
            && let Some(held) = &mut request.held
        {
            held.add(reading.content.len());
        }

        let mut odd = events.iter().find_map(|event| match event {
            Event::Unknown(unknown) => Some(Odd::NoKind(unknown.reason.clone())),
            _ => None,
        });
        if let Some(decided) = &sender.session {
            for event in &mut events {
                if event.session_id().is_some_and(|named| named != decided) {
                    odd = Some(Odd::OtherSession);
                }
                event.set_session_id(decided);
            }
        }

        let mut received = Received::new(sender.source, Bytes::new());
        received.body = request.body;
        received.content = reading.content;
        received.id = new_id(request.received_at);
        received.session = events
            .first()
            .and_then(|event| event.session_id().map(str::to_owned));
        // An event without a session belongs to the session of the body.
        if let Some(session) = &received.session {
            for event in events
                .iter_mut()
                .filter(|event| event.session_id().is_none())
            {
                event.set_session_id(session);
            }
        }
        received.received_at = request.received_at;
        received.headers = request.headers;
        dialect::remove_own_mark(&mut received);
        let envelope = Self {
            received: Arc::new(received),
            odd,
            _held: request.held,
        };
        (envelope, events)
    }

    /// Encloses an event that offhook itself creates about a source. No received bytes can get here: a
    /// [`SourceEvent`] is made of settings and times.
    pub(crate) fn of_source(event: SourceEvent) -> (Self, Vec<Event>) {
        let mut received = dialect::enclose_own(&event);
        received.id = new_id(event.timestamp);
        let envelope = Self {
            received: Arc::new(received),
            odd: None,
            _held: None,
        };
        (envelope, vec![Event::Source(event)])
    }

    /// The event's id: UUID version 7, in the order of receipt within one process.
    pub(crate) fn id(&self) -> Uuid {
        self.received.id
    }

    /// The received request.
    pub(crate) fn received(&self) -> &Arc<Received> {
        &self.received
    }

    /// Why the event is unusual, if it is.
    pub(crate) fn odd(&self) -> Option<&Odd> {
        self.odd.as_ref()
    }
}

fn new_id(at: Timestamp) -> Uuid {
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Codeskytz;
    use crate::signature::{Scheme as _, Secret, Unverified, Verifier, XWebhookSignature};

    fn open(session: Option<&str>, body: &str) -> (Envelope, Vec<Event>) {
        open_with(session, body, Vec::new())
    }

    fn open_with(
        session: Option<&str>,
        body: &str,
        headers: Vec<(std::borrow::Cow<'static, str>, Bytes)>,
    ) -> (Envelope, Vec<Event>) {
        let secret = Secret::new("key").unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let signed = XWebhookSignature.sign(body.as_bytes(), &secret, now);
        let verifier = Verifier::new("s").secret(secret);
        let shown = [(signed[0].name.as_ref(), signed[0].value.as_str())];
        let claimed = verifier.claim(&&shown[..], None, now).unwrap();
        let mut request = Unverified::new(body.to_owned(), now);
        request.session = session.map(str::to_owned);
        request.headers = headers;
        let verified = verifier.verify(&claimed, request).unwrap();
        Envelope::open(verified, &Codeskytz, 1024)
    }

    #[test]
    fn the_session_of_the_path_counts() {
        let body = r#"{"event":"status","sessionId":"B","messageId":"1"}"#;
        let table = [
            (None, body, Some("B"), None),
            (Some("B"), body, Some("B"), None),
            (Some("A"), body, Some("A"), Some(Odd::OtherSession)),
            (Some("A"), r#"{"event":"status"}"#, Some("A"), None),
            (None, r#"{"event":"status"}"#, None, None),
            (
                Some("A"),
                "{}",
                Some("A"),
                Some(Odd::NoKind(UnknownReason::NoName)),
            ),
        ];
        for (path, body, session, odd) in table {
            let (envelope, events) = open(path, body);
            assert_eq!(envelope.received().session.as_deref(), session);
            assert_eq!(events[0].session_id(), session);
            assert_eq!(envelope.odd(), odd.as_ref(), "{path:?} {body}");
        }
    }

    #[test]
    fn ids_are_in_order() {
        let ids: Vec<Uuid> = (0..1000).map(|_| open(None, "{}").0.id()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].get_version_num(), 7);
    }

    fn quiet() -> SourceEvent {
        let after = std::time::Duration::from_secs(60);
        let mut event = SourceEvent::new(crate::SourceChange::Quiet, "s", after);
        event.session_id = Some("408f".to_owned());
        event.timestamp = "2026-01-08T12:00:00Z".parse().unwrap();
        event
    }

    #[test]
    fn own_events_are_read_back_as_own() {
        let (envelope, events) = Envelope::of_source(quiet());
        let received = envelope.received();
        assert_eq!(events, [Event::Source(quiet())]);
        assert_eq!(dialect::read_own(received).unwrap().unwrap(), quiet());
        assert_eq!(received.session.as_deref(), Some("408f"));
        assert_eq!(received.received_at, quiet().timestamp);
        assert_eq!(&*received.source, "s");
    }

    /// The same body, sent and signed: first with only the name, then with the header too.
    #[test]
    fn own_events_cannot_be_sent() {
        let body = quiet().to_json();
        for headers in [
            vec![],
            vec![(dialect::OWN_MARK.into(), Bytes::from_static(b"source"))],
        ] {
            let (envelope, events) = open_with(None, &body, headers);
            assert!(dialect::read_own(envelope.received()).is_none());
            let [Event::Unknown(unknown)] = &events[..] else {
                panic!("{events:?}")
            };
            assert_eq!(unknown.reason, UnknownReason::UnknownName);
            assert_eq!(unknown.name.as_deref(), Some("source.quiet"));
        }
        let name = actix_http::header::HeaderName::from_bytes(dialect::OWN_MARK.as_bytes());
        assert!(name.is_err(), "a request could have this header");
    }
}
