//! Answers the requests to the admin listener.

use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::{ConnectionType, HttpService, KeepAlive, Payload, Request, Version};
use actix_service::{
    Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, map_config,
};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::poll_fn as poll_fn_stream;
use tokio::time::timeout;

use super::connection::Connection;
use super::deadline::RequestDeadline;
use super::public::length;
use crate::admin::{self, AdminState};
use crate::signature::{BodyPace, Deadline as _};

/// Serves connections to the admin listener: as those to the public one, and each request has a deadline.
pub(super) fn http(
    state: web::Data<AdminState>,
) -> impl ServiceFactory<
    (Connection, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = (),
    InitError = (),
> {
    let asked = state.clone();
    let app = map_config(admin::app(state), |()| AppConfig::default());
    let app = apply_fn_factory(app, move |request: Request, app: &_| {
        let is_proven = asked.shows_token(request.head().headers());
        let deadline = request.conn_data::<RequestDeadline>().cloned();
        match deadline.filter(RequestDeadline::is_ending) {
            Some(deadline) => Either::Left(async move {
                deadline.ended().await;
                Ok(HttpResponse::BadRequest().finish().into())
            }),
            None => Either::Right(answer(request, app, is_proven)),
        }
    });
    HttpService::build()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.deadline.clone());
        })
        .h1(app)
        .map_init_err(drop)
        .map_err(drop)
}

fn answer<S>(
    mut request: Request,
    app: &S,
    is_proven: bool,
) -> impl Future<Output = Result<actix_http::Response<BoxBody>, actix_web::Error>> + use<S>
where
    S: Service<Request, Response = ServiceResponse, Error = actix_web::Error>,
{
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    let payload = request.take_payload();
    let is_last = request.head().connection_type() != ConnectionType::KeepAlive;
    let knows_chunks = request.head().version > Version::HTTP_10;
    if let Some(deadline) = &deadline {
        deadline.request_begun(!matches!(payload, Payload::None), length(request.head()));
    }
    let payload = match deadline.clone() {
        Some(deadline) if !matches!(payload, Payload::None) => watched(payload, deadline),
        _ => payload,
    };
    let (request, _) = request.replace_payload(payload);
    let called = app.call(request);
    async move {
        let answered = timeout(LONGEST_ANSWER, called).await;
        let mut answer: actix_http::Response<BoxBody> = match answered {
            Ok(Ok(answer)) => answer.into(),
            Ok(Err(error)) => admin::given_up(Some(&error)).into(),
            Err(_) => admin::given_up(None).into(),
        };
        if let Some(deadline) = &deadline {
            if is_proven {
                deadline.seat().prove();
            }
            let head = answer.head_mut();
            head.version = Version::HTTP_11;
            if matches!(answer.body().size(), BodySize::Stream) {
                let head = answer.head_mut();
                head.set_connection_type(ConnectionType::Close);
                head.no_chunking(!knows_chunks);
                let deadline = deadline.clone();
                let stream = |body| BoxBody::new(EndlessBody { body, deadline });
                return Ok(answer.map_body(|_, body| stream(body)));
            }
            let head = answer.head_mut();
            if is_last || !deadline.is_complete() || head.connection_type() == ConnectionType::Close
            {
                head.set_connection_type(ConnectionType::Close);
                deadline.last_answer();
            }
            deadline.answered();
        }
        Ok(answer)
    }
}

/// The body of an answer that goes on until one side has enough. Until then its request is being answered: no
/// deadline of reading counts. That of writing does, so that who reads nothing loses its connection.
struct EndlessBody {
    body: BoxBody,
    deadline: RequestDeadline,
}

impl MessageBody for EndlessBody {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.deadline.has_seen_end() {
            // actix-http would write on until that fails.
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_next(cx)
    }
}

impl Drop for EndlessBody {
    fn drop(&mut self) {
        self.deadline.last_answer();
        self.deadline.answered();
    }
}

/// The payload; its deadline knows when it has ended.
fn watched(mut payload: Payload, deadline: RequestDeadline) -> Payload {
    let chunks = poll_fn_stream(move |cx| {
        let chunk = ready!(payload.poll_next_unpin(cx));
        if chunk.is_none() {
            deadline.body_ended();
        }
        Poll::Ready(chunk)
    });
    Payload::Stream {
        payload: Box::pin(chunks),
    }
}

/// How long the head of a request to the admin listener may take, and how fast its body has to come.
pub(super) const PACE: BodyPace = BodyPace {
    request_timeout: Duration::from_secs(10),
    min_rate: 16 * 1024,
    // As much as actix-web reads of one.
    max_body: 256 * 1024,
};

/// How long an answer of the admin listener may take: a disk that hangs must not hold its connections.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);

/// How long a connection to the admin listener without a request is kept.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a connection to the admin listener may take to close.
const DISCONNECT: Duration = Duration::from_secs(1);
