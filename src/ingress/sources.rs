//! [`Sources`]: the route table, which can be replaced while requests are served.
//!
//! A source is served at its path and at `path/{session}`; if it has a path token, at `path/{token}` and
//! `path/{token}/{session}`. Exact paths take precedence over the patterns of other sources. Every
//! request goes through this table: from the server's own listener, from an `App` that mounts the
//! receiver, and in the check before `100 Continue`.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{RequestHead, Uri};
use actix_web::dev::Url;
use arc_swap::ArcSwap;
use uuid::Uuid;

use super::silence::{NextSilence, SourceSeen};
use super::source::Source;
use crate::clock::{Clock, SystemClock};
use crate::dialect::BodyReader;
use crate::refused::KnownSource;
use crate::signature::{
    Handshake, Limits, Reply, RequestError, Secrets, VerifySignature, path_session,
};
use crate::telemetry::{Metrics, RequestOutcome, SourceMetrics};

/// All sources that are served now.
#[derive(Debug, Default)]
pub(crate) struct Sources(ArcSwap<Table>);

/// The sources at one moment, with their secrets and limits. A request keeps the table that routed it.
#[derive(Default)]
pub(crate) struct Table {
    router: matchit::Router<usize>,
    sources: Vec<Arc<Served>>,
}

/// A source that is served.
pub(crate) struct Served {
    pub(super) source: Source,
    pub(super) verify: VerifySignature,
    pub(super) reader: BodyReader,
    pub(super) metrics: SourceMetrics,
    /// Its name, and the headers that are kept of a request that it refuses.
    pub(super) name: Arc<str>,
    pub(super) needed: Vec<String>,
    pub(super) seen: Arc<SourceSeen>,
    /// How its scheme wants to be answered, so that nothing is asked for each request.
    pub(super) reply: Reply,
    pub(super) handshake: Option<Handshake>,
    pub(super) has_challenge: bool,
}

/// The source that an address leads to, and the values of its segments.
pub(super) struct Route<'a> {
    pub(super) served: &'a Arc<Served>,
    pub(super) token: Option<String>,
    pub(super) session: Option<String>,
}

impl Sources {
    /// The current table.
    pub(super) fn table(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// Whether the path ends with the path of a current source. If the table is mounted in a scope, the
    /// path begins with the scope's path.
    pub(super) fn may_lead(&self, path: &str) -> bool {
        let table = self.0.load();
        let mut ends = path.match_indices('/').map(|(at, _)| &path[at..]);
        ends.any(|end| table.route(end).is_some())
    }

    /// Serves these sources from the next request on.
    pub(super) fn replace(&self, table: Table) {
        self.0.store(Arc::new(table));
    }
}

impl Table {
    /// `compares`: the engine compares the contents of events. `before` is the table that this one may replace.
    ///
    /// # Errors
    ///
    /// When two sources have the same path; the settings' checks reject that with a better message.
    pub(super) fn build(
        sources: Vec<Source>,
        compares: bool,
        limits: &Limits,
        clock: &Arc<dyn Clock>,
        metrics: &Metrics,
        silence: &NextSilence,
        before: &Self,
    ) -> Result<Self, matchit::InsertError> {
        let mut router = matchit::Router::new();
        for (index, source) in sources.iter().enumerate() {
            for pattern in source.patterns() {
                router.insert(pattern, index)?;
            }
        }
        let served = sources.into_iter().enumerate().map(|(index, source)| {
            let reader = source.reader(limits.max_body);
            let reader = if compares {
                reader.with_contents()
            } else {
                reader
            };
            let mut verify = VerifySignature::new(source.verifier(reader.clone()))
                .limits(limits.clone())
                .clock(Arc::clone(clock));
            let mut known = before.sources.iter();
            if let Some(known) = known.find(|served| served.source.name == source.name) {
                verify = verify.in_place_of(&known.verify);
            }
            Arc::new(Served {
                verify,
                reader,
                metrics: metrics.source(&source.name),
                name: source.name.as_str().into(),
                needed: source.needed_headers(),
                seen: silence.source(index),
                reply: source.scheme.reply(),
                handshake: source.scheme.handshake(),
                has_challenge: source.has_challenge(),
                source,
            })
        });
        Ok(Self {
            router,
            sources: served.collect(),
        })
    }

    /// Finds the source for a [decoded](decoded) path, which may have one slash too many at its end.
    pub(super) fn route(&self, path: &str) -> Option<Route<'_>> {
        let without_slash = || self.router.at(path.strip_suffix('/')?).ok();
        let found = self.router.at(path).ok().or_else(without_slash)?;
        let segment = |name| found.params.get(name);
        Some(Route {
            served: &self.sources[*found.value],
            token: segment("token").map(str::to_owned),
            session: segment("session").map(path_session),
        })
    }

    /// The source whose path this is, if only the token is missing at its end.
    pub(super) fn without_token(&self, path: &str) -> Option<&Source> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut sources = self.sources();
        sources.find(|source| source.path_token.is_some() && source.path == path)
    }

    /// The names of the sources that `other` does not have.
    pub(super) fn names_not_in(&self, other: &Self) -> Vec<&str> {
        let is_there = |name: &&str| other.sources().any(|source| source.name == *name);
        let names = self.sources().map(|source| source.name.as_str());
        names.filter(|name| !is_there(name)).collect()
    }

    /// The source with this name.
    pub(super) fn named(&self, name: &str) -> Option<&Arc<Served>> {
        let mut sources = self.sources.iter();
        sources.find(|served| served.source.name == name)
    }

    /// What is known of all sources to explain what they refuse.
    pub(super) fn known(&self) -> Vec<KnownSource> {
        let known = self.sources.iter().map(|served| KnownSource {
            name: served.source.name.clone(),
            path: served.source.path.clone(),
            scheme: Arc::clone(&served.source.scheme),
            secrets: Secrets::new(served.source.secrets.clone()),
            sessions: served.source.sessions.clone(),
            path_token: served.source.path_token.clone(),
            verify: served.verify.clone(),
            reader: served.reader.clone(),
        });
        known.collect()
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().map(|served| &served.source)
    }
}

/// The path of an address as actix-web compares paths: percent-decoded, except `%25`, `%2B` and `%2F`.
pub(super) fn decoded(uri: &Uri) -> Cow<'_, str> {
    if uri.path().contains('%') {
        Url::new(uri.clone()).path().to_owned().into()
    } else {
        uri.path().into()
    }
}

impl Served {
    /// Counts and logs a refused request, which is kept under this id; a flood of them is logged once per second.
    pub(super) fn refused(
        &self,
        error: &RequestError,
        head: &RequestHead,
        kept: Option<Uuid>,
        took: Duration,
    ) {
        let outcome = match error {
            RequestError::Refused(_) => RequestOutcome::InvalidSignature,
            RequestError::TooLarge { .. } => RequestOutcome::TooLarge,
            RequestError::TooSlow => RequestOutcome::TooSlow,
            RequestError::Broken => RequestOutcome::BrokenOff,
            RequestError::Busy => RequestOutcome::Unavailable,
        };
        self.metrics
            .answered(outcome, took, SystemClock.monotonic());
        self.verify.log_refusal(error, head, kept);
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sources()).finish()
    }
}
