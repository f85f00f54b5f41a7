//! The public routes: from a socket to an engine, and the answer.
//!
//! ```text
//! head → limits → VerifySignature → Verified → Envelope → Engine → answer
//! ```
//!
//! [`Receiver`] holds what the routes need and can be mounted into any actix `App`; the server of
//! [`crate::Offhook::run`] mounts the same.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_http::header::{self, HeaderName, HeaderValue};
use actix_http::{ConnectionType, Method, RequestHead, Uri};
use actix_web::dev::Url;
use actix_web::{HttpRequest, HttpResponse, ResponseError as _, web};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::clock::{Clock, SystemClock};
use crate::dialect::Dialect;
use crate::journal::{Accepted, Engine, NotAccepted, Work};
use crate::metrics::{Metrics, RequestOutcome, SourceMetrics};
use crate::records::Records;
#[cfg(feature = "relay")]
use crate::relay::Registry;
use crate::signature::{
    Limits, RequestError, Verified, Verifier, VerifySignature, check_declared_length,
};
use crate::silence::{Silence, SourceHeard, Tell, Watchdog};
use crate::throttle::Throttle;
use crate::{Envelope, Event, Source, escape_controls};

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
    records: Option<Arc<Records>>,
    silence: Arc<Silence>,
    /// Watches from when the receiver serves until it is dropped or stops.
    watchdog: Mutex<Option<Watchdog>>,
    /// Who is relayed to, where a journal keeps that.
    #[cfg(feature = "relay")]
    registry: Option<Arc<Registry>>,
}

/// One source as the routes see it.
struct Ingress {
    source: Source,
    verifier: Arc<Verifier>,
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
        records: Option<Arc<Records>>,
        silence: Arc<Silence>,
    ) -> Self {
        let sources = sources.into_iter().enumerate().map(|(index, source)| {
            Arc::new(Ingress {
                verifier: Arc::new(source.verifier(limits.max_body)),
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
            records,
            silence,
            watchdog: Mutex::default(),
            #[cfg(feature = "relay")]
            registry: None,
        }))
    }

    /// From now on says who falls silent, on the runtime of `home`.
    pub(crate) fn watch(&self, home: &Handle) {
        let weak = Arc::downgrade(&self.0);
        let tell: Tell = Box::new(move |event| {
            let (envelope, events) = Envelope::of_source(event);
            let work = weak
                .upgrade()
                .map(|inner| Finish::new(&inner, envelope, events));
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
    #[cfg(feature = "relay")]
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
        let source = Arc::clone(ingress);
        let verify = VerifySignature::new(Arc::clone(&ingress.verifier))
            .limits(self.0.limits.clone())
            .clock(Arc::clone(&self.0.clock))
            .on_refusal(Arc::new(move |error, peer, took| {
                source.refused(error, peer, took);
            }));
        let here = Rc::new((self.clone(), Arc::clone(ingress)));
        let receive = move |verified| receive(Rc::clone(&here), verified);
        web::resource(path)
            .route(web::post().service(verify.before(receive)))
            .default_service(web::to(|| async { method_not_allowed() }))
    }

    /// What a head may be told before its body is asked for (`Expect: 100-continue`).
    pub(crate) fn before_continue(&self, head: &RequestHead) -> Result<(), Box<HttpResponse>> {
        let headers = head.headers();
        let Some((ingress, token)) = self.route(&head.uri) else {
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

    /// The source that an address leads to, and the token in it; the same as the routes of
    /// `configure`, by the path as actix matches it.
    fn route(&self, uri: &Uri) -> Option<(&Ingress, Option<String>)> {
        let url = Url::new(uri.clone());
        let path = url.path();
        let sources = || self.0.sources.iter().map(Arc::as_ref);
        let exact = sources()
            .find(|ingress| ingress.source.path_token.is_none() && ingress.source.path == path);
        if let Some(ingress) = exact {
            return Some((ingress, None));
        }
        let matching = sources().filter_map(|ingress| {
            let rest = path.strip_prefix(ingress.source.path.as_str())?;
            let segments: Vec<_> = rest.strip_prefix('/')?.split('/').collect();
            let whole = segments.iter().all(|segment| !segment.is_empty());
            match (&ingress.source.path_token, &segments[..]) {
                (None, [_session]) if whole => Some((ingress, None)),
                (Some(_), [token] | [token, _]) if whole => {
                    Some((ingress, Some((*token).to_owned())))
                }
                _ => None,
            }
        });
        matching.max_by_key(|(ingress, _)| ingress.source.path.len())
    }

    /// Why new events should not be sent here now.
    pub(crate) fn not_ready(&self) -> Option<&'static str> {
        match self.0.running.is_draining() {
            true => Some("the server stops"),
            false => self.0.engine.not_ready(),
        }
    }

    /// What an administrator may ask about kept events; `None` where none are kept.
    pub(crate) fn records(&self) -> Option<&Records> {
        self.0.records.as_deref()
    }

    /// Who is relayed to; `None` where nothing is kept.
    #[cfg(feature = "relay")]
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

/// Opens the envelope, hands it to the engine, and turns its word into the answer.
async fn receive(
    here: Rc<(Receiver, Arc<Ingress>)>,
    verified: Verified,
) -> (HttpResponse, Instant) {
    let (Receiver(inner), ingress) = here.as_ref();
    let started = verified.started();
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
        true => Finish::new(inner, envelope, events).await,
        false => Err(NotAccepted::Unavailable),
    };
    let (outcome, mut response) = match accepted {
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
    };
    // By the same clock as the request's beginning, which is the connection's.
    let now = SystemClock.monotonic();
    let took = started.map(|started| now.saturating_duration_since(started));
    ingress.metrics.answered(outcome, took.unwrap_or_default());
    if inner.running.is_draining() {
        response
            .head_mut()
            .set_connection_type(ConnectionType::Close);
    }
    (response, now)
}

impl Inner {
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

fn unavailable() -> HttpResponse {
    let mut response = HttpResponse::ServiceUnavailable();
    response.insert_header((header::RETRY_AFTER, "1"));
    error(response, "Temporarily unavailable")
}

/// An answer after which the connection is closed.
fn closing(mut response: HttpResponse) -> Box<HttpResponse> {
    response
        .head_mut()
        .set_connection_type(ConnectionType::Close);
    Box::new(response)
}

fn received() -> HttpResponse {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, JSON))
        .body(Bytes::from_static(b"{\"status\":\"received\"}"))
}

const DUPLICATE: HeaderName = HeaderName::from_static("offhook-duplicate");

pub(crate) async fn not_found_page(_: HttpRequest) -> HttpResponse {
    not_found()
}

fn not_found() -> HttpResponse {
    error(HttpResponse::NotFound(), "Not found")
}

fn method_not_allowed() -> HttpResponse {
    let mut response = HttpResponse::MethodNotAllowed();
    response.insert_header((header::ALLOW, "POST"));
    error(response, "Method not allowed")
}

fn error(mut response: actix_web::HttpResponseBuilder, text: &str) -> HttpResponse {
    response.json(serde_json::json!({ "error": text }))
}

/// What a receiver is doing, for a graceful stop.
#[derive(Debug, Default)]
pub(crate) struct Running {
    accepting: AtomicUsize,
    draining: AtomicBool,
    idle: Notify,
    /// Where events go on whose senders have hung up.
    home: OnceLock<Handle>,
}

impl Running {
    /// Events whose senders hang up go on here, which outlives the workers.
    pub(crate) fn settle(&self, home: Handle) {
        // The first server that runs the receiver is its home.
        let _ = self.home.set(home);
    }

    fn has_room(&self) -> bool {
        self.accepting.load(Ordering::Relaxed) < MAX_ACCEPTING
    }

    /// From now on connections are closed after their next answer.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until no event is with the engine.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.accepting.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// An engine's work on one event. A verified event is seen through even if its sender hangs up: what
/// is left when this is dropped goes on as a task of its own.
struct Finish {
    work: Option<Work>,
    counted: Option<Counted>,
}

impl Finish {
    fn new(inner: &Inner, envelope: Envelope, events: Vec<Event>) -> Self {
        let engine = Arc::clone(&inner.engine);
        Self {
            counted: Some(Counted::new(&inner.running)),
            work: Some(engine.accept(envelope, events)),
        }
    }
}

impl Future for Finish {
    type Output = Result<Accepted, NotAccepted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("not polled after it was ready");
        let outcome = std::task::ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let (Some(work), Some(counted)) = (self.work.take(), self.counted.take()) else {
            return;
        };
        // What runs the server outlives its workers; a receiver in somebody's own `App` has only the
        // worker it is on.
        let home = counted.0.home.get().cloned();
        let Some(home) = home.or_else(|| Handle::try_current().ok()) else {
            return;
        };
        home.spawn(async move {
            let _counted = counted;
            // Its outcome is logged where it arises, and nobody waits for it.
            let _ = work.await;
        });
    }
}

/// One event that is with the engine.
struct Counted(Arc<Running>);

impl Counted {
    fn new(running: &Arc<Running>) -> Self {
        running.accepting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.accepting.fetch_sub(1, Ordering::Release) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// How many events are with the engine at most, those included whose senders have hung up. More are
/// answered 503.
const MAX_ACCEPTING: usize = 65_536;

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.0.sources.iter().map(|ingress| &ingress.source);
        f.debug_struct("Receiver")
            .field("sources", &sources.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
