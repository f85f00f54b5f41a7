//! Test events: signed here with a source's own secret, they pass the checks of any request, and are marked.

use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use super::receive::Ingress;
use super::source::Source;
use crate::Event;
use crate::engine::{Accepted, Envelope, NotAccepted};
use crate::signature::{Refusal, Secret};

/// A test event that has passed the checks of its source, and the events in it.
pub(crate) struct TestEvent {
    envelope: Envelope,
    pub(crate) events: Vec<Event>,
}

/// Why there is no test event.
#[derive(Debug)]
pub(crate) enum NotTested {
    /// Its own source does not accept it.
    Refused(Refusal),
    /// The source has no secret to sign with, not even for this session.
    NoSecret,
    /// The body is longer than `max_body`, in bytes.
    TooLong(usize),
    /// There is no such source; these are there.
    NoSource(Vec<String>),
}

/// Under which id a test event was received.
#[derive(Debug)]
pub(crate) struct ReceivedTest {
    pub(crate) event: Uuid,
    pub(crate) is_duplicate: bool,
}

impl Ingress {
    /// Signs a test event of a session, and checks it as if its source had sent it.
    pub(crate) fn test_event(
        &self,
        name: &str,
        session: &str,
        body: Bytes,
    ) -> Result<TestEvent, NotTested> {
        let table = self.table();
        let Some(served) = table.named(name) else {
            let names = table.sources().map(|source| source.name.clone());
            return Err(NotTested::NoSource(names.collect()));
        };
        let most = served.verify.max_body();
        if body.len() > most {
            return Err(NotTested::TooLong(most));
        }
        let now = self.now();
        let source = &served.source;
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(actix_http::header::CONTENT_TYPE, json);
        if source.path_token.is_none() {
            let secret = secret(source, session).ok_or(NotTested::NoSecret)?;
            for header in source.scheme.sign(&body, secret, now) {
                let name = HeaderName::from_bytes(header.name.as_bytes());
                let value = HeaderValue::from_str(&header.value);
                if let (Ok(name), Ok(value)) = (name, value) {
                    headers.insert(name, value);
                }
            }
        }
        let token = source.path_token.as_ref().map(Secret::expose);
        let token = token.and_then(|token| std::str::from_utf8(token).ok());
        let verified = served
            .verify
            .verify_test(&headers, token, session, body, now)
            .map_err(NotTested::Refused)?;
        let (envelope, events) = Envelope::open(verified, &served.reader);
        Ok(TestEvent { envelope, events })
    }

    /// Receives a test event as any other. It is no sign that the source is alive, and is not counted as received.
    pub(crate) async fn receive_test(&self, test: TestEvent) -> Result<ReceivedTest, NotAccepted> {
        let TestEvent { envelope, events } = test;
        let event = envelope.received().id;
        if !self.running().has_room() {
            return Err(NotAccepted::Unavailable);
        }
        let work = Arc::clone(self.engine()).accept(envelope, events.into());
        let accepted = self.running().finish(work).await?;
        Ok(ReceivedTest {
            event,
            is_duplicate: accepted == Accepted::Duplicate,
        })
    }

    /// The names of all sources, in the order of the settings.
    pub(crate) fn names(&self) -> Vec<String> {
        let table = self.table();
        table.sources().map(|source| source.name.clone()).collect()
    }
}

/// The first secret that is good for the session.
fn secret<'a>(source: &'a Source, session: &str) -> Option<&'a Secret> {
    let own = source.sessions.iter().find(|(name, _)| name == session);
    match own {
        Some((_, own)) => own.first(),
        None => source.secrets.first(),
    }
}
