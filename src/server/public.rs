//! [`Front`]: answers the requests to the public listener.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use actix_http::{
    ConnectionType, HttpService, KeepAlive, Method, Payload, Request, RequestHead, Version,
};
use actix_server::GracefulShutdownSignal;
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service};
use actix_web::body::BoxBody;
use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder};
use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::poll_fn as poll_fn_stream;

use super::connection::Connection;
use super::deadline::{LINGER, RequestDeadline};
use super::parts::Parts;
use super::proxies::Proxies;
use super::reloads::PublicLive;
use crate::escape_controls;
use crate::ingress::{Begun, Ingress};
use crate::refused::shown_path;
use crate::signature::{Deadline, shown_peer};
use crate::telemetry::{ListenerMetrics, Throttle};

/// What answers the requests to the public listener.
pub(super) struct Front {
    ingress: Arc<Ingress>,
    /// Answers 200 while events can be taken.
    health_path: Arc<ArcSwap<Option<String>>>,
    proxies: Arc<ArcSwap<Proxies>>,
    metrics: ListenerMetrics,
    unknown_paths: Throttle,
    upgrades: Throttle,
}

/// Serves connections to the public listener.
pub(super) fn http(
    front: &Arc<Front>,
    stopping: &GracefulShutdownSignal,
) -> impl ServiceFactory<
    (Connection, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = (),
    InitError = (),
> + use<> {
    let (answering, expecting) = (Arc::clone(front), Arc::clone(front));
    let stopping = stopping.clone();
    HttpService::build()
        // The connection has deadlines of its own, for every request.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.deadline.clone());
        })
        .expect(fn_service(move |request: Request| {
            let front = Arc::clone(&expecting);
            async move { expect(&front, request).await }
        }))
        // Without another future around it, because actix-http moves it for each request.
        .h1(fn_service(move |request: Request| {
            answer(Arc::clone(&answering), request)
        }))
        // actix-http has answered it, and the senders of broken requests are not logged.
        .map_err(drop)
}

/// Whether a request with `Expect: 100-continue` may send its body.
async fn expect(
    front: &Front,
    mut request: Request,
) -> Result<Request, actix_http::Response<BoxBody>> {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    if let Some(deadline) = deadline.filter(RequestDeadline::is_ending) {
        // The answer to it is not sent.
        deadline.ended().await;
        return Err(HttpResponse::BadRequest().finish().into());
    }
    front.name_client(&mut request);
    let head = request.head();
    if front.is_health(head) {
        return Ok(request);
    }
    let answer = match front.ingress.before_continue(head) {
        Some(Ok(())) => return Ok(request),
        Some(Err(answer)) => *answer,
        None => front.not_found(head),
    };
    if let Some(deadline) = request.conn_data::<RequestDeadline>() {
        deadline.last_answer();
    }
    Err(answer.into())
}

/// Answers a request, and keeps its connection's deadline up to date.
async fn answer(front: Arc<Front>, mut request: Request) -> Result<HttpResponse, Infallible> {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    if let Some(deadline) = deadline.as_ref().filter(|deadline| deadline.is_ending()) {
        // Nothing behind the last answer is served.
        deadline.ended().await;
        return Ok(HttpResponse::BadRequest().finish());
    }
    front.name_client(&mut request);
    let payload = request.take_payload();
    if let Some(deadline) = &deadline {
        deadline.request_begun(!matches!(payload, Payload::None), length(request.head()));
    }
    let head = request.head();
    let upgrades = head.headers.contains_key(header::UPGRADE);
    // actix-http may take what follows for a part of the body of a request to upgrade.
    let is_last = upgrades || head.connection_type() != ConnectionType::KeepAlive;
    let kept = deadline.as_ref().map(|deadline| deadline as &dyn Deadline);
    let begun = match front.of_source(head, payload, upgrades) {
        Ok(payload) => {
            let begun = front.ingress.begin(head, payload, kept).await;
            begun.unwrap_or_else(|| Begun::Answered(front.not_found(head)))
        }
        Err(answer) => Begun::Answered(*answer),
    };
    // While the event is with the engine, actix-http uses the head for another request.
    drop(request);
    let mut answer = match begun {
        Begun::Taken(taken) => front.ingress.finish(taken, kept).await,
        Begun::Answered(answer) => answer,
    };
    if let Some(deadline) = &deadline {
        let head = answer.head_mut();
        // actix-http uses heads again, with the version that they had last; of that the type depends.
        head.version = Version::HTTP_11;
        let is_last = is_last
            || head.connection_type() == ConnectionType::Close
            // The rest of the body must not be read as the next request.
            || !deadline.is_complete();
        if is_last {
            head.set_connection_type(ConnectionType::Close);
            deadline.last_answer();
        }
        deadline.answered();
    }
    Ok(answer)
}

impl Front {
    pub(super) fn new(parts: &Parts, live: &PublicLive) -> Self {
        Self {
            ingress: Arc::clone(&parts.ingress),
            health_path: Arc::clone(&live.health_path),
            proxies: Arc::clone(&live.proxies),
            metrics: parts.metrics.listener(),
            unknown_paths: Throttle::default(),
            upgrades: Throttle::default(),
        }
    }

    /// From here on a request comes from its client, and not from the proxies before the server.
    fn name_client(&self, request: &mut Request) {
        if let Some(client) = self.proxies.load().client(request.head()) {
            request.head_mut().peer_addr = Some(client);
        }
    }

    fn is_health(&self, head: &RequestHead) -> bool {
        let path = self.health_path.load();
        Option::as_deref(&path) == Some(head.uri.path())
    }

    /// The payload of a request that may be a source's, or the answer to one that is not.
    fn of_source(
        &self,
        head: &RequestHead,
        payload: Payload,
        upgrades: bool,
    ) -> Result<Payload, Box<HttpResponse>> {
        if self.is_health(head) {
            return Err(Box::new(self.health(head)));
        }
        let payload = if upgrades {
            declared(head, payload)
        } else {
            Some(payload)
        };
        payload.ok_or_else(|| {
            if let Some(unsaid) = self.upgrades.pass() {
                let more = Throttle::more(unsaid);
                log::info!("a request to upgrade says no length, answered 400{more}");
            }
            Box::new(closing(HttpResponse::BadRequest(), "Bad request"))
        })
    }

    fn health(&self, head: &RequestHead) -> HttpResponse {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            let mut response = HttpResponse::MethodNotAllowed();
            response.insert_header((header::ALLOW, "GET, HEAD"));
            return closing(response, "Method not allowed");
        }
        match self.ingress.not_ready() {
            None => HttpResponse::Ok().json(serde_json::json!({ "status": "ok" })),
            Some(_) => HttpResponse::ServiceUnavailable()
                .json(serde_json::json!({ "status": "unavailable" })),
        }
    }

    /// No source has the path.
    fn not_found(&self, head: &RequestHead) -> HttpResponse {
        let answer = closing(HttpResponse::NotFound(), "Not found");
        self.metrics.not_found.inc();
        self.ingress.misdirected(head);
        if let Some(unsaid) = self.unknown_paths.pass() {
            let peer = shown_peer(head.peer_addr);
            let path = shown_path(head.uri.path());
            let (path, more) = (escape_controls(&path), Throttle::more(unsaid));
            match self.ingress.without_token(&head.uri) {
                Some((source, pattern)) => log::info!(
                    source:%, peer:%, status = 404;
                    "the source {source} needs its token in the path: {pattern}; {peer} asked for {path}, \
                     answered 404{more}"
                ),
                None => log::info!(
                    peer:%, status = 404;
                    "no source has the path {path}, asked for by {peer}, answered 404{more}"
                ),
            }
        }
        answer
    }
}

/// The answer to a request that cannot be answered: its connection is free for another sender.
fn closing(mut response: HttpResponseBuilder, error: &str) -> HttpResponse {
    response.force_close();
    response.json(serde_json::json!({ "error": error }))
}

/// The payload of a request to upgrade, as long as its Content-Length says. actix-http takes everything that
/// follows a head with `Upgrade: websocket` for its body.
fn declared(head: &RequestHead, payload: Payload) -> Option<Payload> {
    if matches!(payload, Payload::None) {
        return Some(payload);
    }
    let Some(mut left) = length(head) else {
        // Chunks have an end of their own.
        let is_chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
        return is_chunked.then_some(payload);
    };
    let mut payload = Some(payload);
    let chunks = poll_fn_stream(move |cx| {
        let Some(open) = payload.as_mut().filter(|_| left > 0) else {
            payload = None;
            return Poll::Ready(None);
        };
        let chunk = ready!(open.poll_next_unpin(cx));
        Poll::Ready(chunk.map(|chunk| {
            chunk.map(|mut chunk| {
                chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                left -= chunk.len() as u64;
                chunk
            })
        }))
    });
    Some(Payload::Stream {
        payload: Box::pin(chunks),
    })
}

/// The length of the body, if the head says it.
pub(super) fn length(head: &RequestHead) -> Option<u64> {
    let length = head.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}
