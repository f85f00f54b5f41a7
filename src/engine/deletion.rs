//! Deletes events on request: one, or those of a person.
//!
//! The body goes as a whole, so an event of several in one body takes the others with it. The journal first;
//! then every consumer settles what it knows of them; the index follows the journal. Events are deleted a few
//! at a time, each time durably, so a request that was broken off can be repeated.

use std::sync::Arc;

use futures_util::future::join_all;

use super::Pipeline;
use crate::Event;
use crate::dialect::Decoder;
use crate::index::{EventFilter, Search};
use crate::journal::{MAX_PARTS, Missing, Part, Position, Record, Seq, Unavailable};

/// Whose events are to be deleted.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) session: String,
    /// Only events from this sender.
    pub(crate) sender: Option<String>,
}

impl Pipeline {
    /// Deletes these bodies. Returns how many events they held that were not deleted before, when that is
    /// durable and no attempt at them starts any more, also by other instances.
    ///
    /// # Errors
    ///
    /// When the journal cannot delete all of them now, or another instance may still start an attempt at them.
    pub(crate) async fn delete(&self, bodies: &[Seq]) -> Result<usize, Unavailable> {
        let deleted = self.journal().delete(bodies).await;
        self.notes().deleted();
        let gone: Arc<[Seq]> = match deleted {
            Ok(_) => bodies.into(),
            // What is damaged stays, and the others are gone.
            Err(_) => self.deleted_of(bodies).await.into(),
        };
        let consumers = self.consumers();
        join_all(consumers.iter().map(|one| one.deleted(&gone))).await;
        if let Some(elsewhere) = self.elsewhere() {
            let told = elsewhere.deleted(&gone).await;
            return deleted.and_then(|events| told.map(|()| events));
        }
        deleted
    }

    /// Returns which of these bodies are deleted, as far as they can be read.
    async fn deleted_of(&self, bodies: &[Seq]) -> Vec<Seq> {
        let mut deleted = Vec::new();
        for seq in bodies {
            let Ok(found) = self.journal().read(seq - 1, 1).await else {
                break;
            };
            let is_deleted = |one: &Record| matches!(one.missing, Some(Missing::Deleted(_)));
            deleted.extend(
                found
                    .iter()
                    .filter(|one| is_deleted(one))
                    .map(|one| one.seq),
            );
        }
        deleted
    }

    /// Deletes all events of a person that were received before, or counts them in a dry run. Returns how
    /// many there were.
    ///
    /// # Errors
    ///
    /// When the index does not have all events yet, or the journal cannot delete all of them now.
    pub(crate) async fn delete_all_of(
        &self,
        search: &dyn Search,
        person: &Person,
        dry_run: bool,
    ) -> Result<usize, Unavailable> {
        let head = self.journal().tail().head();
        if !search.is_complete(head).await {
            let why = "the index does not have all events yet, so not all would be found";
            return Err(Unavailable::Away(why.to_owned()));
        }
        let mut filter = EventFilter {
            session: Some(person.session.clone()),
            ..EventFilter::default()
        };
        let (mut events, mut failed) = (0, None);
        loop {
            let found = search.positions(filter.clone(), AT_ONCE).await?;
            let found = found.into_iter().map(Position::seq);
            let mut bodies: Vec<Seq> = found.filter(|seq| *seq <= head).collect();
            bodies.dedup();
            let Some(last) = bodies.last() else {
                return failed.map_or(Ok(events), Err);
            };
            filter.after = Some(Position::new(*last, MAX_PARTS as Part));
            if dry_run || person.sender.is_some() {
                let own = self.bodies_of(person, &bodies).await?;
                if dry_run {
                    events += own.iter().map(|(_, events)| events).sum::<usize>();
                    continue;
                }
                bodies = own.iter().map(|(seq, _)| *seq).collect();
            }
            match self.delete(&bodies).await {
                Ok(deleted) => events += deleted,
                // One that is damaged does not keep the others.
                Err(error) if self.journal().is_ready() => failed = failed.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns which of these bodies have an event of the person, each with the number of its events.
    async fn bodies_of(
        &self,
        person: &Person,
        bodies: &[Seq],
    ) -> Result<Vec<(Seq, usize)>, Unavailable> {
        let (mut left, mut own) = (bodies, Vec::new());
        while let Some(first) = left.first() {
            let records = self.journal().read(first - 1, READ_AT_ONCE).await?;
            // What is not there has been removed in the meantime.
            let end = records.last().map_or(*first, |last| last.seq);
            let (here, rest) = left.split_at(left.partition_point(|seq| *seq <= end));
            let wanted = records.into_iter();
            let wanted = wanted.filter(|one| here.binary_search(&one.seq).is_ok());
            let wanted: Vec<Record> = wanted.filter(|one| one.missing.is_none()).collect();
            let (decoder, person) = (Arc::clone(self.decoder()), person.clone());
            // Reading large bodies takes a while.
            let look = tokio::task::spawn_blocking(move || {
                let own = wanted.iter().filter(|one| is_of(one, &person, &decoder));
                let own = own.map(|one| (one.seq, one.parts.new_count()));
                own.collect::<Vec<_>>()
            });
            let found = look
                .await
                .map_err(|error| Unavailable::Away(error.to_string()))?;
            own.extend(found);
            left = rest;
        }
        Ok(own)
    }
}

/// Whether the body has an event of the person.
fn is_of(record: &Record, person: &Person, decoder: &Decoder) -> bool {
    let Some(sender) = &person.sender else {
        return true;
    };
    let received = &record.received;
    let (_, mut events) = decoder.decode(received);
    record.set_sessions(&mut events);
    events.iter().any(|event| {
        let session = event.session_id().or(received.session.as_deref());
        session == Some(&*person.session) && is_from(event, sender)
    })
}

/// Whether the event's field `from` is this sender. In kinds of events that have no such field it is one of the
/// other fields.
fn is_from(event: &Event, sender: &str) -> bool {
    if let Some(message) = event.as_message()
        && let Some(from) = &message.from
    {
        return from == sender;
    }
    let from = event.extra().get("from");
    from.is_some_and(|from| {
        let text = serde_json::from_str::<String>(from);
        text.map_or(from == sender, |text| text == sender)
    })
}

/// How many bodies are deleted before the consumers are told.
const AT_ONCE: usize = 1000;

/// How many records are read together, of which only some may be of the person.
const READ_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::{Codeskytz, Dialect as _};

    #[test]
    fn a_sender_is_what_the_event_says() {
        let table = [
            (r#"{"event":"message","from":"+1"}"#, true),
            (r#"{"event":"message","from":"\u002b1"}"#, true),
            (r#"{"event":"message","from":"+12"}"#, false),
            (r#"{"event":"message","to":"+1"}"#, false),
            (r#"{"event":"status","messageId":"1","from":"+1"}"#, true),
            (r#"{"event":"presence","from":"+1"}"#, true),
            (r#"{"event":"presence","from":["+1"]}"#, false),
            ("+1", false),
        ];
        for (body, expected) in table {
            let events = Codeskytz.events(&body.into());
            assert_eq!(is_from(&events[0], "+1"), expected, "{body}");
        }
        let events = Codeskytz.events(&r#"{"event":"message","from":15}"#.into());
        assert!(is_from(&events[0], "15"));
    }
}
