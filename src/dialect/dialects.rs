//! [`Dialects`]: which source speaks which dialect, for events that come from a journal.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Dialect, Raw, read};
use crate::journal::Record;
use crate::{Event, Received, Source, UnknownEvent, UnknownReason, envelope};

/// The dialects of all sources. A source that is no longer there speaks [`Raw`]; what offhook itself
/// has said is in no dialect.
#[derive(Debug)]
pub(crate) struct Dialects {
    by_source: HashMap<String, Arc<dyn Dialect>>,
    max_body: usize,
}

impl Dialects {
    pub(crate) fn of(sources: &[Source], max_body: usize) -> Self {
        let sources = sources.iter();
        let pairs = sources.map(|source| (source.name.clone(), Arc::clone(&source.dialect)));
        Self {
            by_source: pairs.collect(),
            max_body,
        }
    }

    /// The events of a record.
    pub(crate) fn events(&self, record: &Record) -> Arc<[Event]> {
        match &record.events {
            Some(events) => Arc::clone(events),
            None => self.read(&record.received).1,
        }
    }

    /// What was received, with its content decoded.
    pub(crate) fn decoded(&self, record: &Record) -> Arc<Received> {
        match record.events {
            Some(_) => Arc::clone(&record.received),
            None => self.read(&record.received).0,
        }
    }

    /// The record with all that the dialect makes of it, so that it need not be asked again.
    pub(crate) fn whole(&self, record: Arc<Record>) -> Arc<Record> {
        if record.events.is_some() {
            return record;
        }
        let (received, events) = self.read(&record.received);
        Arc::new(Record {
            received,
            events: Some(events),
            ..Record::clone(&record)
        })
    }

    fn read(&self, received: &Arc<Received>) -> (Arc<Received>, Arc<[Event]>) {
        if let Some(own) = envelope::own(received) {
            let event = match own {
                Ok(event) => Event::Source(event),
                // Another version has written it.
                Err(error) => {
                    let reason = UnknownReason::NotJson(error.to_string());
                    Event::Unknown(UnknownEvent::new(reason))
                }
            };
            return (Arc::clone(received), [event].into());
        }
        let raw = Raw::default();
        let dialect = self.by_source.get(&*received.source);
        let dialect: &dyn Dialect = dialect.map_or(&raw, AsRef::as_ref);
        let mut headers = received.headers.iter();
        let encoding = headers.find(|(name, _)| name == "content-encoding");
        let encoding = encoding.map(|(_, value)| value.as_ref());
        let mut reading = read(dialect, &received.body, encoding, self.max_body);
        // The session was decided when the event was received.
        if let Some(session) = &received.session {
            for event in &mut reading.events {
                event.set_session_id(session);
            }
        }
        let mut decoded = Received::clone(received);
        decoded.content = reading.content;
        (Arc::new(decoded), reading.events.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Envelope, SourceChange, SourceEvent, Timestamp};

    fn record(received: Received) -> Record {
        Record {
            seq: 1,
            kept_at: Timestamp::UNIX_EPOCH,
            received: Arc::new(received),
            events: None,
        }
    }

    #[test]
    fn offhooks_own_events_are_known_by_their_mark_and_not_by_their_body() {
        let said = SourceEvent::new(SourceChange::Quiet, "gone", Duration::from_secs(60));
        let (envelope, events) = Envelope::of_source(said);
        let mut received = Received::clone(envelope.received());
        for sources in [&[Source::new("gone")][..], &[]] {
            let dialects = Dialects::of(sources, 1024);
            assert_eq!(*dialects.events(&record(received.clone())), *events);
        }
        let dialects = Dialects::of(&[Source::new("gone")], 1024);
        received.body = "{}".into();
        let other = dialects.events(&record(received));
        assert!(matches!(other[..], [Event::Unknown(_)]), "{other:?}");
        let mut sent = Received::clone(envelope.received());
        sent.headers.remove(0);
        let sent = dialects.events(&record(sent));
        assert!(matches!(sent[..], [Event::Unknown(_)]), "{sent:?}");
    }
}
