//! [`BodyReader`]: reads the bodies of one source.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::content::ContentHash;
use super::encoding::{Depth, decode};
use super::hiding::{hide, hide_everywhere, may_hold};
use super::name::{MAX_NAME, cut};
use super::{Dialect, Raw, content_encoding, raw};
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
    /// Whether every event names a session. The one that stands for too many others need not.
    pub(crate) fn names_all(&self) -> bool {
        let is_rest = |event: &Event| matches!(event, Event::Unknown(event) if event.reason == UnknownReason::TooManyEvents);
        let mut events = self.events.iter();
        events.all(|event| event.session_id().is_some() || is_rest(event))
    }

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
        if let Some(name) = self.event_header(headers) {
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
            self.0.dialect.with_contents(text)
        } else {
            (self.0.dialect.events(text), Vec::new())
        }
    }

    /// The name of the event in the header that may have it.
    pub(crate) fn event_header<'a>(
        &self,
        headers: &'a [(Cow<'_, str>, Bytes)],
    ) -> Option<&'a [u8]> {
        let name = self.header(headers, self.0.hints.event_header.as_deref());
        name.map(|name| &**name)
    }

    /// The ids that the sender itself gave to a body and to its events.
    pub(crate) fn event_ids(&self, content: &Bytes, headers: &[(Cow<'_, str>, Bytes)]) -> EventIds {
        let mut ids = EventIds::default();
        if let Some(id) = self.header(headers, self.0.hints.id_header.as_deref()) {
            ids.of_body = Some(id.to_vec());
            return ids;
        }
        let Some(pointer) = self.0.hints.id_pointer.as_deref() else {
            return ids;
        };
        let Ok(text) = text(content) else {
            return ids;
        };
        let id = |json: &str| raw::scalar_at(json, pointer).filter(|id| !id.is_empty());
        raw::for_each_event(&text, self.0.dialect.events_pointer(), |json| {
            // The last part of a body has many events, which share its key.
            if ids.of_events.len() < MAX_PARTS {
                ids.of_events.push(id(json));
            }
        });
        ids.of_body = id(&text);
        ids
    }

    /// Whether a body that is not encoded may hold credentials, which are not to be shown.
    pub(crate) fn hides(&self, content: &[u8]) -> bool {
        self.knows_credentials() || may_hold(content)
    }

    /// Whether each body of the dialect holds some.
    fn knows_credentials(&self) -> bool {
        !self.0.dialect.secret_fields().is_empty()
    }

    /// A decoded body, with stars in place of the credentials in it, to be shown.
    pub(crate) fn shown(&self, content: &Bytes) -> Bytes {
        if self.knows_credentials() {
            hide(content, self.0.dialect.secret_fields())
        } else {
            hide_everywhere(content)
        }
    }

    /// The same of a body as it was sent, and whether it was decoded for that, which one without credentials is not.
    /// `None` if it cannot be: one whose sender is not proven only if that costs little.
    pub(crate) fn shown_as_sent(
        &self,
        body: &Bytes,
        encoding: Option<&[u8]>,
        is_proven: bool,
    ) -> Option<(Bytes, bool)> {
        if !self.knows_credentials() {
            // Evolution, whose source may have another dialect, encodes nothing.
            let is_plain = encoding.is_none();
            let shown = is_plain.then(|| hide_everywhere(body));
            return Some((shown.unwrap_or_else(|| body.clone()), false));
        }
        let depth = if is_proven { Depth::Full } else { Depth::Peek };
        let decoded = decode(body, encoding, depth, self.0.max_body).ok()?;
        let is_decoded = decoded.is_some();
        let content = decoded.unwrap_or_else(|| body.clone());
        Some((self.shown(&content), is_decoded))
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
mod tests;
