//! [`EventId`]: an event's id, the same for all attempts and replays.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The id of an event: the id of its body and, from the second event of a body on, its number in the
/// body: `01890a5d-…`, `01890a5d-….2`, `01890a5d-….3`.
///
/// Ids made by one process are ordered by the time of receipt. An id is the same for all attempts and
/// replays, so a handler can use it as its idempotency key.
///
/// ```
/// use offhook_handlers::EventId;
///
/// let id: EventId = "01890a5d-ac96-774b-bcce-b302099a8057.2".parse().unwrap();
/// assert_eq!(id.part(), 2);
/// assert_eq!(id.to_string(), "01890a5d-ac96-774b-bcce-b302099a8057.2");
/// assert!(id > id.body().into());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    body: Uuid,
    part: u16,
}

impl EventId {
    /// The event `part` (from 1) of the body with this id.
    pub fn new(body: Uuid, part: u16) -> Self {
        Self {
            body,
            part: part.max(1),
        }
    }

    /// The id of the body: a UUID of version 7.
    pub fn body(self) -> Uuid {
        self.body
    }

    /// The event's number in the body, from 1. Nearly every body holds one event.
    pub fn part(self) -> u16 {
        self.part
    }
}

/// The only or first event of a body.
impl From<Uuid> for EventId {
    fn from(body: Uuid) -> Self {
        Self::new(body, 1)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            1 => write!(f, "{}", self.body),
            part => write!(f, "{}.{part}", self.body),
        }
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an event's id such as 01890a5d-ac96-774b-bcce-b302099a8057")]
#[non_exhaustive]
pub struct ParseEventIdError;

impl FromStr for EventId {
    type Err = ParseEventIdError;

    fn from_str(text: &str) -> Result<Self, ParseEventIdError> {
        let parse = |body| Uuid::try_parse(body).map_err(|_| ParseEventIdError);
        let Some((body, part)) = text.split_once('.') else {
            return parse(text).map(Self::from);
        };
        match part.parse() {
            // The first event is written without a number.
            Ok(part) if part > 1 => Ok(Self::new(parse(body)?, part)),
            _ => Err(ParseEventIdError),
        }
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_written() {
        let body = Uuid::from_u128(7);
        for part in [1, 2, 65_535] {
            let id = EventId::new(body, part);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(EventId::from(body).to_string(), body.to_string());
        for wrong in ["", "7", "x.2"] {
            assert_eq!(wrong.parse::<EventId>(), Err(ParseEventIdError), "{wrong}");
        }
        for part in ["", "0", "1", "-2", "65536", "2.3", "x"] {
            let text = format!("{body}.{part}");
            assert_eq!(text.parse::<EventId>(), Err(ParseEventIdError), "{text}");
        }
    }
}
