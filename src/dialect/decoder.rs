//! [`Decoder`]: reads what is kept in a journal again.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::content_encoding;
use super::raw::Raw;
use super::reader::{BodyReader, Hints, unknown};
use crate::{Event, Received, SourceEvent, UnknownReason};

/// Knows the dialect of each source. The events of a source that is no longer configured are read as
/// [`Raw`]; the events that offhook itself created need no dialect.
#[derive(Debug)]
pub(crate) struct Decoder(ArcSwap<Readers>);

/// How the bodies of each source are read.
#[derive(Debug)]
struct Readers {
    by_source: HashMap<String, BodyReader>,
    /// For the other sources.
    raw: BodyReader,
}

impl Readers {
    fn new(by_source: HashMap<String, BodyReader>, max_body: usize) -> Self {
        Self {
            by_source,
            raw: BodyReader::new(Arc::new(Raw::of_unknown()), Hints::default(), max_body),
        }
    }
}

impl Decoder {
    /// `readers` holds the name of each source, and how its bodies are read. Nothing is decoded to more than
    /// `max_body` bytes.
    pub(crate) fn new(
        readers: impl IntoIterator<Item = (String, BodyReader)>,
        max_body: usize,
    ) -> Self {
        let readers = Readers::new(readers.into_iter().collect(), max_body);
        Self(ArcSwap::from_pointee(readers))
    }

    /// From now on bodies are read like this. A source that is not among `readers` keeps its reader: its events
    /// may still wait in the journal.
    pub(crate) fn replace(
        &self,
        readers: impl IntoIterator<Item = (String, BodyReader)>,
        max_body: usize,
    ) {
        let mut by_source = self.0.load().by_source.clone();
        if by_source.len() >= MAX_READERS {
            by_source.clear();
        }
        by_source.extend(readers);
        self.0.store(Arc::new(Readers::new(by_source, max_body)));
    }

    /// How the bodies of a source are read.
    pub(crate) fn reader(&self, source: &str) -> BodyReader {
        let readers = self.0.load();
        let reader = readers.by_source.get(source).unwrap_or(&readers.raw);
        reader.clone()
    }

    /// Whether a body is to be decoded for its events.
    pub(crate) fn is_encoded(&self, received: &Received) -> bool {
        content_encoding(&received.headers).is_some() && !is_own(received)
    }

    /// Returns what was received with its content decoded, and its events with the sessions that the
    /// body names.
    pub(crate) fn decode(&self, received: &Arc<Received>) -> (Arc<Received>, Vec<Event>) {
        if let Some(own) = read_own(received) {
            let event = own.map_or_else(
                |error| unknown(UnknownReason::NotJson(error.to_string())),
                Event::Source,
            );
            return (Arc::clone(received), vec![event]);
        }
        let reader = self.reader(&received.source);
        let reading = reader.read(&received.body, &received.headers);
        if !reading.is_decoded {
            // Its content is the body.
            return (Arc::clone(received), reading.events);
        }
        let mut decoded = Received::clone(received);
        decoded.content = reading.content;
        (Arc::new(decoded), reading.events)
    }
}

/// Encodes an event that offhook itself creates as what a journal stores; the caller assigns its id.
///
/// Such an event goes through the journal like a received one. A header whose name HTTP does not allow
/// marks it, so that no request can forge it.
pub(crate) fn enclose_own(event: &SourceEvent) -> Received {
    let mut received = Received::new(event.source.as_str(), event.to_json());
    received.session.clone_from(&event.session_id);
    received.received_at = event.timestamp;
    let content_type = Bytes::from_static(b"application/json");
    received.headers = vec![
        (OWN_MARK.into(), Bytes::from_static(b"source")),
        ("content-type".into(), content_type),
    ];
    received
}

/// Reads an event that offhook itself created; `None` if `received` came from a sender.
///
/// `Some(Err(_))` if another version of offhook wrote it in an unknown form.
pub(crate) fn read_own(received: &Received) -> Option<Result<SourceEvent, serde_json::Error>> {
    // The mark is always the first header, so the others need no check.
    is_own(received).then(|| SourceEvent::from_json(&received.body))
}

/// Whether offhook itself created the event.
fn is_own(received: &Received) -> bool {
    { received.headers.first() }.is_some_and(|(name, _)| name == OWN_MARK)
}

/// Removes a mark that came from a sender: bodies that were verified without HTTP may have any header.
pub(crate) fn remove_own_mark(received: &mut Received) {
    received.headers.retain(|(name, _)| name != OWN_MARK);
}

/// How many readers are kept before those of removed sources are forgotten.
const MAX_READERS: usize = 4096;

/// A header name that HTTP does not allow.
pub(crate) const OWN_MARK: &str = ":offhook";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dialect::Codeskytz;
    use crate::{EventKind, SourceChange};

    #[test]
    fn own_events_are_known_by_their_mark() {
        let said = SourceEvent::new(SourceChange::Quiet, "gone", Duration::from_secs(60));
        let mut received = enclose_own(&said);
        let known = || {
            [(
                "gone".to_owned(),
                BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1024),
            )]
        };
        let events =
            |decoder: &Decoder, received: &Received| decoder.decode(&Arc::new(received.clone())).1;
        for decoder in [Decoder::new(known(), 1024), Decoder::new([], 1024)] {
            assert_eq!(*events(&decoder, &received), [Event::Source(said.clone())]);
        }
        let decoder = Decoder::new(known(), 1024);
        received.body = "{}".into();
        let other = events(&decoder, &received);
        assert!(matches!(other[..], [Event::Unknown(_)]), "{other:?}");
        let mut sent = enclose_own(&said);
        remove_own_mark(&mut sent);
        let sent = events(&decoder, &sent);
        assert!(matches!(sent[..], [Event::Unknown(_)]), "{sent:?}");
    }

    #[test]
    fn only_what_is_decoded_is_copied() {
        let decoder = Decoder::new([], 1024);
        let mut received = Received::new("source", "{}");
        let sent = Arc::new(received.clone());
        assert!(Arc::ptr_eq(&sent, &decoder.decode(&sent).0));
        let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
        received.body = Bytes::from_static(gzip);
        received.headers = vec![("content-encoding".into(), Bytes::from_static(b"gzip"))];
        assert_eq!(decoder.decode(&Arc::new(received)).0.content, "{}");
    }

    #[test]
    fn a_removed_source_keeps_its_reader() {
        let reader = || BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1024);
        let decoder = Decoder::new([("old".to_owned(), reader())], 1024);
        let kind = |source: &str| {
            let body = r#"{"event":"connection","status":"connected"}"#;
            let received = Arc::new(Received::new(source, body));
            decoder.decode(&received).1[0].kind()
        };
        decoder.replace([("new".to_owned(), reader())], 1024);
        let kinds = ["old", "new", "other"].map(kind);
        let [connection, unknown] = [EventKind::Connection, EventKind::Unknown];
        assert_eq!(kinds, [connection, connection, unknown]);
    }
}
