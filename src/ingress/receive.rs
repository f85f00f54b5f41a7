//! [`Ingress`]: answers the requests of all sources.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix_http::header::HeaderValue;
use actix_http::{ConnectionType, Method, Payload, RequestHead, Uri};
use actix_web::{HttpResponse, ResponseError as _};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::answers::{
    DUPLICATE, echo, handler_failed, handshake, method_not_allowed, received, unavailable,
};
use super::running::Running;
use super::silence::{NextSilence, Silence, Tell, Watchdog};
use super::source::Source;
use super::sources::{Route, Sources, Table, decoded};
use super::taken::Taken;
use crate::clock::{Clock, SystemClock};
use crate::engine::{Accepted, Engine, Envelope, NotAccepted};
use crate::error::{Error, Problems};
use crate::refused::{Arrived, Cause, RefusedRequests};
use crate::signature::{
    Admitted, Challenge, Deadline, InFlight, Incoming, Limits, Refusal, RefusedRequest, Reply,
    RequestError, Unverified, Verified,
};
use crate::telemetry::{Metrics, RequestOutcome};

/// Answers the requests of all sources.
#[derive(Debug)]
pub(crate) struct Ingress {
    sources: Sources,
    engine: Arc<dyn Engine>,
    in_flight: InFlight,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    running: Running,
    silence: Arc<Silence>,
    refused: RefusedRequests,
    /// One recovery at a time, so that no request is recovered twice.
    pub(super) recovering: tokio::sync::Mutex<()>,
    /// Runs from the time the sources are served until this is dropped or stops.
    watchdog: Mutex<Option<Watchdog>>,
}

impl Ingress {
    /// # Errors
    ///
    /// When two sources have the same path.
    pub(crate) fn new(
        sources: Vec<Source>,
        engine: Arc<dyn Engine>,
        limits: &Limits,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
        silence: Arc<Silence>,
        refused: RefusedRequests,
    ) -> Result<Self, Error> {
        let ingress = Self {
            sources: Sources::default(),
            engine,
            in_flight: limits.in_flight.clone(),
            metrics: Arc::clone(metrics),
            clock,
            running: Running::default(),
            silence,
            refused,
            recovering: tokio::sync::Mutex::default(),
            watchdog: Mutex::default(),
        };
        ingress.replace(ingress.prepare(sources, limits, false)?);
        Ok(ingress)
    }

    /// Builds what serves these sources. Nothing is served by it yet, and after a dry run nothing is to be.
    ///
    /// # Errors
    ///
    /// When two sources have the same path.
    pub(crate) fn prepare(
        &self,
        sources: Vec<Source>,
        limits: &Limits,
        dry_run: bool,
    ) -> Result<NextSources, Problems> {
        let silence = self.silence.next(&sources);
        // What is not going to run has no series.
        let metrics = if dry_run {
            &Metrics::new()
        } else {
            &self.metrics
        };
        let table = Table::build(
            sources,
            self.engine.compares_contents(),
            limits,
            &self.clock,
            metrics,
            &silence,
            &self.sources.table(),
        );
        let table = table.map_err(|error| Problems::at("sources", error.to_string()))?;
        Ok(NextSources { table, silence })
    }

    /// Serves these sources from the next request on. A request that was routed before keeps the sources and the
    /// limits that it was routed with.
    pub(crate) fn replace(&self, next: NextSources) {
        let before = self.sources.table();
        let gone = before.names_not_in(&next.table);
        let known = next.table.known();
        self.sources.replace(next.table);
        self.refused.know(known);
        self.silence.replace(next.silence);
        for name in gone {
            self.metrics.source_removed(name);
        }
        if let Some(watchdog) = self.watchdog().as_mut() {
            watchdog.watch_new(&self.silence);
        }
    }

    /// Whether the path of the address ends with the path of a source.
    pub(crate) fn may_lead(&self, uri: &Uri) -> bool {
        self.sources.may_lead(&decoded(uri))
    }

    /// Answers a request with this path below the mount point; `None` if no source has it.
    pub(crate) async fn answer_at(
        &self,
        path: &str,
        head: &RequestHead,
        payload: Payload,
    ) -> Option<HttpResponse> {
        let begun = self.begin_at(path.into(), head, payload, None).await?;
        Some(match begun {
            Begun::Taken(taken) => self.finish(taken, None).await,
            Begun::Answered(answer) => answer,
        })
    }

    /// Reads and verifies a request; `None` if no source has its path. `deadline` is set when the connection
    /// enforces the time limit.
    ///
    /// While the engine has the event, nothing of the request's head is needed: [`finish`](Self::finish) waits without it.
    pub(crate) fn begin<'r>(
        &'r self,
        head: &'r RequestHead,
        payload: Payload,
        deadline: Option<&'r dyn Deadline>,
    ) -> impl Future<Output = Option<Begun>> + use<'r> {
        self.begin_at(decoded(&head.uri), head, payload, deadline)
    }

    async fn begin_at(
        &self,
        path: Cow<'_, str>,
        head: &RequestHead,
        payload: Payload,
        deadline: Option<&dyn Deadline>,
    ) -> Option<Begun> {
        let path = &*path;
        // Uses the connection's clock, which also timed the start of the head.
        let begun = deadline.and_then(|deadline| deadline.begun());
        let started = begun.unwrap_or_else(|| SystemClock.monotonic());
        let table = self.sources.table();
        let mut route = table.route(path)?;
        let admitted = match self.admit(path, &route, head, started) {
            Ok(admitted) => admitted,
            Err(answer) => return Some(Begun::Answered(*answer)),
        };
        let request = Incoming {
            head,
            payload,
            session: route.session.take(),
            started,
            deadline,
        };
        let (served, engine) = (Arc::clone(route.served), Arc::clone(&self.engine));
        let at = self.clock.monotonic();
        let take = move |verified: Verified| {
            let handshaken = served.handshake.and_then(|of| of(verified.body()));
            match handshaken {
                Some(answer) => Err(answer),
                None => Ok(Taken::new(verified, served, engine, started, at)),
            }
        };
        let judged = route.served.verify.judge_body(admitted, request, take);
        Some(match judged.await {
            Ok(Ok(taken)) => Begun::Taken(taken),
            // It is no event, so it is not counted as one.
            Ok(Err(answer)) => {
                let mut answer = handshake(answer);
                self.answered(&mut answer, deadline, SystemClock.monotonic());
                Begun::Answered(answer)
            }
            Err(refused) => {
                let answer = refused.error.error_response();
                // Its session is gone with the request.
                if let Some(route) = table.route(path) {
                    self.refuse(path, &route, head, refused, started);
                }
                Begun::Answered(answer)
            }
        })
    }

    /// Has the engine do its work on a verified body, and answers the request that it came with.
    pub(crate) async fn finish(
        &self,
        taken: Taken,
        deadline: Option<&dyn Deadline>,
    ) -> HttpResponse {
        let Taken {
            served,
            started,
            work,
        } = taken;
        let accepted = if self.running.has_room() {
            self.running.finish(work).await
        } else {
            Err(NotAccepted::Unavailable)
        };
        let (outcome, mut response) = self.answer_to(accepted, served.reply);
        let now = SystemClock.monotonic();
        let took = now.saturating_duration_since(started);
        served.metrics.answered(outcome, took, now);
        self.answered(&mut response, deadline, now);
        response
    }

    /// A verified request is answered.
    fn answered(&self, response: &mut HttpResponse, deadline: Option<&dyn Deadline>, now: Instant) {
        if let Some(deadline) = deadline {
            deadline.answered_at(now);
        }
        if self.running.is_draining() {
            close_after(response);
        }
    }

    /// The name and the path of an unsigned source, if only its token is missing at the end of the address.
    pub(crate) fn without_token(&self, uri: &Uri) -> Option<(String, String)> {
        let table = self.sources.table();
        let source = table.without_token(&decoded(uri))?;
        let [path, _] = source.patterns();
        Some((source.name.clone(), path))
    }

    /// The checks before the body is asked for (`Expect: 100-continue`); `None` if no source has the path. A
    /// refused request closes the connection, because the body may still arrive.
    pub(crate) fn before_continue(
        &self,
        head: &RequestHead,
    ) -> Option<Result<(), Box<HttpResponse>>> {
        let (table, now) = (self.sources.table(), SystemClock.monotonic());
        let path = decoded(&head.uri);
        let route = table.route(&path)?;
        let admitted = self.admit(&path, &route, head, now).map(drop);
        Some(admitted.map_err(|mut answer| {
            close_after(&mut answer);
            answer
        }))
    }

    /// The checks that need only the head, in this order: the method, the declared length, and the claims of the
    /// signature's headers. A request that fails is counted and answered.
    fn admit(
        &self,
        path: &str,
        route: &Route<'_>,
        head: &RequestHead,
        started: Instant,
    ) -> Result<Admitted, Box<HttpResponse>> {
        let served = route.served;
        let is_probe = served.source.probe && matches!(head.method, Method::GET | Method::HEAD);
        if head.method == Method::GET
            && let Some(answer) = self.challenge(route, head, started, is_probe)
        {
            return Err(Box::new(answer));
        }
        if head.method != Method::POST && !is_probe {
            let answer = method_not_allowed(served.source.probe, served.has_challenge);
            self.keep(path, Some(route), head, Cause::Method, None);
            return Err(Box::new(answer));
        }
        let token = route.token.as_deref();
        let checked = if is_probe {
            served.verify.check_token(token)
        } else {
            served.verify.check_head(head, token).map(Some)
        };
        match checked {
            Ok(Some(admitted)) => Ok(admitted),
            Ok(None) => Err(Box::new(HttpResponse::Ok().finish())),
            Err(error) => {
                let answer = error.error_response();
                self.refuse(path, route, head, error.into(), started);
                Err(Box::new(answer))
            }
        }
    }

    /// The answer to a GET that is a challenge, or that a scheme with a challenge does not take for one. It is not
    /// kept: nothing can be recovered of it, and its query holds a secret.
    fn challenge(
        &self,
        route: &Route<'_>,
        head: &RequestHead,
        started: Instant,
        is_probe: bool,
    ) -> Option<HttpResponse> {
        let scheme = &route.served.source.scheme;
        if !route.served.has_challenge {
            return None;
        }
        match scheme.challenge(head.uri.query().unwrap_or_default()) {
            Challenge::Never => None,
            Challenge::Absent if is_probe => None,
            Challenge::Echo(text) => Some(echo(text)),
            Challenge::Absent | Challenge::Refused => {
                let error = RequestError::from(Refusal::Challenge);
                route.served.refused(&error, head, None, since(started));
                Some(error.error_response())
            }
        }
    }

    /// Counts, keeps and logs a request that was refused, after its answer was made.
    fn refuse(
        &self,
        path: &str,
        route: &Route<'_>,
        head: &RequestHead,
        refused: RefusedRequest,
        started: Instant,
    ) {
        let RefusedRequest { error, request } = refused;
        let took = since(started);
        let kept = Cause::of(&error);
        let kept = kept.and_then(|cause| self.keep(path, Some(route), head, cause, request));
        route.served.refused(&error, head, kept, took);
    }

    /// Keeps a refused request, as far as there is room. Returns its id.
    fn keep(
        &self,
        path: &str,
        route: Option<&Route<'_>>,
        head: &RequestHead,
        cause: Cause,
        request: Option<Box<Unverified>>,
    ) -> Option<Uuid> {
        self.refused.take(Arrived {
            head,
            path,
            source: route.map(|route| &route.served.name),
            session: route.and_then(|route| route.session.as_deref()),
            needed: route.map_or(&[], |route| &route.served.needed),
            cause,
            request,
        })
    }

    /// Keeps a request to a path that no source has.
    pub(crate) fn misdirected(&self, head: &RequestHead) {
        self.keep(&decoded(&head.uri), None, head, Cause::Path, None);
    }

    /// The refused requests that are kept.
    pub(crate) fn refused(&self) -> &RefusedRequests {
        &self.refused
    }

    /// The sources that are served now.
    pub(super) fn table(&self) -> Arc<Table> {
        self.sources.table()
    }

    pub(super) fn now(&self) -> crate::Timestamp {
        self.clock.now()
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    fn answer_to(
        &self,
        accepted: Result<Accepted, NotAccepted>,
        reply: Reply,
    ) -> (RequestOutcome, HttpResponse) {
        match accepted {
            Ok(Accepted::New) => (RequestOutcome::Received, received(reply)),
            Ok(Accepted::Duplicate) => {
                let mut response = received(reply);
                let headers = response.headers_mut();
                headers.insert(DUPLICATE, HeaderValue::from_static("true"));
                (RequestOutcome::Duplicate, response)
            }
            Err(NotAccepted::HandlerFailed) => (RequestOutcome::HandlerFailed, handler_failed()),
            Err(NotAccepted::Unavailable) => {
                let retry_after = self.engine.retry_after();
                (RequestOutcome::Unavailable, unavailable(retry_after))
            }
        }
    }

    /// Starts to watch, on the runtime `home`, for sources that fall silent.
    pub(crate) fn watch(self: &Arc<Self>, home: &Handle) {
        let weak = Arc::downgrade(self);
        let tell: Tell = Arc::new(move |event| {
            let ingress = weak.upgrade();
            Box::pin(async move {
                let ingress = ingress.ok_or(NotAccepted::Unavailable)?;
                let (envelope, events) = Envelope::of_source(event);
                let work = Arc::clone(&ingress.engine).accept(envelope, events.into());
                ingress.running.finish(work).await.map(|_| ())
            })
        });
        *self.watchdog() = Some(Watchdog::start(&self.silence, tell, home));
    }

    /// Ends the watch. An event that is already with the engine is still completed.
    pub(crate) fn unwatch(&self) {
        *self.watchdog() = None;
    }

    fn watchdog(&self) -> MutexGuard<'_, Option<Watchdog>> {
        let watchdog = self.watchdog.lock();
        watchdog.unwrap_or_else(PoisonError::into_inner)
    }

    /// When each source was last seen.
    pub(crate) fn silence(&self) -> &Silence {
        &self.silence
    }

    /// Why new events should not be sent here now.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        if self.running.is_leaving() {
            return Some("the server stops");
        }
        self.engine.not_ready()
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// The room for bodies in memory.
    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }
}

/// How far a request is.
pub(crate) enum Begun {
    /// Its event is to be given to the engine, by [`Ingress::finish`].
    Taken(Taken),
    Answered(HttpResponse),
}

/// The sources to serve next, with their limits.
#[derive(Debug)]
pub(crate) struct NextSources {
    table: Table,
    silence: NextSilence,
}

fn since(started: Instant) -> std::time::Duration {
    SystemClock.monotonic().saturating_duration_since(started)
}

fn close_after(response: &mut HttpResponse) {
    let head = response.head_mut();
    head.set_connection_type(ConnectionType::Close);
}
