//! [`BodyReader`]: reads the bodies of one source.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::content::ContentHash;
use super::encoding::{Depth, decode};
use super::name::{MAX_NAME, cut};
use super::{Dialect, Raw, content_encoding, object, raw};
use crate::{Event, UnknownEvent, UnknownReason};

/// How the bodies of one source are read. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct BodyReader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dialect: Arc<dyn Dialect>,
    hints: Hints,
    max_body: usize,
    /// Whether the contents of events are hashed.
    hashes: bool,
}

/// Where a sender says more about an event than its dialect reads: headers in lower case, and a JSON
/// pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hints {
    /// The header with the sender's own id of the event.
    pub(crate) id_header: Option<String>,
    /// Where the body has that id.
    pub(crate) id_pointer: Option<String>,
    /// The header with the name of an event whose body has none.
    pub(crate) event_header: Option<String>,
}

/// The ids that a sender gave.
#[derive(Debug, Default)]
pub(crate) struct EventIds {
    /// To the body.
    pub(crate) of_body: Option<Vec<u8>>,
    /// To each of its first events, if they are a list.
    pub(crate) of_events: Vec<Option<Vec<u8>>>,
}

/// The content of a body.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The body without its `Content-Encoding`, or unchanged if that cannot be decoded.
    pub(crate) content: Bytes,
    /// Its events, in order; at least one. No session and no name is longer than [`MAX_NAME`].
    pub(crate) events: Vec<Event>,
    /// Of each event the hash of its content, if it has one. Empty if they were not asked for.
    pub(crate) contents: Vec<Option<ContentHash>>,
    /// Why the body is unusual.
    pub(crate) odd: Vec<Odd>,
    /// Whether the content is the result of decoding.
    pub(crate) is_decoded: bool,
}

impl Reading {
    /// Whether the body has an encoding that could not be undone, or looks as if it had one that its headers do
    /// not say. They are not signed, so it may say anything.
    pub(crate) fn is_hidden(&self) -> bool {
        const GZIP: &[u8] = b"\x1f\x8b";
        if self.content.starts_with(GZIP) {
            return true;
        }
        let is_encoded =
            |reason: &UnknownReason| matches!(reason, UnknownReason::ContentEncoding(_));
        matches!(&self.events[..], [Event::Unknown(event)] if is_encoded(&event.reason))
    }
}

/// Why an accepted event is unusual.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Odd {
    /// The path and the body name different sessions.
    #[error("the path names the session {path:?}, the body {body:?}")]
    OtherSession { path: String, body: String },
    /// An event has no known kind.
    #[error("{0}")]
    NoKind(UnknownReason),
    /// A session's name is too long.
    #[error("the session has {0} bytes and was cut to {MAX_NAME}")]
    LongSession(usize),
    /// An event's name is too long.
    #[error("the event's name has {0} bytes and was cut to {MAX_NAME}")]
    LongName(usize),
}

impl BodyReader {
    /// Reads bodies with `dialect` and `hints`. Never decodes one to more than `max_body` bytes.
    pub(crate) fn new(dialect: Arc<dyn Dialect>, hints: Hints, max_body: usize) -> Self {
        Self(Arc::new(Inner {
            dialect,
            hints,
            max_body,
            hashes: false,
        }))
    }

    /// The same, and it hashes the contents of events.
    pub(crate) fn with_contents(&self) -> Self {
        Self(Arc::new(Inner {
            dialect: Arc::clone(&self.0.dialect),
            hints: self.0.hints.clone(),
            max_body: self.0.max_body,
            hashes: true,
        }))
    }

    /// The headers that reading needs beside `content-encoding`.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        let hints = [&self.0.hints.id_header, &self.0.hints.event_header];
        hints.into_iter().flatten().map(String::as_str)
    }

    /// The most bytes that a body of `sent` bytes is decoded to.
    pub(crate) fn limit(&self, sent: usize) -> usize {
        Depth::Full.limit(sent, self.0.max_body)
    }

    /// Reads a body that came with these headers.
    pub(crate) fn read(&self, body: &Bytes, headers: &[(Cow<'_, str>, Bytes)]) -> Reading {
        let encoding = content_encoding(headers);
        match decode(body, encoding, Depth::Full, self.0.max_body) {
            Ok(content) => self.typed(body, content, headers, self.0.hashes),
            Err(detail) => {
                let reason = UnknownReason::ContentEncoding(detail);
                finished(
                    body.clone(),
                    (vec![unknown(reason)], Vec::new()),
                    false,
                    KINDS,
                )
            }
        }
    }

    /// Reads a body whose sender is not proven yet.
    ///
    /// # Errors
    ///
    /// When the body cannot be looked into at little cost, or the dialect panics, so that it may name any
    /// session.
    pub(crate) fn peek(
        &self,
        body: &Bytes,
        headers: &[(Cow<'_, str>, Bytes)],
    ) -> Result<Reading, String> {
        let encoding = content_encoding(headers);
        let content = decode(body, encoding, Depth::Peek, self.0.max_body)?;
        let reading = self.typed(body, content, headers, false);
        match &reading.events[..] {
            [Event::Unknown(event)] if event.reason == UnknownReason::Panicked => {
                Err(event.reason.to_string())
            }
            _ => Ok(reading),
        }
    }

    fn typed(
        &self,
        body: &Bytes,
        decoded: Option<Bytes>,
        headers: &[(Cow<'_, str>, Bytes)],
        hashes: bool,
    ) -> Reading {
        let is_decoded = decoded.is_some();
        let content = decoded.unwrap_or_else(|| body.clone());
        let read = text(&content).and_then(|text| caught(|| self.events(&text, hashes)));
        let (mut events, contents) =
            read.unwrap_or_else(|reason| (vec![unknown(reason)], Vec::new()));
        if events.is_empty() {
            events.push(unknown(UnknownReason::NoEvents));
        }
        if let Some(name) = self.header(headers, self.0.hints.event_header.as_deref()) {
            for event in &mut events {
                if let Event::Unknown(event) = event
                    && event.name.is_none()
                {
                    event.name = Some(String::from_utf8_lossy(name).into_owned());
                    if event.reason == UnknownReason::NoName {
                        event.reason = UnknownReason::UnknownName;
                    }
                }
            }
        }
        let is_raw = self.0.dialect.name() == Raw::default().name();
        let expected = if is_raw { NO_KINDS } else { KINDS };
        finished(content, (events, contents), is_decoded, expected)
    }

    /// The events of a body, and the hashes of their contents.
    fn events(&self, text: &ByteString, hashes: bool) -> (Vec<Event>, Vec<Option<ContentHash>>) {
        if hashes {
            self.0.dialect.with_contents(text).into_iter().unzip()
        } else {
            (self.0.dialect.events(text), Vec::new())
        }
    }

    /// The ids that the sender itself gave to a body and to its events.
    pub(crate) fn event_ids(&self, content: &Bytes, headers: &[(Cow<'_, str>, Bytes)]) -> EventIds {
        let mut ids = EventIds::default();
        if let Some(id) = self.header(headers, self.0.hints.id_header.as_deref()) {
            ids.of_body = Some(id.to_vec());
            return ids;
        }
        let (Some(pointer), Ok(text)) = (self.0.hints.id_pointer.as_deref(), text(content)) else {
            return ids;
        };
        let id = |json: &str| raw::lookup_scalar(json, pointer).filter(|id| !id.is_empty());
        raw::for_each_event(&text, self.0.dialect.events_pointer(), |json| {
            // The last part of a body has many events, which share its key.
            if ids.of_events.len() < MAX_PARTS {
                ids.of_events.push(id(json));
            }
        });
        ids.of_body = id(&text);
        ids
    }

    /// The body, with stars in place of the credentials in it, to be shown.
    pub(crate) fn shown(&self, content: &Bytes) -> Bytes {
        let fields = self.0.dialect.secret_fields();
        let Some(text) = (!fields.is_empty()).then(|| text(content).ok()).flatten() else {
            return content.clone();
        };
        let mut shown = Vec::with_capacity(text.len());
        let mut from = 0;
        // In text that is no object there are none.
        let _ = object::for_each_field(&text, |key, value| {
            if fields.iter().any(|field| field.as_bytes() == key.bytes()) {
                let start = value.as_ptr() as usize - text.as_ptr() as usize;
                shown.extend_from_slice(&text.as_bytes()[from..start]);
                shown.extend_from_slice(b"\"***\"");
                from = start + value.len();
            }
        });
        shown.extend_from_slice(&text.as_bytes()[from..]);
        shown.into()
    }

    /// The value of a header that is there once, and is not empty.
    fn header<'a>(
        &self,
        headers: &'a [(Cow<'_, str>, Bytes)],
        name: Option<&str>,
    ) -> Option<&'a Bytes> {
        let name = name?;
        let mut values = headers.iter().filter(|(kept, _)| kept == name);
        let (_, value) = values.next()?;
        (values.next().is_none() && !value.is_empty()).then_some(value)
    }
}

/// Cuts what is too long, and notes what is odd.
fn finished(
    content: Bytes,
    (mut events, contents): (Vec<Event>, Vec<Option<ContentHash>>),
    is_decoded: bool,
    is_unusual: fn(&UnknownReason) -> bool,
) -> Reading {
    let mut odd = Vec::new();
    for event in &mut events {
        if let Event::Unknown(event) = event
            && is_unusual(&event.reason)
            && !odd.iter().any(|odd| matches!(odd, Odd::NoKind(_)))
        {
            odd.push(Odd::NoKind(event.reason.clone()));
        }
        if let Some(session) = event.session_id()
            && session.len() > MAX_NAME
        {
            odd.push(Odd::LongSession(session.len()));
            let session = cut(session).into_owned();
            event.set_session_id(&session);
        }
        if let Some(name) = event.name()
            && name.len() > MAX_NAME
        {
            odd.push(Odd::LongName(name.len()));
            let name = cut(name).into_owned();
            event.set_name(&name);
        }
    }
    odd.truncate(MAX_ODD);
    Reading {
        content,
        events,
        contents,
        odd,
        is_decoded,
    }
}

/// Which unknown events are odd with a dialect that tells kinds apart.
const KINDS: fn(&UnknownReason) -> bool = |reason| *reason != UnknownReason::NoKind;

/// The same with the dialect `raw`, whose events are all unknown, and whose bodies may be anything.
const NO_KINDS: fn(&UnknownReason) -> bool = |reason| {
    matches!(
        reason,
        UnknownReason::Panicked | UnknownReason::TooManyEvents
    )
};

/// Calls a dialect, which may be the application's own. It is a pure function, so nothing is half-changed
/// after a panic; the panic's text is on standard error by then.
fn caught<T>(dialect: impl FnOnce() -> T) -> Result<T, UnknownReason> {
    catch_unwind(AssertUnwindSafe(dialect)).map_err(|_| UnknownReason::Panicked)
}

pub(super) fn unknown(reason: UnknownReason) -> Event {
    Event::Unknown(UnknownEvent::new(reason))
}

/// The content as text, without the byte order mark, which [RFC 8259] allows a reader to ignore.
///
/// [RFC 8259]: https://www.rfc-editor.org/rfc/rfc8259#section-8.1
fn text(content: &Bytes) -> Result<ByteString, UnknownReason> {
    let text = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    ByteString::try_from(content.slice_ref(text)).map_err(|error| {
        UnknownReason::NotJson(format!("no UTF-8 at byte {}", error.valid_up_to()))
    })
}

/// So many events of a body have ids of their own.
const MAX_PARTS: usize = 1024;

/// How many reasons are noted of one body.
const MAX_ODD: usize = 8;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::dialect::collector::MAX_EVENTS;
    use crate::dialect::{Codeskytz, Evolution, Gowa, Meta, Telegram, Waha};

    fn reader(dialect: impl Dialect) -> BodyReader {
        with_hints(dialect, Hints::default())
    }

    fn with_hints(dialect: impl Dialect, hints: Hints) -> BodyReader {
        BodyReader::new(Arc::new(dialect), hints, 1 << 20)
    }

    fn readers() -> [BodyReader; 8] {
        let raw = Raw::default().event("/event").session("/data/0/session");
        let list = raw.clone().each("/entry").event_field("a");
        [
            reader(Codeskytz),
            reader(raw),
            reader(list),
            reader(Meta),
            reader(Waha),
            reader(Evolution),
            reader(Gowa),
            reader(Telegram),
        ]
    }

    #[test]
    fn credentials_are_not_shown() {
        let body = r#"{"apikey":"A","event":"x","apikey": {"b":1}, "data":{"apikey":"C"}}"#;
        let body = Bytes::from_static(body.as_bytes());
        let shown = reader(Evolution).shown(&body);
        let expected = r#"{"apikey":"***","event":"x","apikey": "***", "data":{"apikey":"C"}}"#;
        assert_eq!(shown, expected.as_bytes());
        assert_eq!(reader(Codeskytz).shown(&body), body);
        let broken = Bytes::from_static(b"{\"apikey\":\"A\"");
        assert_eq!(reader(Evolution).shown(&broken), "{\"apikey\":\"***\"");
    }

    #[test]
    fn each_event_of_a_list_has_its_id() {
        let hints = Hints {
            id_pointer: Some("/id".to_owned()),
            ..Hints::default()
        };
        let reader = with_hints(Raw::default().each("/events"), hints);
        let body = Bytes::from_static(br#"{"id":"all","events":[{"id":"1"},{},{"id":2}]}"#);
        let ids = reader.event_ids(&body, &[]);
        let id = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(ids.of_events, [id("1"), None, id("2")]);
        assert_eq!(ids.of_body, id("all"));
    }

    /// Such a body costs no more than its events: one stands for all that follow.
    #[test]
    fn the_events_of_a_body_are_bounded() {
        let many = vec!["{}"; 40_000].join(",");
        let ids = vec!["\"1\""; 40_000].join(",");
        let meta = format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"changes":[{{"value":{{"messages":[{many}]}}}}]}}]}}"#
        );
        let gowa = format!(r#"{{"event":"message.ack","payload":{{"ids":[{ids}]}}}}"#);
        let evolution = format!(r#"{{"event":"messages.upsert","data":[{many}]}}"#);
        let raw = format!("{{\"entry\":[{many}]}}");
        let table = [
            (reader(Meta), meta),
            (reader(Gowa), gowa),
            (reader(Evolution), evolution),
            (reader(Raw::default().each("/entry")), raw),
        ];
        for (reader, body) in table {
            let reading = reader.with_contents().read(&body.into(), &[]);
            assert_eq!(reading.events.len(), MAX_EVENTS);
            assert_eq!(
                reading.events.last(),
                Some(&unknown(UnknownReason::TooManyEvents))
            );
            assert_eq!(reading.odd, [Odd::NoKind(UnknownReason::TooManyEvents)]);
        }
    }

    fn gzip(text: &str) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap().into()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> Vec<(Cow<'static, str>, Bytes)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (Cow::Borrowed(*name), Bytes::from_static(value.as_bytes())))
            .collect()
    }

    /// A dialect with a fault.
    #[derive(Debug)]
    struct Faulty;

    impl Dialect for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn events(&self, body: &ByteString) -> Vec<Event> {
            std::panic::resume_unwind(Box::new(body.len()))
        }
    }

    #[test]
    fn a_dialect_that_panics_makes_an_unknown_event() {
        let body = Bytes::from_static(b"{}");
        let reading = reader(Faulty).read(&body, &[]);
        assert_eq!(reading.events, [unknown(UnknownReason::Panicked)]);
        assert_eq!(reading.content, body);
        // It may name any session.
        let hidden = reader(Faulty).peek(&body, &[]);
        assert_eq!(hidden.unwrap_err(), "the dialect panicked");
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let read = |body: &'static [u8]| reader(Codeskytz).read(&Bytes::from_static(body), &[]);
        let marked = read(b"\xef\xbb\xbf{\"event\":\"status\"}");
        assert!(matches!(marked.events[..], [Event::Status(_)]));
        let reading = read(b"{\"event\":\"status\xff\"}");
        let reason = UnknownReason::NotJson("no UTF-8 at byte 16".into());
        assert_eq!(reading.odd, [Odd::NoKind(reason)]);
    }

    #[test]
    fn a_body_that_expands_far_hides_its_session() {
        let body = |spaces| format!(r#"{{"sessionId":"A"{}}}"#, " ".repeat(spaces));
        let encoded = headers(&[("content-encoding", "gzip")]);
        let session = |reading: &Reading| reading.events[0].session_id().map(str::to_owned);
        let near = reader(Codeskytz).peek(&gzip(&body(1000)), &encoded);
        assert_eq!(session(&near.unwrap()).as_deref(), Some("A"));
        let far = gzip(&body(500_000));
        assert!(reader(Codeskytz).peek(&far, &encoded).is_err());
        let later = reader(Codeskytz).read(&far, &encoded);
        assert_eq!(session(&later).as_deref(), Some("A"));
    }

    /// It has no kinds that an event could lack.
    #[test]
    fn what_raw_reads_is_not_odd() {
        for body in [r#"{"event":"opened"}"#, "{}", "[]", "a=1"] {
            let body = Bytes::from(body);
            assert_eq!(reader(Raw::default()).read(&body, &[]).odd, [], "{body:?}");
            assert_eq!(reader(Codeskytz).read(&body, &[]).odd.len(), 1, "{body:?}");
        }
        let encoded = headers(&[("content-encoding", "br")]);
        let reading = reader(Raw::default()).read(&Bytes::from_static(b"{}"), &encoded);
        assert_eq!(reading.odd.len(), 1);
    }

    #[test]
    fn long_names_are_cut_and_odd() {
        let long = "x".repeat(2000);
        let body = format!(r#"{{"event":"{long}","sessionId":"{long}y"}}"#);
        let reading = reader(Codeskytz).read(&body.into(), &[]);
        let event = &reading.events[0];
        assert_eq!(event.name(), Some(&*cut(&long)));
        assert_eq!(event.session_id(), Some(&*cut(&format!("{long}y"))));
        let texts: Vec<String> = reading.odd.iter().map(Odd::to_string).collect();
        let expected = [
            "an event name that the dialect does not know",
            "the session has 2001 bytes and was cut to 1024",
            "the event's name has 2000 bytes and was cut to 1024",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn hints_give_name_and_id() {
        let hints = Hints {
            id_header: Some("x-id".to_owned()),
            id_pointer: Some("/data/id".to_owned()),
            event_header: Some("x-event".to_owned()),
        };
        let reader = with_hints(Raw::default().event("/event"), hints);
        let body = |text: &'static str| Bytes::from_static(text.as_bytes());
        let name = |text, pairs| {
            let reading = reader.read(&body(text), &headers(pairs));
            reading.events[0].name().map(str::to_owned)
        };
        assert_eq!(name("{}", &[("x-event", "push")]).as_deref(), Some("push"));
        let own = name(r#"{"event":"own"}"#, &[("x-event", "push")]);
        assert_eq!(own.as_deref(), Some("own"));
        assert_eq!(name("{}", &[("x-event", "a"), ("x-event", "b")]), None);
        let id = |text, pairs: &[_]| reader.event_ids(&body(text), &headers(pairs)).of_body;
        let in_body = r#"{"data":{"id":"evt_1"}}"#;
        let table: [(_, &[_], Option<&[u8]>); 6] = [
            (in_body, &[("x-id", "7")], Some(b"7")),
            (in_body, &[], Some(b"evt_1")),
            (in_body, &[("x-id", "7"), ("x-id", "8")], Some(b"evt_1")),
            (r#"{"data":{"id":7.0}}"#, &[], Some(b"7.0")),
            (r#"{"data":{"id":[7]}}"#, &[], None),
            ("{}", &[("x-id", "")], None),
        ];
        for (text, pairs, expected) in table {
            assert_eq!(id(text, pairs).as_deref(), expected, "{text} {pairs:?}");
        }
    }

    /// A body of the words that dialects look for.
    fn shaped() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "event",
            "message",
            "message.ack",
            "messages.upsert",
            "messages.edited",
            "messages.update",
            "message.revoked",
            "poll.vote",
            "session.status",
            "payload",
            "data",
            "key",
            "id",
            "ids",
            "object",
            "whatsapp_business_account",
            "entry",
            "changes",
            "value",
            "messages",
            "statuses",
            "type",
            "text",
            "image",
            "interactive",
            "from",
            "chat",
            "callback_query",
            "update_id",
            "location",
            "media",
            "errors",
        ];
        let word = proptest::sample::select(words.to_vec());
        let leaf = prop_oneof![
            4 => word.clone().prop_map(|word| format!("\"{word}\"")),
            1 => proptest::sample::select(vec!["1", "-1", "true", "null", "1.5e3", "\"\\ud800\""])
                .prop_map(str::to_owned),
        ];
        let value = leaf.prop_recursive(6, 40, 6, move |inner| {
            let field = (word.clone(), inner.clone());
            let field = field.prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop_oneof![
                3 => proptest::collection::vec(field, 0..6)
                    .prop_map(|fields| format!("{{{}}}", fields.join(","))),
                1 => proptest::collection::vec(inner, 0..4)
                    .prop_map(|items| format!("[{}]", items.join(","))),
            ]
        });
        value.prop_map(String::into_bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_bytes_make_a_dialect_panic_or_refuse(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[\\[\\]{}\",:0-9a-z\\\\u ]{0,80}".prop_map(String::into_bytes),
                shaped(),
            ],
            encoding in proptest::option::of(proptest::sample::select(vec!["gzip", "deflate", "br", ""])),
        ) {
            let body = Bytes::from(body);
            let encoding = encoding.map(|encoding| ("content-encoding", encoding));
            let headers = headers(encoding.as_slice());
            for reader in readers() {
                let reading = reader.read(&body, &headers);
                prop_assert!(!reading.events.is_empty());
                let hashed = reader.with_contents().read(&body, &headers);
                prop_assert_eq!(&hashed.events, &reading.events);
                match reader.peek(&body, &headers) {
                    Ok(peeked) => prop_assert_eq!(peeked.events, reading.events),
                    Err(_) => prop_assert!(encoding.is_some()),
                }
            }
        }
    }
}
