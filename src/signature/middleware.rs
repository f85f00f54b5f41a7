//! [`VerifySignature`]: the actix middleware that verifies each request before any other code sees it.
//!
//! It reads the body within [`Limits`], lets the [`Verifier`] check it, and puts a [`Verified`] into the
//! request. The order of its checks is guaranteed: the declared length, then the signature's header,
//! then (the body is read only now) the body's length and time, then the signature over the bytes as
//! received.

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Instant;

use actix_http::RequestHead;
use actix_http::header::{HeaderMap, HeaderName};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use super::body::{Expected, Limits, RequestError, check_declared_length, read_body};
use super::kept::{bytes_of, kept_headers, kept_together};
use super::refusals::Refusals;
use super::scheme::{Headers, Refusal, only};
use super::verifier::{Claimed, Unproven, Unverified, Verified, Verifier};
use crate::clock::{Clock, SystemClock};

/// The actix middleware that lets only verified bodies through.
///
/// Works alone, in any actix `App`, on a route or a resource. The path segment `{session}` is the
/// session, the segment `{token}` is the token of an unsigned source.
///
/// ```
/// use actix_web::{App, HttpResponse, web};
/// use offhook::signature::{Secret, Verified, Verifier, VerifySignature};
///
/// async fn webhook(verified: Verified) -> HttpResponse {
///     println!("{} verified bytes", verified.body().len());
///     HttpResponse::Ok().finish()
/// }
///
/// let verifier = Verifier::new("gateway").secret(Secret::new("your-secret-key").unwrap());
/// let app = App::new().service(
///     web::resource(["/webhook", "/webhook/{session}"])
///         .route(web::post().to(webhook).wrap(VerifySignature::new(verifier))),
/// );
/// ```
///
/// Handlers behind it can also read the body with actix's own extractors (`web::Bytes`, `web::Json`):
/// the middleware puts the body back after it is verified.
///
/// A refused request is answered as by the whole server, and logged as a warning: the source's name, the
/// sender's address and the reason, for each kind of reason at most once a second over all clones.
#[derive(Clone)]
pub struct VerifySignature {
    verifier: Arc<Verifier>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    refusals: Arc<Refusals>,
}

impl VerifySignature {
    /// Verifies with `verifier`, within the default [`Limits`].
    pub fn new(verifier: impl Into<Arc<Verifier>>) -> Self {
        Self {
            verifier: verifier.into(),
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            refusals: Arc::default(),
        }
    }

    /// Reads bodies within these limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Counts the refusals that are not logged together with those of `other`, which it replaces.
    pub(crate) fn in_place_of(mut self, other: &Self) -> Self {
        self.refusals = Arc::clone(&other.refusals);
        self
    }

    /// Takes the time from another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Logs a refused request, with the id under which it is kept.
    pub(crate) fn log_refusal(&self, error: &RequestError, head: &RequestHead, kept: Option<Uuid>) {
        let header = || self.verifier.failed_header(head, self.clock.now());
        let (source, peer) = (self.verifier.source(), head.peer_addr);
        let is_lost = self.verifier.gives_up_when_refused();
        self.refusals
            .log(source, error, peer, header, kept, is_lost);
    }

    /// The checks that need only the head, in this order: the declared length, then the claims of the
    /// signature's headers. `Expect: 100-continue` is answered after these checks.
    ///
    /// A header that is malformed, or whose time is over, is refused after the body: so the mistake can be
    /// explained later, and such a request costs no more than one with a wrong signature.
    pub(crate) fn check_head(
        &self,
        head: &RequestHead,
        token: Option<&str>,
    ) -> Result<Admitted, RequestError> {
        let received_at = self.clock.now();
        let declared = check_declared_length(head.headers(), self.limits.max_body)?;
        let claimed = match self.verifier.claim(head, token, received_at) {
            Err(refusal @ (Refusal::Malformed | Refusal::Expired)) => Err(refusal),
            other => Ok(other?),
        };
        Ok(Admitted {
            claimed,
            declared,
            received_at,
        })
    }

    /// Checks the path token of a request that has no body to verify. Returns `None`.
    pub(crate) fn check_token(
        &self,
        token: Option<&str>,
    ) -> Result<Option<Admitted>, RequestError> {
        self.verifier.check_token(token)?;
        Ok(None)
    }

    /// Verifies the body of a request whose head has passed [`check_head`](Self::check_head). Then it does
    /// `then`, which may take long where the body is heavy: both are then done off the thread that serves the
    /// connection, so that others are served meanwhile, and by as many as there are cores at the same time, so
    /// that what is decoded does not add up.
    ///
    /// Not an `async fn`, whose future would have two places for each argument.
    pub(crate) fn judge_body<T: Send + 'static>(
        &self,
        admitted: Admitted,
        request: Incoming<'_>,
        then: impl FnOnce(Verified) -> T + Send + 'static,
    ) -> impl Future<Output = Result<T, RefusedRequest>> {
        let kept = self.kept_headers(request.head.headers());
        let peer = request.head.peer_addr.map(|peer| peer.ip());
        let Incoming {
            mut payload,
            session,
            started,
            deadline,
            ..
        } = request;
        // The connection's deadline is that of the body, if it has one.
        let begun = deadline.is_none().then_some(started);
        let expected = Expected {
            declared: admitted.declared,
            spare: bytes_of(&kept),
        };
        async move {
            let read = read_body(&mut payload, expected, &self.limits, peer, begun).await;
            drop(payload);
            let (body, held) = if let Some(deadline) = deadline {
                // The connection aborts a body whose time is over.
                if matches!(read, Err(RequestError::Broken)) && deadline.is_late() {
                    return Err(RequestError::TooSlow.into());
                }
                let read = read?;
                deadline.body_ended();
                read
            } else {
                read?
            };
            let (body, headers) = kept_together(body, kept);
            let mut unverified = Unverified::new(body, admitted.received_at);
            unverified.session = session;
            unverified.headers = headers;
            unverified.held = Some(held);
            let claimed = match admitted.claimed {
                Ok(claimed) => claimed,
                Err(refusal) => return Err(Unproven(refusal, unverified).into()),
            };
            let done = if unverified.is_heavy() {
                Box::pin(self.off_thread(claimed, unverified, then)).await?
            } else {
                then(self.verifier.prove(&claimed, unverified)?)
            };
            let is_news = deadline.is_none_or(|deadline| deadline.proven(started));
            if is_news {
                self.limits.in_flight.proven(peer);
            }
            Ok(done)
        }
    }

    /// Verifies a heavy body, and does `then`, when it is its turn.
    async fn off_thread<T: Send + 'static>(
        &self,
        claimed: Claimed,
        unverified: Unverified,
        then: impl FnOnce(Verified) -> T + Send + 'static,
    ) -> Result<T, RefusedRequest> {
        let turn = Arc::clone(self.limits.in_flight.heavy()).acquire_owned();
        let turn = turn.await.map_err(|_| RequestError::Busy)?;
        let verifier = Arc::clone(&self.verifier);
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            verifier.prove(&claimed, unverified).map(then)
        });
        Ok(work.await.map_err(|_| RequestError::Busy)??)
    }

    /// Verifies a request that was refused before, with the secrets of now, but at the time of its receipt. What
    /// becomes of it has the header `offhook-recovered`, which no sender can send.
    ///
    /// `session` is that of the path.
    pub(crate) fn verify_again(
        &self,
        head: &KeptHead<'_>,
        session: Option<&str>,
        body: Bytes,
        received_at: Timestamp,
    ) -> Result<Verified, Refusal> {
        let claimed = self.verifier.claim(head, None, received_at)?;
        let headers = &head.headers;
        self.verify_marked(RECOVERED, &claimed, headers, session, body, received_at)
    }

    /// Verifies a test event that was signed here. It has the header `offhook-test`, which no sender can send.
    pub(crate) fn verify_test(
        &self,
        headers: &HeaderMap,
        token: Option<&str>,
        session: &str,
        body: Bytes,
        now: Timestamp,
    ) -> Result<Verified, Refusal> {
        let claimed = self.verifier.claim(headers, token, now)?;
        self.verify_marked(TEST, &claimed, headers, Some(session), body, now)
    }

    fn verify_marked(
        &self,
        mark: &'static str,
        claimed: &Claimed,
        headers: &HeaderMap,
        session: Option<&str>,
        body: Bytes,
        received_at: Timestamp,
    ) -> Result<Verified, Refusal> {
        let mut unverified = Unverified::new(body, received_at);
        unverified.session = session.map(str::to_owned);
        let kept = self.kept_headers(headers).into_iter();
        let kept = kept.map(|(name, value)| (name, Bytes::from(value.into_owned())));
        let mark = (mark.into(), Bytes::from_static(b"true"));
        unverified.headers = kept.chain([mark]).collect();
        self.verifier.verify(claimed, unverified)
    }

    /// The headers to store with the event, without those that hold a secret of the scheme.
    fn kept_headers<'h>(&self, headers: &'h HeaderMap) -> Vec<(Cow<'static, str>, Cow<'h, [u8]>)> {
        let mut kept = kept_headers(headers, self.verifier.kept_headers());
        kept.retain(|(name, _)| !self.verifier.hides(name));
        kept
    }

    /// The longest body, in bytes.
    pub(crate) fn max_body(&self) -> usize {
        self.limits.max_body
    }
}

/// A request that is refused, with its body if that was read.
pub(crate) struct RefusedRequest {
    pub(crate) error: RequestError,
    pub(crate) request: Option<Box<Unverified>>,
}

impl From<RequestError> for RefusedRequest {
    fn from(error: RequestError) -> Self {
        let request = None;
        Self { error, request }
    }
}

impl From<Unproven> for RefusedRequest {
    fn from(Unproven(refusal, request): Unproven) -> Self {
        Self {
            error: refusal.into(),
            request: Some(Box::new(request)),
        }
    }
}

impl From<Box<Unproven>> for RefusedRequest {
    fn from(unproven: Box<Unproven>) -> Self {
        Self::from(*unproven)
    }
}

/// A request whose head has passed the checks, but not yet its body.
pub(crate) struct Admitted {
    /// Or why it is refused after its body.
    claimed: Result<Claimed, Refusal>,
    /// The length of the body, if the head says it.
    declared: Option<u64>,
    received_at: Timestamp,
}

/// The body to read of a request, independent of what read its head.
pub(crate) struct Incoming<'a> {
    pub(crate) head: &'a RequestHead,
    pub(crate) payload: Payload,
    /// The session that the path names.
    pub(crate) session: Option<String>,
    /// When the request began.
    pub(crate) started: Instant,
    /// The connection's deadline, if the connection enforces the time limits.
    pub(crate) deadline: Option<&'a dyn Deadline>,
}

/// The deadline of one request, enforced by its connection.
///
/// The server's own listener closes a connection when a head or a body is late. Without a `Deadline` (in
/// an application's own `App`) the middleware measures the body's time itself.
pub(crate) trait Deadline {
    /// When the request's head began.
    fn begun(&self) -> Option<Instant>;

    /// The request's body has ended: the sender has nothing left to send.
    fn body_ended(&self);

    /// Whether the connection aborted the request because it was late.
    fn is_late(&self) -> bool;

    /// The request was answered at this time.
    fn answered_at(&self, now: Instant);

    /// The request, which began about `now`, was verified. Returns whether that is worth noting: it is not when the connection has
    /// said so a moment ago.
    fn proven(&self, now: Instant) -> bool;
}

/// The header of an event that was refused when it was received, and verified later.
const RECOVERED: &str = "offhook-recovered";

/// The header of a test event.
pub(crate) const TEST: &str = "offhook-test";

/// The session in a path segment, of which actix has decoded everything except `%25`, `%2B` and `%2F`.
pub(crate) fn path_session(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

impl Headers for HeaderMap {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        // A lookup by text makes a name first, which allocates.
        const USUAL: HeaderName = HeaderName::from_static("x-webhook-signature");
        let values = if name == USUAL {
            self.get_all(USUAL)
        } else {
            self.get_all(name)
        };
        only(values.map(|value| value.as_bytes()))
    }
}

/// The headers of a request that was kept, and its path and query: a scheme that signs the address must not take one
/// session for another.
pub(crate) struct KeptHead<'a> {
    pub(crate) headers: HeaderMap,
    pub(crate) target: &'a str,
}

impl Headers for KeptHead<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        self.headers.value(name)
    }

    fn target(&self) -> Option<&str> {
        Some(self.target)
    }
}

impl Headers for RequestHead {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        self.headers().value(name)
    }

    fn target(&self) -> Option<&str> {
        self.uri.path_and_query().map(|target| target.as_str())
    }
}

impl<S, B> Transform<S, ServiceRequest> for VerifySignature
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = VerifySignatureService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        ready(Ok(VerifySignatureService {
            service: Rc::new(service),
            verify: Rc::new(self.clone()),
        }))
    }
}

impl fmt::Debug for VerifySignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifySignature")
            .field("verifier", &self.verifier)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// [`VerifySignature`] around a service; created by actix.
#[doc(hidden)]
#[derive(Debug)]
pub struct VerifySignatureService<S> {
    service: Rc<S>,
    verify: Rc<VerifySignature>,
}

impl<S, B> Service<ServiceRequest> for VerifySignatureService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_web::dev::forward_ready!(service);

    fn call(&self, mut req: ServiceRequest) -> Self::Future {
        let service = Rc::clone(&self.service);
        let verify = Rc::clone(&self.verify);
        Box::pin(async move {
            let verified = verify.verified(&mut req).await.inspect_err(|error| {
                verify.log_refusal(error, req.head(), None);
            })?;
            req.set_payload(Payload::from(verified.body().clone()));
            req.extensions_mut().insert(verified);
            service.call(req).await
        })
    }
}

impl VerifySignature {
    /// Verifies a request of an application's own `App`.
    async fn verified(&self, req: &mut ServiceRequest) -> Result<Verified, RequestError> {
        let payload = req.take_payload();
        let segments = req.match_info();
        let admitted = self.check_head(req.head(), segments.get("token"))?;
        let request = Incoming {
            payload,
            session: segments.get("session").map(path_session),
            head: req.head(),
            started: SystemClock.monotonic(),
            deadline: None,
        };
        self.judge_body(admitted, request, Verified::without_reading)
            .await
            .map_err(|refused| refused.error)
    }
}

impl FromRequest for Verified {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let verified = req.extensions_mut().remove::<Self>();
        ready(verified.ok_or_else(|| {
            // Each request to the route would log it again.
            TOLD.call_once(|| {
                log::error!(
                    "a handler takes a `Verified`, but its route is not behind VerifySignature"
                );
            });
            actix_web::error::ErrorInternalServerError("Internal error")
        }))
    }
}

static TOLD: Once = Once::new();
