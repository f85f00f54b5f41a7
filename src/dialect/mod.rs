//! Turns an authenticated body into typed events.
//!
//! A [`Dialect`] describes how one family of gateways writes its events. It is a pure function of the
//! body and can neither fail nor refuse: an event without a known kind becomes an [`UnknownEvent`] with
//! the reason.
//!
//! The entry point is `read`: it decodes the `Content-Encoding`, checks for UTF-8, and calls the
//! dialect. One that panics makes the body an [`UnknownEvent`]. Only the typed events need that: a body is
//! stored, verified and relayed as received.

mod codeskytz;
mod object;
mod raw;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use serde::{Serialize, Serializer};

use crate::{Event, Received, SourceEvent, UnknownEvent, UnknownReason};

pub use codeskytz::Codeskytz;
pub use raw::Raw;

/// How one family of gateways writes its events.
///
/// ```
/// use offhook::dialect::{Codeskytz, Dialect};
/// use offhook::Event;
///
/// let body = r#"{"event":"message","from":"+1234567890","message":"Hello!","new":true}"#;
/// let events = Codeskytz.events(&body.into());
/// let Event::Message(message) = &events[0] else { panic!() };
/// assert_eq!(message.from(), "+1234567890");
/// assert_eq!(message.extra.get("new"), Some("true"));
/// ```
pub trait Dialect: Debug + Send + Sync + 'static {
    /// The dialect's name in the settings.
    fn name(&self) -> &'static str;

    /// What distinguishes it from another dialect of the same name: its settings and their values. They
    /// are compared and displayed, so they hold no secret. Default: none.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The events in a body, in order; at least one.
    fn events(&self, body: &ByteString) -> Vec<Event>;

    /// The session that a body names: the same as in its events, found without building them.
    fn session(&self, body: &ByteString) -> Option<String> {
        self.events(body).first()?.session_id().map(str::to_owned)
    }
}

/// Dialects are equal when their names and parameters are.
impl PartialEq for dyn Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.parameters() == other.parameters()
    }
}

/// The name, then each parameter.
impl Serialize for dyn Dialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.name(), self.parameters()).serialize(serializer)
    }
}

/// The content of a body.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The body without its `Content-Encoding`, or unchanged if that cannot be decoded.
    pub(crate) content: Bytes,
    /// Its events, in order; at least one.
    pub(crate) events: Vec<Event>,
}

/// Reads a body with this `Content-Encoding`. Never decodes to more than `max_body` bytes.
pub(crate) fn read(
    dialect: &dyn Dialect,
    body: &Bytes,
    content_encoding: Option<&[u8]>,
    max_body: usize,
) -> Reading {
    let decoded = decode(body, content_encoding, max_body);
    let events = match &decoded {
        Ok(content) => text(content).and_then(|text| caught(|| dialect.events(&text))),
        Err(detail) => Err(UnknownReason::ContentEncoding(detail.clone())),
    };
    let mut events = events.unwrap_or_else(|reason| vec![unknown(reason)]);
    if events.is_empty() {
        events.push(unknown(UnknownReason::NoEvents));
    }
    let content = decoded.unwrap_or_else(|_| body.clone());
    Reading { content, events }
}

/// Calls a dialect, which may be the application's own. It is a pure function, so nothing is half-changed
/// after a panic; the panic's text is on standard error by then.
fn caught<T>(dialect: impl FnOnce() -> T) -> Result<T, UnknownReason> {
    catch_unwind(AssertUnwindSafe(dialect)).map_err(|_| UnknownReason::Panicked)
}

fn unknown(reason: UnknownReason) -> Event {
    Event::Unknown(UnknownEvent::new(reason))
}

/// The `Content-Encoding` among stored headers.
pub(crate) fn content_encoding<'a>(headers: &'a [(Cow<'_, str>, Bytes)]) -> Option<&'a [u8]> {
    let mut headers = headers.iter();
    let named = headers.find(|(name, _)| name == "content-encoding");
    named.map(|(_, value)| value.as_ref())
}

/// Knows the dialect of each source. The events of a source that is no longer configured are read as
/// [`Raw`]; the events that offhook itself created need no dialect.
#[derive(Debug)]
pub(crate) struct Decoder {
    by_source: HashMap<String, Arc<dyn Dialect>>,
    max_body: usize,
}

impl Decoder {
    /// `dialects` holds the name and the dialect of each source. Nothing is decoded to more than
    /// `max_body` bytes.
    pub(crate) fn new(
        dialects: impl IntoIterator<Item = (String, Arc<dyn Dialect>)>,
        max_body: usize,
    ) -> Self {
        Self {
            by_source: dialects.into_iter().collect(),
            max_body,
        }
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
        let raw = Raw::default();
        let dialect = self.by_source.get(&*received.source);
        let dialect: &dyn Dialect = dialect.map_or(&raw, AsRef::as_ref);
        let encoding = content_encoding(&received.headers);
        let reading = read(dialect, &received.body, encoding, self.max_body);
        let mut decoded = Received::clone(received);
        decoded.content = reading.content;
        (Arc::new(decoded), reading.events)
    }
}

/// The session that a body names, before the body is known to be authentic. Decodes at most [`MAX_PEEK`]
/// times the received bytes.
///
/// # Errors
///
/// When the body cannot be decoded within this limit, or the dialect panics, so that it may name any
/// session.
pub(crate) fn session(
    dialect: &dyn Dialect,
    body: &Bytes,
    content_encoding: Option<&[u8]>,
    max_body: usize,
) -> Result<Option<String>, String> {
    let limit = body.len().saturating_mul(MAX_PEEK).max(MIN_PEEK);
    let content = decode(body, content_encoding, limit.min(max_body))?;
    // What is not text names no session.
    let session = text(&content).map(|text| caught(|| dialect.session(&text)));
    let session = session.unwrap_or(Ok(None));
    session.map_err(|panicked| panicked.to_string())
}

/// Removes the encodings of a body; the last one named was applied last.
///
/// Supports `gzip`, `x-gzip`, `deflate` and `identity`. Never returns more than `limit` bytes.
fn decode(body: &Bytes, encodings: Option<&[u8]>, limit: usize) -> Result<Bytes, String> {
    let mut content = body.clone();
    let Some(encodings) = encodings else {
        return Ok(content);
    };
    let encodings = str::from_utf8(encodings).map_err(|_| "the header is no text".to_owned())?;
    for (depth, encoding) in encodings.rsplit(',').map(str::trim).enumerate() {
        if depth == MAX_ENCODINGS {
            return Err(format!("more than {MAX_ENCODINGS} encodings"));
        }
        content = match encoding.to_ascii_lowercase().as_str() {
            "" | "identity" => content,
            "gzip" | "x-gzip" => unpack("gzip", MultiGzDecoder::new(&content[..]), limit)?,
            "deflate" if has_zlib_header(&content) => {
                unpack("deflate", ZlibDecoder::new(&content[..]), limit)?
            }
            "deflate" => unpack("deflate", DeflateDecoder::new(&content[..]), limit)?,
            other => return Err(format!("unknown encoding {other:.20}")),
        };
    }
    Ok(content)
}

/// "deflate" is the zlib format (RFC 9110, 8.4.1.2), but some senders omit its header. A format without
/// it never begins so, because an encoder leaves the bits behind the type of a stored block at 0. Trying
/// both would let a body mean something else under a lower limit.
fn has_zlib_header(content: &[u8]) -> bool {
    content.first().is_some_and(|first| first & 0x0f == 8)
}

fn unpack(name: &str, packed: impl Read, limit: usize) -> Result<Bytes, String> {
    let mut content = Vec::new();
    let one_too_many = (limit as u64).saturating_add(1);
    packed
        .take(one_too_many)
        .read_to_end(&mut content)
        .map_err(|error| format!("{name}: {error}"))?;
    if content.len() > limit {
        return Err(format!("{name}: more than {limit} bytes"));
    }
    Ok(content.into())
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
    let (first, _) = received.headers.first()?;
    (first == OWN_MARK).then(|| SourceEvent::from_json(&received.body))
}

/// Removes a mark that came from a sender: bodies that were verified without HTTP may have any header.
pub(crate) fn remove_own_mark(received: &mut Received) {
    received.headers.retain(|(name, _)| name != OWN_MARK);
}

/// A header name that HTTP does not allow.
pub(crate) const OWN_MARK: &str = ":offhook";

/// JSON compresses to about a tenth.
const MAX_PEEK: usize = 32;
const MIN_PEEK: usize = 64 * 1024;
const MAX_ENCODINGS: usize = 4;

/// How many fields without a meaning a typed event holds at most. The bytes contain all of them.
const MAX_EXTRA: usize = 4096;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;
    use crate::SourceChange;

    fn dialects() -> [Box<dyn Dialect>; 2] {
        [
            Box::new(Codeskytz),
            Box::new(Raw::default().event("/event").session("/data/0/session")),
        ]
    }

    #[test]
    fn own_events_are_known_by_their_mark() {
        let said = SourceEvent::new(SourceChange::Quiet, "gone", Duration::from_secs(60));
        let mut received = enclose_own(&said);
        let known = || [("gone".to_owned(), Arc::new(Codeskytz) as Arc<dyn Dialect>)];
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
        let reading = read(&Faulty, &body, None, 100);
        assert_eq!(reading.events, [unknown(UnknownReason::Panicked)]);
        assert_eq!(reading.content, body);
        // It may name any session.
        let hidden = session(&Faulty, &body, None, 100);
        assert_eq!(hidden, Err("the dialect panicked".to_owned()));
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        let reading = |body: &'static [u8]| read(&Codeskytz, &Bytes::from_static(body), None, 100);
        let marked = reading(b"\xef\xbb\xbf{\"event\":\"status\"}");
        assert!(matches!(marked.events[..], [Event::Status(_)]));
        let events = reading(b"{\"event\":\"status\xff\"}").events;
        let [Event::Unknown(unknown)] = &events[..] else {
            panic!("{events:?}")
        };
        let reason = UnknownReason::NotJson("no UTF-8 at byte 16".into());
        assert_eq!(unknown.reason, reason);
    }

    macro_rules! packed {
        ($encoder:ident, $bytes:expr) => {{
            let mut encoder = $encoder::new(Vec::new(), Compression::best());
            encoder.write_all($bytes).unwrap();
            Bytes::from(encoder.finish().unwrap())
        }};
    }

    #[test]
    fn the_encodings_that_are_undone() {
        let text = b"Hello!";
        let gzip = packed!(GzEncoder, text);
        let table = [
            (Bytes::from_static(text), None),
            (Bytes::from_static(text), Some("identity")),
            (gzip.clone(), Some("gzip")),
            (gzip.clone(), Some("X-GZIP")),
            (packed!(ZlibEncoder, text), Some("deflate")),
            (packed!(DeflateEncoder, text), Some("deflate")),
            (packed!(ZlibEncoder, &gzip), Some("gzip, deflate")),
        ];
        for (body, encoding) in table {
            let content = decode(&body, encoding.map(str::as_bytes), 100);
            assert_eq!(content.as_deref(), Ok(&text[..]), "{encoding:?}");
        }
    }

    #[test]
    fn what_cannot_be_undone_says_why() {
        let error = |body: Bytes, encoding: &str| decode(&body, Some(encoding.as_bytes()), 1000);
        let bomb = packed!(GzEncoder, &[0; 100_000]);
        assert_eq!(
            error(bomb.clone(), "gzip").unwrap_err(),
            "gzip: more than 1000 bytes"
        );
        let bomb_deflate = packed!(ZlibEncoder, &[0; 100_000]);
        assert_eq!(
            error(bomb_deflate, "deflate").unwrap_err(),
            "deflate: more than 1000 bytes"
        );
        assert_eq!(
            error(Bytes::new(), "br").unwrap_err(),
            "unknown encoding br"
        );
        assert!(error(bomb.slice(..20), "gzip").is_err());
        assert!(error(Bytes::from_static(b"plain"), "gzip").is_err());
        assert!(error(Bytes::from_static(b"plain"), "deflate").is_err());
        let many = "identity,".repeat(9);
        assert_eq!(
            error(Bytes::new(), &many).unwrap_err(),
            "more than 4 encodings"
        );
    }

    #[test]
    fn a_body_that_expands_far_hides_its_session() {
        let body = |spaces| format!(r#"{{"sessionId":"A"{}}}"#, " ".repeat(spaces));
        let peek = |body: &Bytes| session(&Codeskytz, body, Some(b"gzip"), 1 << 20);
        let near = packed!(GzEncoder, body(1000).as_bytes());
        assert_eq!(peek(&near), Ok(Some("A".to_owned())));
        let far = packed!(GzEncoder, body(500_000).as_bytes());
        assert!(peek(&far).is_err());
        let later = read(&Codeskytz, &far, Some(b"gzip"), 1 << 20);
        assert_eq!(later.events[0].session_id(), Some("A"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_dialect_panic_or_refuse(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[\\[\\]{}\",:0-9a-z\\\\u ]{0,80}".prop_map(String::into_bytes),
            ],
            encoding in proptest::option::of(proptest::sample::select(vec!["gzip", "deflate", "br", ""])),
        ) {
            let body = Bytes::from(body);
            let encoding = encoding.map(str::as_bytes);
            for dialect in dialects() {
                let reading = read(dialect.as_ref(), &body, encoding, 1000);
                prop_assert!(!reading.events.is_empty());
                match session(dialect.as_ref(), &body, encoding, 1000) {
                    Ok(session) => prop_assert_eq!(session.as_deref(), reading.events[0].session_id()),
                    Err(_) => prop_assert!(encoding.is_some()),
                }
            }
        }

        #[test]
        fn the_name_alone_decides_the_kind(
            name in "message|status|connection|source\\.(quiet|resumed)|[a-z.]{0,9}",
            values in proptest::collection::vec("(null|true|3|\"x\"|\\[1\\]|\\{\"a\":1\\})", 5),
        ) {
            let keys = ["sessionId", "messageId", "from", "status", "timestamp"];
            let fields = keys.iter().zip(&values).map(|(key, value)| format!(",\"{key}\":{value}"));
            let body = format!("{{\"event\":{name:?}{}}}", fields.collect::<String>());
            let events = Codeskytz.events(&body.into());
            let kind: Option<crate::EventKind> = name.parse().ok();
            let kind = kind.filter(|kind| !kind.is_own()).unwrap_or(crate::EventKind::Unknown);
            prop_assert_eq!(events[0].kind(), kind);
            prop_assert_eq!(events[0].name(), Some(&*name));
        }
    }
}
