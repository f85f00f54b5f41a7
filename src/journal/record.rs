//! What is appended to a log, and what is read from it.

use std::sync::Arc;
use std::time::Duration;

use super::position::{Part, Position, Seq, Share, share_of};
use crate::dialect::set_session;
use crate::{Event, Received, Timestamp};

/// A body to append.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was received; everything except the decoded content is stored.
    pub received: Arc<Received>,
    /// What is known of the body's events, for consumers that keep up. Only outlines are stored.
    pub events: Events,
    /// One for each event that the body is divided into; at least one.
    pub parts: Vec<EntryPart>,
}

/// One event of a body to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryPart {
    /// The event's own session, if it differs from the body's.
    pub session: Option<String>,
    /// The key that makes another event a duplicate of this one.
    pub key: DedupKey,
}

/// What is known of the events of a body.
#[derive(Debug, Clone)]
pub enum Events {
    /// Nothing: the body is to be read.
    Unread,
    /// What is needed to hand them over in order, without their content. The body has a
    /// `Content-Encoding`, and is decoded only for who reads it.
    Outline(Arc<[Event]>),
    /// Everything.
    Typed(Arc<[Event]>),
}

/// All that can be known.
impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Self {
        Self::Typed(events.into())
    }
}

impl Events {
    /// Returns the events, as far as they are known.
    pub fn known(&self) -> Option<&Arc<[Event]>> {
        match self {
            Self::Unread => None,
            Self::Outline(events) | Self::Typed(events) => Some(events),
        }
    }

    /// Returns how many bytes the events behind the first take, beside their own texts: a short body may have thousands.
    pub(crate) fn further_bytes(&self) -> usize {
        further_bytes(self.known().map_or(&[], |events| events))
    }

    /// Returns the outlines to store.
    pub fn outline(&self) -> &[Event] {
        match self {
            Self::Outline(events) => events,
            Self::Unread | Self::Typed(_) => &[],
        }
    }
}

/// Returns how many bytes these events take but the first, beside their own texts.
pub(crate) fn further_bytes(events: &[Event]) -> usize {
    let of_body = |event: &Event| {
        let texts = [event.name(), event.session_id()].into_iter().flatten();
        size_of::<Event>() + texts.map(str::len).sum::<usize>()
    };
    events.iter().skip(1).map(of_body).sum()
}

/// What makes two events the same, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupKey {
    /// A hash of what identifies the event.
    pub hash: KeyHash,
    /// A later event with the same hash is a duplicate for this long.
    pub window: Duration,
    /// The hash of a state, where the event is one of its values: it is a duplicate only of the newest
    /// event with this hash.
    pub state: Option<KeyHash>,
    /// Whether the hash is of an id from the sender, so that no other event has it. Without an id,
    /// two different events may have the same bytes.
    pub named: bool,
}

/// 128 bits of a cryptographic hash, so that two events never share it by chance.
pub type KeyHash = u128;

impl Entry {
    /// Makes the entry of a body that is one event.
    pub fn one(received: Arc<Received>, events: Events, key: DedupKey) -> Self {
        let parts = vec![EntryPart { session: None, key }];
        Self {
            received,
            events,
            parts,
        }
    }
}

impl DedupKey {
    /// Returns when the window of an event received at `at` ends; both in milliseconds since 1970.
    pub fn ends_at(&self, at: i64) -> i64 {
        at.saturating_add(millis(self.window))
    }

    /// Returns whether an earlier event with the same hash, whose window ends at `until`, makes
    /// this one a duplicate.
    ///
    /// If more than twice this window is left, the earlier window was longer, or began before the
    /// clock was set back: the age of the earlier event is unknown. An unnamed event then counts as
    /// new, because it is better to handle an event twice than to lose one.
    pub fn holds_until(&self, until: i64, now: i64) -> bool {
        let left = until.saturating_sub(now);
        left > 0 && (self.named || left <= millis(self.window).saturating_mul(2))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A body, as the log stores it.
#[derive(Debug, Clone)]
pub struct Record {
    /// The body's number.
    pub seq: Seq,
    /// When it became durable; never before the body ahead of it, even if the clock was set back.
    pub kept_at: Timestamp,
    /// What was received.
    pub received: Arc<Received>,
    /// The events that the body is divided into.
    pub parts: Parts,
    /// What is known of the body's events.
    pub events: Events,
    /// Why the body is not there any more; `None` for a body that is. Then `received` has an empty body
    /// and only what is known: the id, which is nil if it cannot be read, and times. Consumers settle such
    /// a record without an attempt.
    pub missing: Option<Missing>,
}

/// Why the body of a record is not in the log any more, although its number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// An administrator deleted it, at this time.
    Deleted(Timestamp),
    /// What the disk returned is not what was written. The journal has logged and counted that.
    Damaged,
}

/// The events that a body is divided into, as far as a log knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The body is one event; the share is its session's.
    One(Share),
    Several(Arc<[(KeptPart, Share)]>),
}

/// One of several events of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPart {
    /// The event's own session, if it differs from the body's.
    pub session: Option<String>,
    /// Whether it is a duplicate of an earlier event; duplicates are not dispatched.
    pub duplicate: bool,
}

/// One event of a body, for consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartView<'a> {
    /// Which one, from 1.
    pub part: Part,
    /// The session it belongs to.
    pub session: Option<&'a str>,
    /// The share it belongs to.
    pub share: Share,
    /// Whether it is a duplicate of an earlier event.
    pub duplicate: bool,
}

impl Parts {
    /// A body that is one event, in a journal with `shares` shares.
    pub fn one(received: &Received, shares: Share) -> Self {
        let session = received.session.as_deref();
        Self(Kind::One(share_of(&received.source, session, shares)))
    }

    /// A body that is divided into these events, in a journal with `shares` shares.
    pub fn several(parts: Vec<KeptPart>, received: &Received, shares: Share) -> Self {
        match &parts[..] {
            [] => return Self::one(received, shares),
            [one] if !one.duplicate && one.session.is_none() => return Self::one(received, shares),
            _ => {}
        }
        let with_shares = parts.into_iter().map(|part| {
            let session = part.session.as_deref().or(received.session.as_deref());
            let share = share_of(&received.source, session, shares);
            (part, share)
        });
        Self(Kind::Several(with_shares.collect()))
    }

    /// Returns how many events there are; at least one.
    pub fn count(&self) -> Part {
        match &self.0 {
            Kind::One(_) => 1,
            Kind::Several(parts) => Part::try_from(parts.len()).unwrap_or(Part::MAX),
        }
    }

    /// Returns how many events are not duplicates.
    pub(crate) fn new_count(&self) -> usize {
        match &self.0 {
            Kind::One(_) => 1,
            Kind::Several(parts) => parts.iter().filter(|(part, _)| !part.duplicate).count(),
        }
    }

    /// Returns all events in order. `received` is the body's.
    pub fn views<'a>(&'a self, received: &'a Received) -> impl Iterator<Item = PartView<'a>> {
        (1..=self.count()).map(|part| self.view(part, received))
    }

    /// Returns the event `part` of the body `received`.
    pub fn view<'a>(&'a self, part: Part, received: &'a Received) -> PartView<'a> {
        let body = received.session.as_deref();
        match &self.0 {
            Kind::One(share) => PartView {
                part: 1,
                session: body,
                share: *share,
                duplicate: false,
            },
            Kind::Several(parts) => {
                let (kept, share) = &parts[usize::from(part - 1).min(parts.len() - 1)];
                PartView {
                    part,
                    session: kept.session.as_deref().or(body),
                    share: *share,
                    duplicate: kept.duplicate,
                }
            }
        }
    }

    /// Returns the parts to store: those of a body with several events, none for a body that is one
    /// event.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &KeptPart> {
        let parts: &[(KeptPart, Share)] = match &self.0 {
            Kind::One(_) => &[],
            Kind::Several(parts) => parts,
        };
        parts.iter().map(|(part, _)| part)
    }
}

impl Record {
    /// A body that is not what was written, with its id and time of receipt where they can be read.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(super) fn damaged(
        seq: Seq,
        kept_at: Timestamp,
        known: Option<(uuid::Uuid, Timestamp)>,
    ) -> Self {
        let mut received = Received::new("", Vec::new());
        received.id = uuid::Uuid::nil();
        received.received_at = kept_at;
        received.odd = Some("what the disk returned is not what was written".into());
        if let Some((id, at)) = known {
            (received.id, received.received_at) = (id, at);
        }
        Self {
            seq,
            kept_at,
            parts: Parts::one(&received, 1),
            received: Arc::new(received),
            events: Events::Unread,
            missing: Some(Missing::Damaged),
        }
    }

    /// Returns what is left of the record after its body was deleted at `at`: its number, its id and its times.
    pub fn without_body(&self, at: Timestamp) -> Self {
        let mut left = Received::new("", "");
        left.id = self.received.id;
        left.received_at = self.received.received_at;
        Self::deleted(self.seq, self.kept_at, left, at)
    }

    /// The record of a body that was deleted at `at`; `left` has its id and when it was received.
    pub(crate) fn deleted(seq: Seq, kept_at: Timestamp, left: Received, at: Timestamp) -> Self {
        Self {
            seq,
            kept_at,
            parts: Parts::one(&left, 1),
            received: Arc::new(left),
            events: Events::Unread,
            missing: Some(Missing::Deleted(at)),
        }
    }

    /// Returns the record with its typed events; `read` gives those of a body.
    pub(crate) fn typed(
        self: Arc<Self>,
        read: impl FnOnce(&Arc<Received>) -> (Arc<Received>, Vec<Event>),
    ) -> Arc<Self> {
        if let Events::Typed(_) = self.events {
            return self;
        }
        let (received, mut events) = read(&self.received);
        self.set_sessions(&mut events);
        Arc::new(Self {
            received,
            events: Events::Typed(events.into()),
            ..Self::clone(&self)
        })
    }

    /// Gives events the sessions that were decided when the body was received.
    pub(crate) fn set_sessions(&self, events: &mut [Event]) {
        let last = self.parts.count();
        for (part, event) in (1..).zip(events) {
            let view = self.parts.view(last.min(part), &self.received);
            if let Some(session) = view.session {
                set_session(event, session);
            }
        }
    }

    /// Returns the typed events of one part, nearly always one. The last part takes all the rest,
    /// so that no event is lost if a dialect finds more events than before.
    pub(crate) fn events_of(parts: Part, part: Part, events: &[Event]) -> &[Event] {
        let start = usize::from(part - 1).min(events.len());
        let end = if part >= parts {
            events.len()
        } else {
            start + 1
        };
        &events[start..end.clamp(start, events.len())]
    }
}

/// The outcome of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The body is durable under this number, and at least one of its events is new.
    New {
        /// The body's number.
        seq: Seq,
        /// The parts that are duplicates, in order, each with its original.
        duplicates: Vec<(Part, Position)>,
    },
    /// Every event is a duplicate, so nothing was stored. Holds the original of each part, in
    /// order.
    Duplicate(Vec<Position>),
}

impl Appended {
    /// The outcome for a body without duplicates.
    pub fn new(seq: Seq) -> Self {
        Self::New {
            seq,
            duplicates: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_clock_makes_no_duplicates() {
        let (now, minute) = (1_000_000, 60_000);
        let key = DedupKey {
            hash: 1,
            window: Duration::from_millis(60_000),
            state: None,
            named: false,
        };
        let table = [
            (now - minute, false),
            (now, false),
            (now + 1, true),
            (now + minute, true),
            // The clock was set back by a minute at most, so this may be a duplicate.
            (now + 2 * minute, true),
            // The clock was set back by an hour: taking this for a duplicate would lose an event.
            (now + 60 * minute, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ];
        for (until, holds) in table {
            assert_eq!(key.holds_until(until, now), holds, "{}", until - now);
        }
        let named = DedupKey { named: true, ..key };
        assert!(named.holds_until(now + 60 * minute, now) && !named.holds_until(now, now));
        let window = Duration::ZERO;
        assert!(!DedupKey { window, ..key }.holds_until(now + 1, now));
        let window = Duration::MAX;
        let endless = DedupKey { window, ..key };
        assert!(endless.holds_until(endless.ends_at(now), now));
    }

    #[test]
    fn the_last_part_takes_the_rest() {
        let events: Vec<Event> = (0..4)
            .map(|_| Event::Unknown(crate::UnknownEvent::new(crate::UnknownReason::NoName)))
            .collect();
        let table = [
            // parts, part, known events, events of the part
            (1, 1, 4, 4),
            (4, 1, 4, 1),
            (4, 4, 4, 1),
            (2, 2, 4, 3),
            (3, 2, 1, 0),
            (3, 3, 1, 0),
            (1, 1, 0, 0),
        ];
        for (parts, part, known, expected) in table {
            let found = Record::events_of(parts, part, &events[..known]);
            assert_eq!(found.len(), expected, "{part} of {parts}");
        }
    }

    #[test]
    fn a_part_has_own_or_body_session() {
        let mut received = Received::new("source", "{}");
        received.session = Some("body".to_owned());
        let kept = |session: Option<&str>, duplicate| KeptPart {
            session: session.map(str::to_owned),
            duplicate,
        };
        let parts = vec![
            kept(None, false),
            kept(Some("own"), false),
            kept(None, true),
        ];
        let parts = Parts::several(parts, &received, 3);
        let views: Vec<_> = parts.views(&received).collect();
        let sessions: Vec<_> = views.iter().map(|view| view.session).collect();
        assert_eq!(sessions, [Some("body"), Some("own"), Some("body")]);
        assert_eq!(views[0].share, share_of("source", Some("body"), 3));
        assert_eq!(views[1].share, share_of("source", Some("own"), 3));
        assert!(views[2].duplicate && !views[0].duplicate);
        let one = Parts::several(vec![kept(None, false)], &received, 3);
        assert_eq!(one, Parts::one(&received, 3));
        assert_eq!(one.views(&received).count(), 1);
    }
}
