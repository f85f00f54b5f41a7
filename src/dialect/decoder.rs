//! [`Decoder`]: turns stored events into typed events.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Dialect, Raw, read, read_own};
use crate::{Event, Received, UnknownEvent, UnknownReason};

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
            let event = match own {
                Ok(event) => Event::Source(event),
                // Another version of offhook has written it.
                Err(error) => {
                    let reason = UnknownReason::NotJson(error.to_string());
                    Event::Unknown(UnknownEvent::new(reason))
                }
            };
            return (Arc::clone(received), vec![event]);
        }
        let raw = Raw::default();
        let dialect = self.by_source.get(&*received.source);
        let dialect: &dyn Dialect = dialect.map_or(&raw, AsRef::as_ref);
        let mut headers = received.headers.iter();
        let encoding = headers.find(|(name, _)| name == "content-encoding");
        let encoding = encoding.map(|(_, value)| value.as_ref());
        let reading = read(dialect, &received.body, encoding, self.max_body);
        let mut decoded = Received::clone(received);
        decoded.content = reading.content;
        (Arc::new(decoded), reading.events)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dialect::{Codeskytz, enclose_own, remove_own_mark};
    use crate::{SourceChange, SourceEvent};

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
}
