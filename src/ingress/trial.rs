//! Test events: signed here with a source's own secret, they pass the checks of any request, and are marked.

use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use super::receive::Ingress;
use super::source::Source;
use crate::engine::{Accepted, Envelope, NotAccepted};
use crate::signature::{Refusal, Secret};

/// What has become of a test event.
#[derive(Debug)]
pub(crate) enum Tried {
    Accepted {
        event: Uuid,
        is_duplicate: bool,
    },
    NotAccepted(NotAccepted),
    /// Its own source does not accept it.
    Refused(Refusal),
    /// The source has no secret to sign with, not even for this session.
    NoSecret,
    /// The body is longer than `max_body`, in bytes.
    TooLong(usize),
    /// There is no such source; these are there.
    NoSource(Vec<String>),
}

impl Ingress {
    /// Receives a test event of a session, as if its source had sent it. It is no sign that the source is alive, and
    /// is not counted as received.
    pub(crate) async fn try_source(&self, name: &str, session: &str, body: Bytes) -> Tried {
        let table = self.table();
        let Some(served) = table.named(name) else {
            let names = table.sources().map(|source| source.name.clone());
            return Tried::NoSource(names.collect());
        };
        let most = served.verify.max_body();
        if body.len() > most {
            return Tried::TooLong(most);
        }
        let now = self.now();
        let source = &served.source;
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(actix_http::header::CONTENT_TYPE, json);
        if source.path_token.is_none() {
            let Some(secret) = secret(source, session) else {
                return Tried::NoSecret;
            };
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
            .verify_test(&headers, token, session, body, now);
        let (envelope, events) = match verified {
            Ok(verified) => Envelope::open(verified, &served.reader),
            Err(refusal) => return Tried::Refused(refusal),
        };
        let event = envelope.received().id;
        if !self.running().has_room() {
            return Tried::NotAccepted(NotAccepted::Unavailable);
        }
        let work = Arc::clone(self.engine()).accept(envelope, events.into());
        match self.running().finish(work).await {
            Ok(accepted) => Tried::Accepted {
                event,
                is_duplicate: accepted == Accepted::Duplicate,
            },
            Err(why) => Tried::NotAccepted(why),
        }
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
