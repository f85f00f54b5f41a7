//! [`VerifySignature`]: the actix middleware between the socket and everything else.
//!
//! It reads the body within [`Limits`], has the [`Verifier`] judge it, and puts a [`Verified`] into
//! the request. The order of its checks is a promise: declared length, then the signature's header,
//! then (only now is the body read) the body's length and the time it takes, then the signature
//! over the bytes as they came.

mod body;
mod error;
mod kept;
mod limits;

use std::fmt;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_service::{ServiceFactory, fn_service};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, HttpResponse, ResponseError as _};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use percent_encoding::percent_decode_str;

use super::{Unverified, Verified, Verifier};
use crate::clock::{Clock, SystemClock};
use crate::connection::Owed;

pub use error::RequestError;
pub use limits::{InFlight, Limits};

pub(crate) use body::check_declared_length;
pub(crate) use limits::Held;

use body::read_body;
use kept::kept_headers;

/// The actix middleware that lets only verified bodies through.
///
/// Usable alone, in any actix `App`, on a route or a resource. A path's `{session}` segment names
/// the session, a `{token}` segment is an unsigned source's token.
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
/// Handlers behind it can also take the body with actix's own extractors (`web::Bytes`,
/// `web::Json`): it is put back after it was verified.
#[derive(Clone)]
pub struct VerifySignature {
    verifier: Arc<Verifier>,
    limits: Limits,
    clock: Arc<dyn Clock>,
    on_refusal: Option<OnRefusal>,
}

/// Told of every request that is not let through: why, who sent it, and how long that took.
pub(crate) type OnRefusal = Arc<dyn Fn(&RequestError, Option<SocketAddr>, Duration) + Send + Sync>;

impl VerifySignature {
    /// Judges with `verifier`, within the default [`Limits`].
    pub fn new(verifier: impl Into<Arc<Verifier>>) -> Self {
        Self {
            verifier: verifier.into(),
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
            on_refusal: None,
        }
    }

    /// Reads bodies within these limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Takes the time from another clock.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    pub(crate) fn on_refusal(mut self, on_refusal: OnRefusal) -> Self {
        self.on_refusal = Some(on_refusal);
        self
    }

    /// A service that is the middleware and what comes after it in one, for routes that take nothing but
    /// the [`Verified`]: as `web::post().to(after).wrap(self)`, without the way through the request's
    /// extensions and two futures on the heap. `after` also says when it had the answer.
    pub(crate) fn before<F>(
        self,
        after: impl Fn(Verified) -> F + 'static,
    ) -> impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = Error,
        InitError = (),
    >
    where
        F: Future<Output = (HttpResponse, Instant)>,
    {
        let both = Rc::new((self, after));
        fn_service(move |mut req: ServiceRequest| {
            let both = Rc::clone(&both);
            async move {
                let (verify, after) = both.as_ref();
                let response = match verify.admit(&mut req).await {
                    Ok(verified) => {
                        let (response, at) = after(verified).await;
                        if let Some(owed) = req.conn_data::<Owed>() {
                            owed.answered_at(at);
                        }
                        response
                    }
                    Err(refusal) => refusal.error_response(),
                };
                Ok(req.into_response(response))
            }
        })
    }

    async fn admit(&self, req: &mut ServiceRequest) -> Result<Verified, RequestError> {
        let begun = req.conn_data::<Owed>().and_then(Owed::begun);
        let started = begun.unwrap_or_else(|| SystemClock.monotonic());
        let admitted = self.judge(req, started).await;
        if let (Err(error), Some(on_refusal)) = (&admitted, &self.on_refusal) {
            let took = SystemClock.monotonic().saturating_duration_since(started);
            on_refusal(error, req.peer_addr(), took);
        }
        admitted
    }

    async fn judge(
        &self,
        req: &mut ServiceRequest,
        started: Instant,
    ) -> Result<Verified, RequestError> {
        let received_at = self.clock.now();
        check_declared_length(req.headers(), self.limits.max_body)?;
        let token = req.match_info().get("token");
        let claimed = self.verifier.claim(req.headers(), token, received_at)?;

        let (body, held) = self.read_in_time(req, started).await?;
        let mut request = Unverified::new(body, received_at);
        request.session = path_session(req.match_info().get("session"));
        request.headers = kept_headers(req.headers());
        request.started = Some(started);
        request.held = Some(held);
        Ok(self.verifier.verify(&claimed, request)?)
    }

    async fn read_in_time(
        &self,
        req: &mut ServiceRequest,
        started: Instant,
    ) -> Result<(Bytes, Held), RequestError> {
        let payload = req.take_payload();
        let read = read_body(payload, req.headers(), &self.limits);
        match req.conn_data::<Owed>().cloned() {
            // The connection itself breaks the body off when its time is over.
            Some(owed) => match read.await {
                Err(RequestError::Broken) if owed.is_late() => Err(RequestError::TooSlow),
                Ok(read) => {
                    owed.complete();
                    Ok(read)
                }
                error => error,
            },
            None => tokio::time::timeout_at((started + self.limits.request_timeout).into(), read)
                .await
                .map_err(|_| RequestError::TooSlow)?,
        }
    }
}

/// The session that a path segment names. actix has decoded all of it but `%25`, `%2B` and `%2F`.
fn path_session(segment: Option<&str>) -> Option<String> {
    segment.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
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

/// [`VerifySignature`] around a service; actix makes it.
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
            let verified = verify.admit(&mut req).await?;
            req.set_payload(Payload::from(verified.body().clone()));
            req.extensions_mut().insert(verified);
            service.call(req).await
        })
    }
}

impl FromRequest for Verified {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let verified = req.extensions_mut().remove::<Self>();
        ready(verified.ok_or_else(|| {
            log::error!(
                "a handler takes a `Verified`, but its route is not behind VerifySignature"
            );
            actix_web::error::ErrorInternalServerError("Internal error")
        }))
    }
}
