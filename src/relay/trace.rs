//! [`Trace`]: the header `traceparent` that lets a subscriber's tracing find an event, and an event its trace.
//!
//! The trace id of [W3C Trace Context](https://www.w3.org/TR/trace-context/) has 16 bytes, as the id of an event,
//! and is that id: the same over attempts, replays and subscribers. The parent id is the beginning of
//! SHA-256(consumer, attempt), so it tells two attempts apart. What the sender says of a trace is not continued:
//! a sender must not choose what is sampled here (section 7.2 there).

use http::HeaderValue;
use http::header::HeaderName;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Delivery;

/// `relay.trace`: whether attempts have the header `traceparent`.
///
/// ```
/// use offhook::relay::{RelayOptions, Trace};
///
/// let mut options = RelayOptions::default();
/// assert_eq!(options.trace, Trace::Off);
/// options.trace = Trace::Sampled;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trace {
    /// No header.
    #[default]
    Off,
    /// A subscriber that samples by its parent traces every event.
    Sampled,
    /// A subscriber that samples by its parent traces none.
    Unsampled,
}

impl Trace {
    /// The value of the header for an attempt of `consumer`.
    pub(super) fn parent(self, consumer: &str, delivery: &Delivery) -> Option<HeaderValue> {
        // The flag `random` stays 0: a part of a UUID of version 7 is a counter.
        let flags = match self {
            Self::Off => return None,
            Self::Sampled => "01",
            Self::Unsampled => "00",
        };
        let trace = delivery.id().body().simple();
        let mut hasher = Sha256::new_with_prefix(consumer);
        // No name of a consumer has this byte.
        hasher.update([0]);
        hasher.update(delivery.attempt().to_be_bytes());
        let mut parent = [0; 8];
        parent.copy_from_slice(&hasher.finalize()[..8]);
        // All zeros are not valid.
        let parent = u64::from_be_bytes(parent).max(1);
        let value = format!("00-{trace}-{parent:016x}-{flags}");
        Some(HeaderValue::try_from(value).expect("hexadecimal digits are a header's value"))
    }
}

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
