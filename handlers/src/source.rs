//! [`SourceEvent`]: a source is quiet, or has resumed.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::EventKind;
use crate::macros::texts;

/// A source, or one of its sessions, has sent nothing for as long as the settings allow (`quiet_after`),
/// or has sent something again.
///
/// offhook makes this event itself; senders cannot. Its body is the JSON of [`SourceEvent::to_json`].
/// Only handlers that name `source.quiet` or `source.resumed` among their events receive it.
///
/// ```
/// use std::time::Duration;
/// use offhook_handlers::{SourceChange, SourceEvent, Timestamp};
///
/// let mut event = SourceEvent::new(SourceChange::Quiet, "codeskytz", Duration::from_secs(1800));
/// event.timestamp = "2026-01-08T12:30:00Z".parse::<Timestamp>().unwrap();
/// event.last_event_at = Some("2026-01-08T12:00:00Z".parse().unwrap());
///
/// assert_eq!(
///     event.to_json(),
///     concat!(
///         r#"{"event":"source.quiet","source":"codeskytz","lastEventAt":"2026-01-08T12:00:00Z","#,
///         r#""quietAfter":1800.0,"timestamp":"2026-01-08T12:30:00Z"}"#,
///     )
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SourceEvent {
    /// What happened (`event`).
    #[serde(rename = "event")]
    pub change: SourceChange,
    /// The source's name, as in the settings (`source`).
    pub source: String,
    /// The session, if the event is about one (`sessionId`); otherwise it is about the whole source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// When the last event before the silence was received, or the event that ended it (`lastEventAt`);
    /// `None` if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_at: Option<Timestamp>,
    /// How long the source may send nothing (`quietAfter`, in seconds).
    #[serde(with = "seconds")]
    pub quiet_after: Duration,
    /// When offhook noticed it (`timestamp`).
    pub timestamp: Timestamp,
}

/// What happened to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SourceChange {
    /// `source.quiet`: it has sent nothing for too long.
    #[serde(rename = "source.quiet")]
    Quiet,
    /// `source.resumed`: it was quiet, and has sent something.
    #[serde(rename = "source.resumed")]
    Resumed,
}

impl SourceChange {
    /// The event's name.
    pub fn as_str(self) -> &'static str {
        self.kind().as_str()
    }

    /// The event's kind.
    pub fn kind(self) -> EventKind {
        match self {
            Self::Quiet => EventKind::SourceQuiet,
            Self::Resumed => EventKind::SourceResumed,
        }
    }
}

texts!(SourceEvent: session_id);

impl SourceEvent {
    /// An event about a whole source, noticed at the epoch, without a time of the last event.
    pub fn new(change: SourceChange, source: impl Into<String>, quiet_after: Duration) -> Self {
        Self {
            change,
            source: source.into(),
            session_id: None,
            last_event_at: None,
            quiet_after,
            timestamp: Timestamp::UNIX_EPOCH,
        }
    }

    /// The event's body.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses a body made by [`SourceEvent::to_json`].
    ///
    /// # Errors
    ///
    /// When it is not such a body.
    pub fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// A duration as a number of seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut event = SourceEvent::new(SourceChange::Quiet, "s\"\n", Duration::from_millis(1500));
        assert_eq!(
            SourceEvent::from_json(event.to_json().as_bytes()).unwrap(),
            event
        );
        event.change = SourceChange::Resumed;
        event.session_id = Some("408f".to_owned());
        event.last_event_at = Some(Timestamp::from_millisecond(1_767_873_600_123).unwrap());
        event.timestamp = Timestamp::from_nanosecond(1_767_873_600_123_456_789).unwrap();
        let json = event.to_json();
        assert_eq!(SourceEvent::from_json(json.as_bytes()).unwrap(), event);
        assert!(json.contains(r#""event":"source.resumed""#), "{json}");
        assert!(json.contains(r#""sessionId":"408f""#), "{json}");
    }

    #[test]
    fn another_body_is_an_error() {
        let bodies = [
            "",
            "{}",
            r#"{"event":"source.other","source":"s","quietAfter":1.0,"timestamp":"2026-01-08T12:00:00Z"}"#,
            r#"{"event":"source.quiet","source":"s","quietAfter":-1.0,"timestamp":"2026-01-08T12:00:00Z"}"#,
            r#"{"event":"source.quiet","source":"s","quietAfter":1.0,"timestamp":"today"}"#,
        ];
        for body in bodies {
            assert!(SourceEvent::from_json(body.as_bytes()).is_err(), "{body}");
        }
    }
}
