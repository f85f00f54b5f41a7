//! The public routes: from a socket to an engine, and the answer.
//!
//! ```text
//! head → limits → VerifySignature → Verified → Envelope → Engine → answer
//! ```
//!
//! [`Receiver`] holds what the routes need and can be mounted into any actix `App`. The server of
//! [`crate::Offhook::run`] asks it directly: it has these routes and no others, and a router with its
//! layers takes a thirtieth of the time of a request.

mod answers;
mod requests;
mod route;
mod running;
mod silence;
mod source;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_http::header::HeaderValue;
use actix_http::{ConnectionType, Method, Request, RequestHead, Uri};
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::dialect::Dialect;
use crate::engine::{Accepted, Engine, Envelope, NotAccepted, Pipeline};
use crate::relay::Registry;
use crate::server::Owed;
use crate::signature::{
    Incoming, Limits, RequestError, Verified, Verifier, VerifySignature, check_declared_length,
};
use crate::telemetry::Throttle;
use crate::telemetry::{Metrics, RequestOutcome, SourceMetrics};
use crate::{Event, escape_controls};

use answers::{DUPLICATE, closing, error, method_not_allowed, not_found, received, unavailable};
use requests::{Mounted, Served};
use route::{Route, route};
use running::Finish;
use silence::{SourceHeard, Tell, Watchdog};

pub(crate) use running::Running;
pub(crate) use silence::{HeardOf, Silence};
pub use source::Source;

/// Receives the webhooks of all sources; mount it with [`Receiver::configure`].
///
/// ```no_run
/// use actix_web::{App, HttpServer, web};
/// use offhook::signature::Secret;
/// use offhook::{Offhook, Source};
/// # struct Greeter;
/// # impl offhook::EventHandler for Greeter {}
///
/// # #[actix_web::main]
/// # async fn main() -> std::io::Result<()> {
/// let receiver = Offhook::builder()
///     .source(Source::new("codeskytz").secret(Secret::new("a-long-secret").unwrap()))
///     .handler("greeter", Greeter)
///     .receiver()
///     .unwrap();
///
/// HttpServer::new(move || {
///     App::new()
///         .route("/", web::get().to(|| async { "my own page" }))
///         .configure(receiver.configure())
/// })
/// .bind("127.0.0.1:8080")?
/// .run()
/// .await
/// # }
/// ```
#[derive(Clone)]
pub struct Receiver(Arc<Inner>);

struct Inner {
    sources: Vec<Arc<Ingress>>,
    engine: Arc<dyn Engine>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    running: Arc<Running>,
    /// The journal, its consumers and its index, where there is one.
    pipeline: Option<Arc<Pipeline>>,
    silence: Arc<Silence>,
    /// Watches from when the receiver serves until it is dropped or stops.
    watchdog: Mutex<Option<Watchdog>>,
    /// Who is relayed to, where a journal keeps that.
    registry: Option<Arc<Registry>>,
}

/// One source as the routes see it.
struct Ingress {
    source: Source,
    verifier: Arc<Verifier>,
    verify: VerifySignature,
    dialect: Arc<dyn Dialect>,
    metrics: SourceMetrics,
    heard: Arc<SourceHeard>,
    /// One for each outcome: a flood of one kind does not hide another.
    refusals: [Throttle; RequestOutcome::ALL.len()],
}

impl Receiver {
    pub(crate) fn new(
        sources: Vec<Source>,
        engine: Arc<dyn Engine>,
        limits: Limits,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
        pipeline: Option<Arc<Pipeline>>,
        silence: Arc<Silence>,
    ) -> Self {
        let sources = sources.into_iter().enumerate().map(|(index, source)| {
            let verifier = Arc::new(source.verifier(limits.max_body));
            Arc::new(Ingress {
                verify: VerifySignature::new(Arc::clone(&verifier))
                    .limits(limits.clone())
                    .clock(Arc::clone(&clock)),
                verifier,
                dialect: Arc::clone(&source.dialect),
                metrics: SourceMetrics::new(metrics, &source.name),
                heard: silence.source(index),
                refusals: Default::default(),
                source,
            })
        });
        Self(Arc::new(Inner {
            sources: sources.collect(),
            engine,
            limits,
            clock,
            running: Arc::default(),
            pipeline,
            silence,
            watchdog: Mutex::default(),
            registry: None,
        }))
    }

    /// From now on says who falls silent, on the runtime of `home`.
    pub(crate) fn watch(&self, home: &Handle) {
        let weak = Arc::downgrade(&self.0);
        let tell: Tell = Box::new(move |event| {
            let (envelope, events) = Envelope::of_source(event);
            let work = weak.upgrade().map(|inner| inner.finish(envelope, events));
            Box::pin(async move {
                match work {
                    Some(work) => work.await.map(|_| ()),
                    None => Err(NotAccepted::Unavailable),
                }
            })
        });
        *self.watchdog() = Watchdog::start(&self.0.silence, tell, home);
    }

    /// Ends the watch; an event that it has begun to hand over is seen through like a sender's.
    pub(crate) fn unwatch(&self) {
        *self.watchdog() = None;
    }

    fn watchdog(&self) -> MutexGuard<'_, Option<Watchdog>> {
        let watchdog = self.0.watchdog.lock();
        watchdog.unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard of all sources.
    pub(crate) fn silence(&self) -> &Silence {
        &self.0.silence
    }

    /// With subscriptions, which live as long as it does.
    pub(crate) fn with_registry(mut self, registry: Option<Arc<Registry>>) -> Self {
        let inner = Arc::get_mut(&mut self.0);
        inner.expect("nobody else has it yet").registry = registry;
        self
    }

    /// Adds the routes of every source to an actix `App`.
    ///
    /// The limits on bodies hold here too; those on connections and slow heads are the host's
    /// `HttpServer`'s.
    pub fn configure(&self) -> impl FnOnce(&mut web::ServiceConfig) + 'static {
        let receiver = self.clone();
        move |app| {
            let sources = receiver.0.sources.iter();
            let mut routes: Vec<_> = sources
                .flat_map(|ingress| ingress.source.patterns().map(|path| (path, ingress)))
                .collect();
            // The first match counts, and exact paths win over the patterns of others.
            routes.sort_by_key(|(path, _)| path.matches('{').count());
            for (path, ingress) in routes {
                app.service(receiver.resource(&path, ingress));
            }
        }
    }

    fn resource(&self, path: &str, ingress: &Arc<Ingress>) -> actix_web::Resource {
        let (receiver, ingress) = (self.clone(), Arc::clone(ingress));
        let receive = move |request: HttpRequest, payload: web::Payload| {
            let (receiver, ingress) = (receiver.clone(), Arc::clone(&ingress));
            async move {
                let mut request = Mounted::new(request, payload);
                receiver.receive(&ingress, &mut request).await
            }
        };
        web::resource(path)
            .route(web::post().to(receive))
            .default_service(web::to(|| async { method_not_allowed() }))
    }

    /// Answers as the routes of [`Receiver::configure`] would, and 404 elsewhere. `owed` is what the
    /// request's connection owes, where that keeps the time.
    pub(crate) async fn answer(&self, request: Request, owed: Option<&Owed>) -> HttpResponse {
        let Some(route) = self.route(request.uri()) else {
            return not_found();
        };
        if request.method() != Method::POST {
            return method_not_allowed();
        }
        let mut request = Served {
            request,
            token: route.token,
            session: route.session,
            owed,
        };
        self.receive(route.ingress, &mut request).await
    }

    /// What a head may be told before its body is asked for (`Expect: 100-continue`).
    pub(crate) fn before_continue(&self, head: &RequestHead) -> Result<(), Box<HttpResponse>> {
        let headers = head.headers();
        let Some(Route { ingress, token, .. }) = self.route(&head.uri) else {
            return Err(closing(not_found()));
        };
        if head.method != Method::POST {
            return Err(closing(method_not_allowed()));
        }
        let started = self.0.clock.monotonic();
        check_declared_length(headers, self.0.limits.max_body)
            .and_then(|()| {
                let claim = ingress
                    .verifier
                    .claim(headers, token.as_deref(), self.0.clock.now());
                Ok(claim.map(|_| ())?)
            })
            .map_err(|error: RequestError| {
                ingress.refused(&error, head.peer_addr, self.0.since(started));
                Box::new(error.error_response())
            })
    }

    fn route(&self, uri: &Uri) -> Option<Route<'_>> {
        route(&self.0.sources, uri)
    }

    /// Why new events should not be sent here now.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        match self.0.running.is_draining() {
            true => Some("the server stops"),
            false => self.0.engine.not_ready(),
        }
    }

    /// What an administrator may ask about kept events; `None` where none are kept.
    pub(crate) fn pipeline(&self) -> Option<&Pipeline> {
        self.0.pipeline.as_deref()
    }

    /// Who is relayed to; `None` where nothing is kept.
    pub(crate) fn registry(&self) -> Option<&Arc<Registry>> {
        self.0.registry.as_ref()
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.0.running
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }
}

impl Receiver {
    /// Has a request verified, accepts its event, and answers.
    async fn receive(&self, ingress: &Ingress, request: &mut impl Incoming) -> HttpResponse {
        let begun = request.owed().and_then(Owed::begun);
        // By the same clock as the request's beginning, which is the connection's.
        let started = begun.unwrap_or_else(|| SystemClock.monotonic());
        let verified = match ingress.verify.judge(request, started).await {
            Ok(verified) => verified,
            Err(error) => {
                let took = SystemClock.monotonic().saturating_duration_since(started);
                ingress.refused(&error, request.head().peer_addr, took);
                return error.error_response();
            }
        };
        let (outcome, mut response) = self.accept(ingress, verified).await;
        let now = SystemClock.monotonic();
        let took = now.saturating_duration_since(started);
        ingress.metrics.answered(outcome, took);
        if let Some(owed) = request.owed() {
            owed.answered_at(now);
        }
        if self.0.running.is_draining() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// Opens the envelope, hands it to the engine, and turns its word into the answer.
    async fn accept(
        &self,
        ingress: &Ingress,
        verified: Verified,
    ) -> (RequestOutcome, HttpResponse) {
        let inner = self.0.as_ref();
        let received_at = verified.received_at();
        ingress.metrics.body(verified.body().len());
        let max_body = inner.limits.max_body;
        let (envelope, events) = Envelope::open(verified, ingress.dialect.as_ref(), max_body);
        let at = inner.clock.monotonic();
        let session = envelope.received().session.as_deref();
        ingress.heard.hear(at, received_at, session);
        let (id, bytes) = (envelope.id(), envelope.received().body.len());
        log::debug!("event {id}: {bytes} bytes from {}", ingress.source.name);
        if let Some(odd) = envelope.odd() {
            log::debug!("event {id}: {}", escape_controls(&odd.to_string()));
        }
        let accepted = match inner.running.has_room() {
            true => inner.finish(envelope, events).await,
            false => Err(NotAccepted::Unavailable),
        };
        match accepted {
            Ok(Accepted::New) => (RequestOutcome::Received, received()),
            Ok(Accepted::Duplicate) => {
                let mut response = received();
                let headers = response.headers_mut();
                headers.insert(DUPLICATE, HeaderValue::from_static("true"));
                (RequestOutcome::Duplicate, response)
            }
            Err(NotAccepted::HandlerFailed) => {
                let response = error(HttpResponse::InternalServerError(), "Handler failed");
                (RequestOutcome::HandlerFailed, response)
            }
            Err(NotAccepted::Unavailable) => (RequestOutcome::Unavailable, unavailable()),
        }
    }
}

impl Inner {
    fn finish(&self, envelope: Envelope, events: Vec<Event>) -> Finish {
        Finish::new(&self.running, Arc::clone(&self.engine), envelope, events)
    }

    fn since(&self, started: Instant) -> Duration {
        self.clock.monotonic().saturating_duration_since(started)
    }
}

impl Ingress {
    /// Counts and logs a request that was not let through; a flood of them is logged once a second.
    fn refused(&self, error: &RequestError, peer: Option<SocketAddr>, took: Duration) {
        let outcome = match error {
            RequestError::Refused(_) => RequestOutcome::InvalidSignature,
            RequestError::TooLarge { .. } => RequestOutcome::TooLarge,
            RequestError::TooSlow => RequestOutcome::TooSlow,
            RequestError::Broken => RequestOutcome::BrokenOff,
            RequestError::Busy => RequestOutcome::Unavailable,
        };
        self.metrics.answered(outcome, took);
        if let Some(unsaid) = self.refusals[outcome as usize].pass() {
            let (name, status) = (&self.source.name, error.status_code().as_u16());
            let (id, more) = (Uuid::now_v7(), Throttle::more(unsaid));
            let peer =
                peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
            log::warn!("request {id} to {name} from {peer}: answered {status}: {error}{more}");
        }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.0.sources.iter().map(|ingress| &ingress.source);
        f.debug_struct("Receiver")
            .field("sources", &sources.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
