//! [`Place`]: after which event a viewer reads on.

use std::fmt;
use std::str::FromStr;

use crate::Timestamp;
use crate::journal::{Journal, Part, Seq, Unavailable};

/// A place in the journal: behind a body, or behind one of its events.
///
/// It is written as `7` for behind all events of body 7, which nearly always is one; and as `7.2` for behind the
/// second one of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Every event up to this body is behind.
    pub(super) body: Seq,
    /// So many events of the next body, too.
    pub(super) parts: Part,
}

impl Place {
    /// Behind all events of a body.
    pub(super) fn behind(body: Seq) -> Self {
        Self { body, parts: 0 }
    }

    /// Behind the event `part` of a body, which is not the last one.
    pub(super) fn within(body: Seq, part: Part) -> Self {
        Self {
            body: body.saturating_sub(1),
            parts: part,
        }
    }

    /// Before the first event that became durable at this time or later, or behind the newest one.
    pub(super) async fn at(journal: &dyn Journal, time: Timestamp) -> Result<Self, Unavailable> {
        let (mut low, mut high) = (0, journal.tail().head());
        // Bodies are stored in the order of their times.
        while low < high {
            let middle = low + (high - low) / 2;
            let found = journal.read(middle, 1).await?;
            match found.first() {
                Some(record) if record.kept_at < time => low = record.seq.min(high),
                _ => high = middle,
            }
        }
        Ok(Self::behind(low))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts {
            0 => write!(f, "{}", self.body),
            parts => write!(f, "{}.{parts}", self.body + 1),
        }
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (body, part) = match text.split_once('.') {
            Some((body, part)) => (body, Some(part)),
            None => (text, None),
        };
        if !digits(body) || !part.is_none_or(digits) {
            return Err(());
        }
        let body = body.parse().map_err(drop)?;
        match part.map(str::parse) {
            None => Ok(Self::behind(body)),
            Some(Ok(part)) if part > 0 && body > 0 => Ok(Self::within(body, part)),
            Some(_) => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        for text in ["0", "7", "7.1", "1.1023", "281474976710655"] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        for odd in [
            "", "x", "-1", "+1", "7.", "7.0", "0.1", ".1", "7.1.1", "7.70000", "7.+1",
        ] {
            assert!(odd.parse::<Place>().is_err(), "{odd}");
        }
        let ordered = ["6", "7.1", "7.2", "7", "8.1"].map(|text| text.parse::<Place>().unwrap());
        assert!(ordered.is_sorted_by(|one, next| one < next), "{ordered:?}");
    }
}
