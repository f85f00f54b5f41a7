//! [`Order`]: which events must stay in order.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::str::FromStr;
use std::sync::LazyLock;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::Event;
use crate::dialect::cut;

/// Which events a handler gets one at a time, in the order in which they were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Order {
    /// One lane for each conversation: messages by (session, chat or else sender), statuses by (session, message),
    /// everything else by session.
    #[default]
    Conversation,
    /// One lane for each session.
    Session,
    /// No lanes: all events at the same time.
    None,
}

impl Order {
    /// All orders, with their names in the settings.
    pub const ALL: [(&'static str, Self); 3] = [
        ("conversation", Self::Conversation),
        ("session", Self::Session),
        ("none", Self::None),
    ];

    /// The lane for the events of one body. Several events are one unit in their session's lane.
    pub(crate) fn lane(
        self,
        source: &str,
        session: Option<&str>,
        events: &[Event],
    ) -> Option<Lane> {
        let conversation = match (self, events) {
            (Self::None, _) => return None,
            (Self::Conversation, [event]) => conversation(event),
            (Self::Conversation | Self::Session, _) => None,
        };
        let named = (source, session, conversation);
        Some(Lane(KEYS.hash_one(named)))
    }
}

/// Identifies a session of a source, or the events of a source that have none, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionKey(u64);

/// The key of the hashes of sessions: random, so that no sender can choose a name whose hash is that of
/// another. It is saved with the hashes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionHasher(u64, u64);

impl SessionHasher {
    pub(crate) fn random() -> Self {
        let keys = RandomState::new();
        Self(keys.hash_one("first"), keys.hash_one("second"))
    }

    pub(crate) fn key(self, source: &str, session: Option<&str>) -> SessionKey {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        // The same bytes in every version, on every machine.
        hasher.write(&(source.len() as u64).to_le_bytes());
        hasher.write(source.as_bytes());
        if let Some(session) = session {
            hasher.write(b"/");
            hasher.write(session.as_bytes());
        }
        SessionKey(hasher.finish())
    }
}

impl fmt::Debug for SessionHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionHasher")
    }
}

/// The keys of the hashes of lanes: random, so that no sender can choose names whose lane is that of others.
static KEYS: LazyLock<SeedableRandomState> = LazyLock::new(|| {
    let key = RandomState::new().hash_one("lanes");
    SeedableRandomState::with_seed(key, SharedSeed::global_random())
});

/// What distinguishes a conversation from the others of its session.
fn conversation(event: &Event) -> Option<(&'static str, Cow<'_, str>)> {
    match event {
        Event::Status(status) => status.message_id.as_deref().map(|id| ("message", cut(id))),
        other => {
            let message = other.as_message()?;
            let chat = message.chat.as_deref().or(message.from.as_deref())?;
            Some(("chat", cut(chat)))
        }
    }
}

/// A lane, as a hash of what identifies it. A collision of two lanes is improbable and harmless: they wait
/// for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Lane(u64);

/// Lanes as keys.
pub(crate) type LaneMap<T> = HashMap<Lane, T, foldhash::fast::FixedState>;

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, order)| order == self);
        f.write_str(named.map_or("", |(name, _)| name))
    }
}

impl FromStr for Order {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let named = Self::ALL.iter().find(|(name, _)| *name == text);
        named.map(|(_, order)| *order).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Codeskytz, Dialect as _};

    fn lane(order: Order, source: &str, body: &str) -> Option<Lane> {
        let events = Codeskytz.events(&body.into());
        order.lane(source, events[0].session_id(), &events)
    }

    #[test]
    fn each_order_has_its_lanes() {
        let message = |session, from| {
            format!(r#"{{"event":"message","sessionId":"{session}","from":"{from}"}}"#)
        };
        let status = |session, id| {
            format!(r#"{{"event":"status","sessionId":"{session}","messageId":"{id}"}}"#)
        };
        let connection = r#"{"event":"connection","sessionId":"1","status":"x"}"#.to_owned();
        let unknown = r#"{"sessionId":"1"}"#.to_owned();
        let bare = r#"{"event":"message","sessionId":"1"}"#.to_owned();
        let table = [
            // bodies, same conversation, same session
            ([message("1", "a"), message("1", "a")], true, true),
            ([message("1", "a"), message("1", "b")], false, true),
            ([message("1", "a"), message("2", "a")], false, false),
            ([status("1", "a"), status("1", "a")], true, true),
            ([status("1", "a"), status("1", "b")], false, true),
            ([status("1", "a"), message("1", "a")], false, true),
            ([connection.clone(), unknown], true, true),
            ([connection, bare], true, true),
        ];
        for ([one, other], conversation, session) in table {
            let same = |order| lane(order, "s", &one) == lane(order, "s", &other);
            assert_eq!(same(Order::Conversation), conversation, "{one} {other}");
            assert_eq!(same(Order::Session), session, "{one} {other}");
            assert_eq!(lane(Order::None, "s", &one), None);
            assert_ne!(
                lane(Order::Session, "s", &one),
                lane(Order::Session, "t", &one)
            );
        }
    }
}
