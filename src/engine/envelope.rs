//! [`Envelope`]: one received event with what is known about it; a journal stores it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use uuid::{ContextV7, Uuid};

use crate::dialect::{self, BodyReader, ContentHash, Odd};
use crate::journal::further_bytes;
use crate::signature::{Held, Verified};
use crate::{Event, Received, SourceEvent, Timestamp};

/// One received body: its id, where it came from, and its bytes.
///
/// The bytes are authoritative; events and session are what the source's dialect reads from them.
///
/// Only a [`Verified`] body becomes an envelope, so no unverified byte reaches a handler or a journal.
/// Events that offhook itself creates about a source are envelopes too, marked by a header that no
/// request can have.
#[derive(Debug)]
pub(crate) struct Envelope {
    received: Arc<Received>,
    /// How the body was read; `None` for an event of offhook's own.
    reader: Option<BodyReader>,
    /// The hashes of what its events say.
    contents: Vec<Option<ContentHash>>,
    /// Whether the body had to be decoded for its events.
    is_decoded: bool,
    /// The body's share of the in-flight budget, released with the envelope.
    held: Option<Held>,
    /// How long it was refused before it was taken.
    late: Duration,
}

impl Envelope {
    /// Opens a verified body: assigns an id and reads its events, of which there is at least one.
    ///
    /// Where the path and the session's own secrets have proven the session, it is the session of every
    /// event in the body; what the body says stays in the event's other fields.
    pub(crate) fn open(verified: Verified, reader: &BodyReader) -> (Self, Vec<Event>) {
        let (sender, request, reading, odd) = verified.into_parts();
        let reading = reading.unwrap_or_else(|| reader.read(&request.body, &request.headers));
        let mut events = reading.events;
        if let Some(session) = &sender.session {
            // An event without a session belongs to that of the body, if the body is of one.
            let all = events.iter_mut();
            let moved = all.filter(|event| sender.is_proven || event.session_id().is_none());
            moved.for_each(|event| dialect::set_session(event, session));
        }
        let odd: Vec<String> = odd.iter().chain(&reading.odd).map(Odd::to_string).collect();
        let mut received = Received::new(sender.source, Bytes::new());
        received.body = request.body;
        received.content = reading.content;
        // UUID version 7, in the order of receipt within one process.
        received.id = new_id(request.received_at);
        received.session = sender.session;
        received.received_at = request.received_at;
        received.headers = request.headers;
        received.odd = (!odd.is_empty()).then(|| odd.join("; ").into());
        dialect::remove_own_mark(&mut received);
        let envelope = Self {
            received: Arc::new(received),
            reader: Some(reader.clone()),
            contents: reading.contents,
            is_decoded: reading.is_decoded,
            held: request.held,
            late: Duration::ZERO,
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
            reader: None,
            contents: Vec::new(),
            is_decoded: false,
            held: None,
            late: Duration::ZERO,
        };
        (envelope, vec![Event::Source(event)])
    }

    /// Says that it was refused at first, and is taken now.
    pub(crate) fn was_refused(&mut self, now: Timestamp) {
        self.late = since(self.received.received_at, now);
    }

    /// How long it was refused before it was taken.
    pub(super) fn late(&self) -> Duration {
        self.late
    }

    /// The received request.
    pub(crate) fn received(&self) -> &Arc<Received> {
        &self.received
    }

    /// How the body was read, `None` for an event of offhook's own; and the hashes of what its events say.
    pub(super) fn read(&self) -> (Option<&BodyReader>, &[Option<ContentHash>]) {
        (self.reader.as_ref(), &self.contents)
    }

    /// Whether the body had to be decoded for its events.
    pub(super) fn is_decoded(&self) -> bool {
        self.is_decoded
    }

    /// Counts the decoded content, which is held in addition to the body. It is in memory already, so it
    /// counts even where it does not fit.
    pub(super) fn count_content(&mut self) {
        if self.is_decoded
            && let Some(held) = &mut self.held
        {
            held.count(self.received.content.len());
        }
    }

    /// Counts the events behind the first, which a short body may have thousands of. They are in memory already.
    pub(super) fn count_events(&mut self, events: &[Event]) {
        if let ([_, _, ..], Some(held)) = (events, &mut self.held) {
            held.count(further_bytes(events));
        }
    }

    /// Forgets the decoded content.
    pub(super) fn forget_content(&mut self) {
        if self.is_decoded {
            let received = Arc::make_mut(&mut self.received);
            received.content = received.body.clone();
        }
    }
}

/// How long ago `at` was; no time if the clock was set back.
pub(super) fn since(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or_default()
}

fn new_id(at: Timestamp) -> Uuid {
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, seconds, nanos))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::UnknownReason;
    use crate::dialect::{Codeskytz, Hints};
    use crate::signature::{Scheme as _, Secret, Secrets, Unverified, Verifier, XWebhookSignature};

    fn open(session: Option<&str>, body: &str) -> (Envelope, Vec<Event>) {
        open_with(session, None, body, Vec::new())
    }

    /// `own`: a session with secrets of its own.
    fn open_with(
        session: Option<&str>,
        own: Option<&str>,
        body: &str,
        headers: Vec<(std::borrow::Cow<'static, str>, Bytes)>,
    ) -> (Envelope, Vec<Event>) {
        let secret = Secret::new("key").unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let signed = XWebhookSignature.sign(body.as_bytes(), &secret, now);
        let mut verifier = Verifier::new("s").secret(secret.clone());
        if let Some(own) = own {
            verifier = verifier.session(own, Secrets::new(vec![secret]));
        }
        let reader = BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1024);
        let verifier = verifier.reader(reader.clone());
        let shown = [(signed[0].name.as_ref(), signed[0].value.as_str())];
        let claimed = verifier.claim(&&shown[..], None, now).unwrap();
        let mut request = Unverified::new(body.to_owned(), now);
        request.session = session.map(str::to_owned);
        request.headers = headers;
        let verified = verifier.verify(&claimed, request).unwrap();
        Envelope::open(verified, &reader)
    }

    #[test]
    fn the_session_is_of_body_or_path() {
        let body = r#"{"event":"status","sessionId":"B","messageId":"1"}"#;
        let other = r#"the path names the session "A", the body "B""#;
        let no_name = "no event name, and no fields that tell the kind";
        let table = [
            // path, own secrets, body, session, odd
            (None, None, body, Some("B"), None),
            (Some("B"), None, body, Some("B"), None),
            (Some("A"), None, body, Some("B"), Some(other)),
            (Some("A"), Some("A"), body, Some("A"), Some(other)),
            (Some("A"), Some("B"), body, Some("B"), Some(other)),
            (Some("A"), None, r#"{"event":"status"}"#, Some("A"), None),
            (None, None, r#"{"event":"status"}"#, None, None),
            (Some("A"), None, "{}", Some("A"), Some(no_name)),
        ];
        for (path, own, body, session, odd) in table {
            let (envelope, events) = open_with(path, own, body, Vec::new());
            let received = envelope.received();
            assert_eq!(received.session.as_deref(), session);
            assert_eq!(events[0].session_id(), session);
            assert_eq!(received.odd.as_deref(), odd, "{path:?} {own:?} {body}");
            let said = events[0].extra().get("sessionId");
            assert_eq!(said, (own == Some("A")).then_some("\"B\""));
        }
    }

    #[test]
    fn ids_are_in_order() {
        let ids: Vec<Uuid> = (0..1000).map(|_| open(None, "{}").0.received.id).collect();
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
            let (envelope, events) = open_with(None, None, &body, headers);
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

    /// Undoes nothing, gzip once, gzip twice, or says an encoding that it has not.
    fn encoded(body: &str, encoding: u8) -> (Bytes, Option<&'static str>) {
        let gzip = |bytes: &[u8]| {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let plain = body.as_bytes();
        match encoding {
            0 => (Bytes::copy_from_slice(plain), None),
            1 => (gzip(plain).into(), Some("gzip")),
            2 => (gzip(&gzip(plain)).into(), Some("gzip, gzip")),
            3 => (gzip(plain).into(), None),
            4 => (Bytes::copy_from_slice(plain), Some("gzip")),
            _ => (Bytes::copy_from_slice(plain), Some("identity")),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 3_000,
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// Whatever the path, the body and its encoding say.
        #[test]
        fn own_secrets_verified_their_sessions_events(
            key in prop_oneof![Just("shared"), Just("A"), Just("B")],
            path in prop::option::of("[A-C]"),
            named in prop::option::of("[A-C]"),
            padding in prop_oneof![4 => 0..100usize, 1 => 70_000..200_000usize],
            encoding in 0..6u8,
        ) {
            let secret = |key: &str| Secret::new(format!("the key of {key}")).unwrap();
            let own = |session| Secrets::new(vec![secret(session)]);
            let reader = BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1 << 20);
            let verifier = Verifier::new("s").secret(secret("shared"));
            let verifier = verifier.session("A", own("A")).session("B", own("B"));
            let verifier = verifier.reader(reader.clone());
            let session = named.as_ref().map(|named| format!(r#","sessionId":"{named}""#));
            let session = session.unwrap_or_default();
            let body = format!(r#"{{"event":"status"{session}}}{}"#, " ".repeat(padding));
            let (body, header) = encoded(&body, encoding);
            let now = Timestamp::UNIX_EPOCH;
            let signed = XWebhookSignature.sign(&body, &secret(key), now);
            let shown = [(signed[0].name.as_ref(), signed[0].value.as_str())];
            let claimed = verifier.claim(&&shown[..], None, now).unwrap();
            let mut request = Unverified::new(body, now);
            request.session = path.clone();
            let header = header.map(|header| ("content-encoding".into(), header.into()));
            request.headers = header.into_iter().collect();
            let Ok(verified) = verifier.verify(&claimed, request) else {
                // What says plainly whose it is, and is signed by it, is taken.
                let is_own = |session: &String| session != "C";
                let says = path.clone().filter(is_own).or(named).or(path);
                let says = says.unwrap_or("shared".to_owned());
                let right = if says == "C" { "shared" } else { &says };
                prop_assert!(right != key || !matches!(encoding, 0 | 5));
                return Ok(());
            };
            let (envelope, events) = Envelope::open(verified, &reader);
            let sessions = events.iter().map(Event::session_id);
            let all = sessions.chain([envelope.received().session.as_deref()]);
            for session in all {
                match session {
                    Some(own @ ("A" | "B")) => prop_assert_eq!(own, key),
                    _ => prop_assert_eq!(key, "shared"),
                }
            }
        }
    }
}
