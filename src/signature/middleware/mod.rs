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
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use actix_http::RequestHead;
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use percent_encoding::percent_decode_str;

use super::{Unverified, Verified, Verifier};
use crate::clock::{Clock, SystemClock};
use crate::server::Owed;

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
}

/// A request as it is judged, whoever has read its head.
pub(crate) trait Incoming {
    fn head(&self) -> &RequestHead;

    /// The segment of its path that is called so, where there is one.
    fn segment(&self, name: Segment) -> Option<&str>;

    fn take_payload(&mut self) -> Payload;

    /// What its connection owes, where that keeps the time.
    fn owed(&self) -> Option<&Owed> {
        None
    }
}

/// What segments of a path are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Segment {
    Session,
    Token,
}

impl VerifySignature {
    /// Judges with `verifier`, within the default [`Limits`].
    pub fn new(verifier: impl Into<Arc<Verifier>>) -> Self {
        Self {
            verifier: verifier.into(),
            limits: Limits::default(),
            clock: Arc::new(SystemClock),
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

    /// Reads the body within the limits, `started` being when the request began, and has it verified.
    pub(crate) async fn judge(
        &self,
        req: &mut impl Incoming,
        started: Instant,
    ) -> Result<Verified, RequestError> {
        let received_at = self.clock.now();
        let headers = req.head().headers();
        check_declared_length(headers, self.limits.max_body)?;
        let token = req.segment(Segment::Token);
        let claimed = self.verifier.claim(headers, token, received_at)?;

        let (body, held) = self.read_in_time(req, started).await?;
        let mut request = Unverified::new(body, received_at);
        request.session = path_session(req.segment(Segment::Session));
        request.headers = kept_headers(req.head().headers());
        request.held = Some(held);
        Ok(self.verifier.verify(&claimed, request)?)
    }

    async fn read_in_time(
        &self,
        req: &mut impl Incoming,
        started: Instant,
    ) -> Result<(Bytes, Held), RequestError> {
        let payload = req.take_payload();
        let read = read_body(payload, req.head().headers(), &self.limits);
        match req.owed() {
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

impl Incoming for ServiceRequest {
    fn head(&self) -> &RequestHead {
        self.head()
    }

    fn segment(&self, name: Segment) -> Option<&str> {
        self.match_info().get(name.in_pattern())
    }

    fn take_payload(&mut self) -> Payload {
        HttpMessage::take_payload(self)
    }
}

impl Segment {
    /// What it is called in a pattern: `/{session}`.
    pub(crate) fn in_pattern(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Token => "token",
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
            let started = SystemClock.monotonic();
            let verified = verify.judge(&mut req, started).await?;
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
