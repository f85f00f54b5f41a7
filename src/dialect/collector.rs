//! [`Collector`]: takes the events that a gateway's dialect finds in a body, within limits.

use bytestring::ByteString;

use super::content::ContentHash;
use super::picked::{Picked, text};
use super::{ContentHasher, MAX_EXTRA};
use crate::{Event, Extra, UnknownEvent, UnknownReason};

/// The events of one body, and of each the hash of its content.
pub(super) struct Collector<'b> {
    body: &'b ByteString,
    hashes: bool,
    found: Vec<Event>,
    contents: Vec<Option<ContentHash>>,
    /// Whether no more events are taken.
    is_full: bool,
    /// How many other fields the remaining events may have together.
    room: usize,
    /// How many bytes of texts they may have together that several events of a body have.
    texts: usize,
}

impl<'b> Collector<'b> {
    /// `hashes` says whether contents are wanted.
    pub(super) fn new(body: &'b ByteString, hashes: bool) -> Self {
        Self {
            body,
            hashes,
            found: Vec::new(),
            contents: Vec::new(),
            is_full: false,
            room: MAX_EXTRA_OF_BODY,
            texts: room_for_texts(body),
        }
    }

    /// Adds an event. `content` gives what it says to the hasher, and returns `false` if only the bytes tell.
    pub(super) fn push(
        &mut self,
        event: impl FnOnce(&mut Self) -> Event,
        content: impl FnOnce(&mut ContentHasher) -> bool,
    ) {
        if self.is_full {
            return;
        }
        if self.found.len() == MAX_EVENTS - 1 {
            return self.push_rest();
        }
        let event = event(self);
        let Some(left) = self.texts.checked_sub(shared_texts(&event)) else {
            return self.push_rest();
        };
        self.texts = left;
        let hash = |mut hasher: ContentHasher| content(&mut hasher).then(|| hasher.finish());
        let hasher = self.hashes.then(ContentHasher::default);
        self.found.push(event);
        self.contents.push(hasher.and_then(hash));
    }

    /// Adds what stands for all further events.
    fn push_rest(&mut self) {
        let rest = UnknownEvent::new(UnknownReason::TooManyEvents);
        self.found.push(Event::Unknown(rest));
        self.contents.push(None);
        self.is_full = true;
    }

    /// Adds the event of a body that cannot be read.
    pub(super) fn broken(&mut self, reason: UnknownReason) {
        self.push(|_| Event::Unknown(UnknownEvent::new(reason)), |_| false);
    }

    /// Adds an event without a kind, of the object `of`.
    pub(super) fn unknown<const N: usize>(
        &mut self,
        named: (Option<&str>, Option<&str>),
        reason: UnknownReason,
        of: &Picked<'_, N>,
    ) {
        self.unknown_with(named, reason, of, &[], None);
    }

    /// The same, without the fields in `without`, and with the gateway's own id.
    pub(super) fn unknown_with<const N: usize>(
        &mut self,
        named: (Option<&str>, Option<&str>),
        reason: UnknownReason,
        of: &Picked<'_, N>,
        without: &[&str],
        id: Option<String>,
    ) {
        self.push(
            |all| {
                let mut event = UnknownEvent::new(reason);
                (event.name, event.session_id) = owned(named);
                event.event_id = id;
                event.extra = all.extra(of, without);
                Event::Unknown(event)
            },
            |_| false,
        );
    }

    /// What is left of an object beside its typed fields, without those in `without`.
    pub(super) fn extra<const N: usize>(&mut self, of: &Picked<'_, N>, without: &[&str]) -> Extra {
        of.extra(self.body, without, &mut self.room)
    }

    /// The other fields of an event that are those of another too, as long as there is room.
    pub(super) fn extra_again(&mut self, extra: &Extra) -> Extra {
        let Some(left) = self.room.checked_sub(extra.len()) else {
            return Extra::default();
        };
        self.room = left;
        extra.clone()
    }

    pub(super) fn into_found(self) -> (Vec<Event>, Vec<Option<ContentHash>>) {
        (self.found, self.contents)
    }
}

/// The name of an event, from its JSON.
pub(super) fn name_of(json: Option<&str>) -> Result<String, UnknownReason> {
    let json = json.ok_or(UnknownReason::NoName)?;
    text(json).ok_or(UnknownReason::NameNotText)
}

/// A name and a session, to keep.
pub(super) fn owned(
    (name, session): (Option<&str>, Option<&str>),
) -> (Option<String>, Option<String>) {
    (name.map(str::to_owned), session.map(str::to_owned))
}

/// Makes a dialect of a type with a function `read(&ByteString, &mut Collector)`, which finds at least one event.
macro_rules! gateway {
    ($dialect:ident, $name:literal $(, $secret_fields:ident)?) => {
        impl Dialect for $dialect {
            $(
                fn secret_fields(&self) -> &'static [&'static str] {
                    $secret_fields
                }
            )?

            fn name(&self) -> &'static str {
                $name
            }

            fn events(&self, body: &ByteString) -> Vec<Event> {
                let mut all = Collector::new(body, false);
                self.read(body, &mut all);
                all.into_found().0
            }

            fn content(&self, body: &ByteString, event: usize, hasher: &mut ContentHasher) -> bool {
                let (_, contents) = self.with_contents(body);
                let content = contents.get(event).copied().flatten();
                content.is_some_and(|content| {
                    hasher.bytes(&content);
                    true
                })
            }

            fn with_contents(&self, body: &ByteString) -> (Vec<Event>, Vec<Option<ContentHash>>) {
                let mut all = Collector::new(body, true);
                self.read(body, &mut all);
                all.into_found()
            }
        }
    };
}

pub(super) use gateway;

/// The bytes of the texts of an event that others of its body may have, too: of the whole body, of a person, of a chat.
pub(super) fn shared_texts(event: &Event) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let own = match event {
        Event::Status(event) => length(&event.chat) + length(&event.recipient),
        other => other.as_message().map_or(0, |event| {
            length(&event.from) + length(&event.from_name) + length(&event.chat)
        }),
    };
    let of_body = [event.name(), event.session_id()].into_iter().flatten();
    own + of_body.map(str::len).sum::<usize>()
}

/// How many bytes of such texts the events of a body may have: a long one must not be copied thousands of times.
pub(super) fn room_for_texts(body: &str) -> usize {
    (2 * body.len()).max(4 * 1024 * 1024)
}

/// So many events of one body are read: more than the 3 MB that Meta sends at most can hold. One event stands for
/// all that follow.
pub(super) const MAX_EVENTS: usize = 16_384;

const MAX_EXTRA_OF_BODY: usize = 16 * MAX_EXTRA;
