//! The two listeners: binding their sockets, and serving each as an actix server, down to the
//! answers of the receiver.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use actix_http::{
    ConnectionType, HttpService, KeepAlive, Method, Payload, Request, RequestHead, ResponseHead,
    Version,
};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{
    Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service, map_config,
};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::poll_fn as poll_fn_stream;
use socket2::{Domain, Socket, Type};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connection::{Connection, ConnectionContext};
use super::deadline::{LINGER, RequestDeadline, Times};
use super::descriptors::Descriptors;
use super::parts::Parts;
use super::proxies::Proxies;
use super::reloads::PublicLive;
use super::seats::Seats;
use super::socket::Socket as Stream;
use super::systemd;
use super::tls::Tls;
use crate::admin::{self, AdminState};
use crate::ingress::Ingress;
use crate::settings::ServerSettings;
use crate::signature::{BodyPace, Deadline};
use crate::telemetry::{ListenerMetrics, Throttle};
use crate::{Error, escape_controls};

/// A socket that listens and is not served yet.
#[derive(Debug)]
pub(super) struct BoundSocket {
    /// The key of the settings that holds the address.
    key: &'static str,
    socket: TcpListener,
    address: SocketAddr,
}

/// One actix server, running as a task.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    pub(super) handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl BoundSocket {
    /// Listens on `address`, which the settings have under `key`; with the socket that systemd has opened for
    /// it, if there is one.
    pub(super) fn bind(key: &'static str, address: SocketAddr) -> Result<Self, Error> {
        let listen = || {
            if let Some(socket) = systemd::inherited(address) {
                return Ok(Self {
                    key,
                    address: socket.local_addr()?,
                    socket,
                });
            }
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let socket = TcpListener::from(socket);
            Ok(Self {
                key,
                address: socket.local_addr()?,
                socket,
            })
        };
        listen().map_err(|error| Error::bind(key, address, error))
    }

    /// Serves the paths of all sources.
    pub(super) fn serve_public(
        self,
        settings: &ServerSettings,
        parts: &Parts,
        descriptors: Descriptors,
        live: &PublicLive,
        tls: Option<Arc<Tls>>,
    ) -> Result<Listener, Error> {
        let most = descriptors.public;
        let builder = public_builder(settings, descriptors);
        let stopping = builder.graceful_shutdown_signal();
        let proxies = Arc::new(Proxies::new(settings.trusted_proxies.clone()));
        let front = Arc::new(Front {
            ingress: Arc::clone(&parts.ingress),
            health_path: Arc::clone(&live.health_path),
            proxies: Arc::clone(&proxies),
            metrics: parts.metrics.listener(),
            unknown_paths: Throttle::default(),
            upgrades: Throttle::default(),
        });
        let context = Arc::new(ConnectionContext {
            times: Arc::clone(&live.times),
            seats: Seats::new(most),
            proxies,
            tls,
            metrics: Some(parts.metrics.listener()),
            slow_heads: Throttle::default(),
            handshakes: Throttle::default(),
            large_heads: Throttle::default(),
        });
        let builder = builder.listen("public", self.socket, move || {
            guarded(&context).and_then(http(&front, &stopping))
        });
        Listener::spawn(self.key, self.address, builder)
    }

    /// Serves the admin API, with one worker.
    pub(super) fn serve_admin(
        self,
        state: AdminState,
        descriptors: Descriptors,
        tls: Option<Arc<Tls>>,
    ) -> Result<Listener, Error> {
        let most = descriptors.admin;
        let state = web::Data::new(state);
        let context = Arc::new(ConnectionContext {
            times: Times::fixed(ADMIN_PACE, ADMIN_KEEP_ALIVE),
            seats: Seats::new(most),
            proxies: Arc::new(Proxies::new(Vec::new())),
            tls,
            metrics: None,
            slow_heads: Throttle::default(),
            handshakes: Throttle::default(),
            large_heads: Throttle::default(),
        });
        let builder = ServerBuilder::new()
            .workers(1)
            .max_concurrent_connections(most + descriptors.spare)
            .shutdown_timeout(1)
            .disable_signals()
            .listen("admin", self.socket, move || {
                guarded(&context).and_then(admin_http(state.clone()))
            });
        Listener::spawn(self.key, self.address, builder)
    }
}

/// How many workers the public listener has.
pub(super) fn workers(settings: &ServerSettings) -> usize {
    let workers = if settings.workers == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        settings.workers
    };
    // Each worker has a share of the connections, so there are not more workers than connections.
    workers.min(MAX_WORKERS).min(settings.max_connections)
}

fn public_builder(settings: &ServerSettings, descriptors: Descriptors) -> ServerBuilder {
    let workers = workers(settings).min(descriptors.public);
    ServerBuilder::new()
        .workers(workers)
        // actix's limit is per worker. Those beyond the limit have others give way.
        .max_concurrent_connections(descriptors.public.div_ceil(workers) + descriptors.spare)
        .shutdown_timeout(STOP_TIMEOUT.as_secs())
        .disable_signals()
}

/// Wraps each accepted socket in a [`Connection`], after its handshake if the listener speaks TLS.
fn guarded(
    context: &Arc<ConnectionContext>,
) -> impl ServiceFactory<
    TcpStream,
    Config = (),
    Response = (Connection, Option<SocketAddr>),
    Error = (),
    InitError = (),
> + use<> {
    let context = Arc::clone(context);
    fn_service(move |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        // An answer is one small packet, which must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let context = Arc::clone(&context);
        async move {
            let address = peer.map(|peer| peer.ip());
            let seat = context.seats.take(address);
            if address.is_some_and(|address| context.proxies.trusts(address)) {
                // It stands for many senders, who would lose their seats for one of them.
                seat.prove();
            }
            let stream = match &context.tls {
                None => Stream::Plain(stream),
                Some(tls) => match Box::pin(tls.accept(stream, &seat)).await {
                    Ok(stream) => Stream::Tls(stream),
                    Err(why) => {
                        context.no_handshake(peer, &why);
                        return Err(());
                    }
                },
            };
            Ok((Connection::new(stream, seat, context), peer))
        }
    })
}

impl Listener {
    fn spawn(
        key: &'static str,
        address: SocketAddr,
        builder: io::Result<ServerBuilder>,
    ) -> Result<Self, Error> {
        let server = builder
            .map_err(|error| Error::bind(key, address, error))?
            .run();
        Ok(Self {
            address,
            handle: server.handle(),
            task: actix_rt::spawn(server),
        })
    }

    /// Ends it without waiting for its requests, also while it stops gracefully: its commands are handled one
    /// after the other, so a command to stop would wait for that.
    pub(super) async fn cut_off(&mut self) {
        self.task.abort();
        if !self.task.is_finished() {
            let _ = (&mut self.task).await;
        }
    }

    /// Waits until it ends without having been stopped. Returns why.
    pub(super) async fn failure(&mut self) -> io::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => io::Error::other("it ended"),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        }
    }
}

/// What answers the requests to the public listener.
struct Front {
    ingress: Arc<Ingress>,
    /// Answers 200 while events can be taken.
    health_path: Arc<ArcSwap<Option<String>>>,
    proxies: Arc<Proxies>,
    metrics: ListenerMetrics,
    unknown_paths: Throttle,
    upgrades: Throttle,
}

/// Serves connections to the public listener.
fn http(
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
        .h1(fn_service(move |request: Request| {
            let front = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(answer(&front, request).await) }
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
async fn answer(front: &Front, mut request: Request) -> HttpResponse {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    if let Some(deadline) = deadline.as_ref().filter(|deadline| deadline.is_ending()) {
        // Nothing behind the last answer is served.
        deadline.ended().await;
        return HttpResponse::BadRequest().finish();
    }
    front.name_client(&mut request);
    let payload = request.take_payload();
    if let Some(deadline) = &deadline {
        deadline.request_begun(!matches!(payload, Payload::None), length(request.head()));
    }
    let mut answer = front
        .answer(request.head(), payload, deadline.as_ref())
        .await;
    if let Some(deadline) = &deadline {
        let head = answer.head_mut();
        if !deadline.is_complete() {
            // The rest of the body must not be read as the next request.
            head.set_connection_type(ConnectionType::Close);
        }
        if is_last(request.head(), head) {
            head.set_connection_type(ConnectionType::Close);
            deadline.last_answer();
        }
        deadline.answered();
    }
    answer
}

/// Whether the connection ends with the answer to this request.
fn is_last(request: &RequestHead, answer: &mut ResponseHead) -> bool {
    // actix-http uses heads again, with the version that they had last; of that the type depends.
    answer.version = Version::HTTP_11;
    answer.connection_type() == ConnectionType::Close
        || request.connection_type() != ConnectionType::KeepAlive
        // actix-http may take what follows for a part of its body.
        || request.headers.contains_key(header::UPGRADE)
}

impl Front {
    /// From here on a request comes from its client, and not from the proxies before the server.
    fn name_client(&self, request: &mut Request) {
        if let Some(client) = self.proxies.client(request.head()) {
            request.head_mut().peer_addr = Some(client);
        }
    }

    fn is_health(&self, head: &RequestHead) -> bool {
        let path = self.health_path.load();
        Option::as_deref(&path) == Some(head.uri.path())
    }

    async fn answer(
        &self,
        head: &RequestHead,
        payload: Payload,
        deadline: Option<&RequestDeadline>,
    ) -> HttpResponse {
        if self.is_health(head) {
            return self.health(head);
        }
        let payload = match declared(head, payload) {
            Ok(payload) => payload,
            Err(()) => {
                if let Some(unsaid) = self.upgrades.pass() {
                    let more = Throttle::more(unsaid);
                    log::info!("a request to upgrade says no length, answered 400{more}");
                }
                return closing(HttpResponse::BadRequest(), "Bad request");
            }
        };
        let kept = deadline.map(|deadline| deadline as &dyn Deadline);
        let answered = self.ingress.answer(head, payload, kept).await;
        answered.unwrap_or_else(|| self.not_found(head))
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
        self.metrics.not_found.inc();
        if let Some(unsaid) = self.unknown_paths.pass() {
            let peer = head.peer_addr.map(|peer| peer.to_string());
            let peer = peer.as_deref().unwrap_or("an unknown address");
            let path: String = head.uri.path().chars().take(200).collect();
            let (path, more) = (escape_controls(&path), Throttle::more(unsaid));
            log::info!("no source has the path {path}, asked for by {peer}, answered 404{more}");
        }
        closing(HttpResponse::NotFound(), "Not found")
    }
}

/// The answer to a request that cannot be answered: its connection is free for another sender.
fn closing(mut response: HttpResponseBuilder, error: &str) -> HttpResponse {
    response.force_close();
    response.json(serde_json::json!({ "error": error }))
}

/// The payload, as long as its Content-Length says. actix-http takes everything that follows a head with
/// `Upgrade: websocket` for its body.
fn declared(head: &RequestHead, payload: Payload) -> Result<Payload, ()> {
    if !head.headers.contains_key(header::UPGRADE) || matches!(payload, Payload::None) {
        return Ok(payload);
    }
    let Some(mut left) = length(head) else {
        // Chunks have an end of their own.
        let is_chunked = head.headers.contains_key(header::TRANSFER_ENCODING);
        return if is_chunked { Ok(payload) } else { Err(()) };
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
    Ok(Payload::Stream {
        payload: Box::pin(chunks),
    })
}

/// The length of the body, if the head says it.
fn length(head: &RequestHead) -> Option<u64> {
    let length = head.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.trim().parse().ok()
}

/// Serves connections to the admin listener: as those to the public one, and each request has a deadline.
fn admin_http(
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
            None => Either::Right(admin_answer(request, app, is_proven)),
        }
    });
    HttpService::build()
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(ADMIN_DISCONNECT)
        .on_connect_ext(|connection: &Connection, data| {
            data.insert(connection.deadline.clone());
        })
        .h1(app)
        .map_init_err(drop)
        .map_err(drop)
}

fn admin_answer<S>(
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
        let answered = timeout(ADMIN_ANSWER, called).await;
        let mut answer: actix_http::Response<BoxBody> = match answered {
            Ok(Ok(answer)) => answer.into(),
            Ok(Err(error)) => HttpResponse::from_error(error).into(),
            Err(_) => admin::took_too_long().into(),
        };
        if let Some(deadline) = &deadline {
            if is_proven {
                deadline.seat().prove();
            }
            let head = answer.head_mut();
            head.version = Version::HTTP_11;
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

/// How long a graceful stop waits for work that runs.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the head of a request to the admin listener may take, and how fast its body has to come.
const ADMIN_PACE: BodyPace = BodyPace {
    request_timeout: Duration::from_secs(10),
    min_rate: 16 * 1024,
    // As much as actix-web reads of one.
    max_body: 256 * 1024,
};

/// How long an answer of the admin listener may take: a disk that hangs must not hold its connections.
const ADMIN_ANSWER: Duration = Duration::from_secs(30);

/// How long a connection to the admin listener without a request is kept.
const ADMIN_KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long a connection to the admin listener may take to close.
const ADMIN_DISCONNECT: Duration = Duration::from_secs(1);

/// The most workers that actix allows.
const MAX_WORKERS: usize = 512;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
