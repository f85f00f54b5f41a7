//! The composition root: listeners, workers, and the way to a graceful stop.
//!
//! Two actix servers: the public one with the receiver's routes behind guarded connections, and the
//! admin one, so that neither a full public listener nor its end keeps the administrator out.

mod connection;
mod file_limit;
mod on_demand;
mod receiver;

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{ConnectionType, HttpService, KeepAlive, Payload, Request};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service};
use actix_web::{HttpResponse, web};
use futures_util::future::{Either, select};
use std::pin::pin;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};

use crate::Error;
use crate::Retry;
use crate::admin::{self, AdminState};
use crate::gateway::Registrar;
use crate::ingress::Ingress;
use crate::settings::GatewaySettings;
use crate::settings::{ServerSettings, Settings};
use crate::signature::Deadline;
use crate::telemetry::ListenerMetrics;
use crate::telemetry::Throttle;

use connection::{Guard, Guarded, LINGER, RequestDeadline};
use on_demand::on_demand;

pub(crate) use receiver::Parts;
pub use receiver::Receiver;

/// A server that runs in the background.
///
/// ```
/// # #[actix_web::main]
/// # async fn main() -> Result<(), offhook::Error> {
/// use offhook::signature::Secret;
/// use offhook::{Offhook, Source};
///
/// let server = Offhook::builder()
///     .source(Source::new("gateway").secret(Secret::new("a-long-secret").unwrap()))
///     .bind(([127, 0, 0, 1], 0))
///     .without_admin()
///     .start()
///     .await?;
/// println!("listening on {}", server.public_address());
/// server.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    public: Listener,
    admin: Option<Listener>,
    receiver: Receiver,
    paths: Vec<String>,
    promise: String,
    /// What tells the gateways our public URL; ends with the server.
    registrars: JoinSet<()>,
}

/// One actix server, running as a task.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<std::io::Result<()>>,
}

pub(crate) fn start(settings: &Settings, receiver: Receiver) -> Result<Server, Error> {
    let parts = receiver.parts();
    let metrics = &parts.metrics;
    file_limit::fail_writes_past_it()?;
    // Bind both before serving either: a server that half-starts is none.
    let (public_socket, public_address) = bind("server.bind", settings.server.bind)?;
    let admin_socket = match &settings.admin {
        Some(admin) => Some((admin, bind("admin.bind", admin.bind)?)),
        None => None,
    };

    let listener_metrics = || ListenerMetrics::new(metrics);
    let guard = Arc::new(Guard {
        request_timeout: settings.server.request_timeout,
        keep_alive: settings.server.keep_alive,
        metrics: listener_metrics(),
        slow_heads: Throttle::default(),
    });
    let builder = public_builder(&settings.server);
    let public = listen_public(builder, public_socket, &parts.ingress, &guard)
        .map(|server| Listener::spawn(public_address, server))
        .map_err(|error| Error::bind("server.bind", public_address, error))?;

    let admin = match admin_socket {
        None => None,
        Some((admin, (socket, address))) => {
            let state = AdminState {
                token: admin.token.clone(),
                fingerprint: settings.fingerprint(),
                engine: settings.journal.name(),
                metrics: Arc::clone(metrics),
                listener: listener_metrics(),
                ingress: Arc::clone(&parts.ingress),
                pipeline: parts.pipeline.clone(),
                registry: parts.registry.clone(),
            };
            let server = listen_admin(socket, web::Data::new(state))
                .map_err(|error| Error::bind("admin.bind", address, error))?;
            Some(Listener::spawn(address, server))
        }
    };
    parts.ingress.running().settle(Handle::current());
    parts.ingress.watch(&Handle::current());
    let paths = settings
        .sources
        .iter()
        .map(|source| source.patterns()[0].clone());
    Ok(Server {
        public,
        admin,
        receiver,
        paths: paths.collect(),
        promise: settings.journal.promise(),
        // Last: a gateway may send as soon as it is told where to.
        registrars: register(settings),
    })
}

fn register(settings: &Settings) -> JoinSet<()> {
    for gateway in &settings.gateways {
        if gateway.has_secret_of(&settings.sources) == Some(false) {
            log::warn!(
                "gateway {}: no source has the secret it is given, so what it sends is refused",
                gateway.name
            );
        }
    }
    let gateways = settings.gateways.iter();
    let registrars = gateways.map(GatewaySettings::registrar).collect();
    Registrar::start(registrars, Retry::default())
}

fn bind(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let listen = || {
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        let bound = socket.local_addr()?;
        Ok((socket, bound))
    };
    listen().map_err(|error| Error::bind(key, address, error))
}

fn public_builder(server: &ServerSettings) -> ServerBuilder {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let workers = match server.workers {
        0 => cores(),
        workers => workers,
    };
    // Each worker has a share of the connections, so there are not more workers than those.
    let workers = workers.min(MAX_WORKERS).min(server.max_connections);
    ServerBuilder::new()
        .workers(workers)
        // actix counts for each worker.
        .max_concurrent_connections(server.max_connections / workers)
        .shutdown_timeout(STOP_TIMEOUT.as_secs())
        .disable_signals()
}

fn listen_public(
    builder: ServerBuilder,
    socket: TcpListener,
    ingress: &Arc<Ingress>,
    guard: &Arc<Guard>,
) -> std::io::Result<actix_server::Server> {
    let stopping = builder.graceful_shutdown_signal();
    let (ingress, guard) = (Arc::clone(ingress), Arc::clone(guard));
    let builder = builder.listen("public", socket, move || {
        let (ingress, stopping) = (Arc::clone(&ingress), stopping.clone());
        let guard = Arc::clone(&guard);
        fn_service(move |stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            // Answers are one small packet; they must not wait for an acknowledgement.
            let _ = stream.set_nodelay(true);
            let guarded = Guarded::new(stream, Arc::clone(&guard));
            async move { Ok::<_, ()>((guarded, peer)) }
        })
        .and_then(on_demand(move || http(&ingress, &stopping)))
    })?;
    Ok(builder.run())
}

/// Serves the admin routes on one worker.
fn listen_admin(
    socket: TcpListener,
    state: web::Data<AdminState>,
) -> std::io::Result<actix_server::Server> {
    let builder = ServerBuilder::new()
        .workers(1)
        .max_concurrent_connections(MAX_ADMIN_CONNECTIONS)
        .shutdown_timeout(1)
        .disable_signals();
    let builder = builder.listen("admin", socket, move || {
        let state = state.clone();
        on_demand(move || admin::http(state.clone()))
    })?;
    Ok(builder.run())
}

/// What becomes of a connection to the public listener.
fn http(
    ingress: &Arc<Ingress>,
    stopping: &GracefulShutdownSignal,
) -> impl ServiceFactory<(Guarded, Option<SocketAddr>), Config = (), Response = ()> + use<> {
    let (answering, expecting) = (Arc::clone(ingress), Arc::clone(ingress));
    let stopping = stopping.clone();
    HttpService::build()
        // The guarded connection sees to both, for every request.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER)
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        .on_connect_ext(|connection: &Guarded, data| {
            data.insert(connection.deadline().clone());
        })
        .expect(fn_service(move |req: Request| {
            let verdict = expecting.before_continue(req.head());
            async move {
                match verdict {
                    Ok(()) => Ok(req),
                    Err(answer) => Err(actix_http::Response::from(*answer)),
                }
            }
        }))
        .h1(fn_service(move |req: Request| {
            let answering = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(answer(&answering, req).await) }
        }))
}

/// Answers a request, and tells its connection what the sender owes meanwhile.
async fn answer(ingress: &Ingress, mut request: Request) -> HttpResponse {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    let payload = request.take_payload();
    if let Some(deadline) = &deadline {
        deadline.request(!matches!(payload, Payload::None));
    }
    let kept = deadline.as_ref().map(|deadline| deadline as &dyn Deadline);
    let mut answer = ingress.answer("", request.head(), payload, kept).await;
    if let Some(deadline) = &deadline {
        if !deadline.is_complete() {
            // What is left of the body must not be taken for the next request.
            let head = answer.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        deadline.answered();
    }
    answer
}

impl Listener {
    fn spawn(address: SocketAddr, server: actix_server::Server) -> Self {
        Self {
            address,
            handle: server.handle(),
            task: actix_rt::spawn(server),
        }
    }
}

impl Server {
    /// Where webhooks are received.
    pub fn public_address(&self) -> SocketAddr {
        self.public.address
    }

    /// Where the administrator is answered, if there is an admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|listener| listener.address)
    }

    /// Logs where it listens, and what it promises.
    pub(crate) fn log_start(&self) {
        for path in &self.paths {
            log::info!("receiving webhooks on http://{}{path}", self.public.address);
        }
        if let Some(admin) = self.admin_address() {
            log::info!("health and metrics on http://{admin}/health and /metrics");
        }
        log::info!("engine {}", self.promise);
    }

    /// Serves until SIGINT or SIGTERM, then stops as [`Server::stop`] does. A second signal ends the
    /// wait for what still runs.
    ///
    /// # Errors
    ///
    /// When the system does not let the process listen to signals, or a listener breaks down.
    pub async fn run_until_stopped(self) -> Result<(), Error> {
        self.run(|_| {}).await
    }

    /// As [`Server::run_until_stopped`]; says that it has `begun` as soon as it can be stopped.
    pub(crate) async fn run(mut self, begun: impl FnOnce(&Self)) -> Result<(), Error> {
        let refused = |error| Error::Io {
            what: "listening to signals",
            error,
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
        begun(&self);
        let mut asked = async || {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            }
        };
        tokio::select! {
            name = asked() => log::info!("{name}: finishing what runs (once more to end at once)"),
            ended = &mut self.public.task => {
                let error = match ended {
                    Ok(Ok(())) => std::io::Error::other("it ended"),
                    Ok(Err(error)) => error,
                    Err(error) => std::io::Error::other(error),
                };
                return Err(Error::Io { what: "the public listener", error });
            }
        }
        let public = self.public.handle.clone();
        let stop = pin!(self.stop());
        let again = pin!(asked());
        match select(stop, again).await {
            Either::Left(_) => log::info!("stopped"),
            Either::Right((name, _)) => {
                // What runs is dropped, not forgotten: programs of `exec` end with it.
                public.stop(false).await;
                log::warn!("{name} again: stopped with work unfinished");
            }
        }
        Ok(())
    }

    /// Stops: no new connection is accepted, every request that was begun is answered, every event
    /// that was verified is seen through, for [`STOP_TIMEOUT`] at most; then the connections are
    /// closed, the admin listener last.
    pub async fn stop(self) {
        drop(self.registrars);
        let public = self.public.handle;
        if tokio::time::timeout(STOP_TIMEOUT, finish(self.receiver.parts(), &public))
            .await
            .is_err()
        {
            log::warn!("handlers still run after {STOP_TIMEOUT:?}; they are cut off");
            public.stop(false).await;
        }
        if let Some(admin) = self.admin {
            admin.handle.stop(false).await;
        }
    }
}

async fn finish(parts: &Parts, public: &ServerHandle) {
    let running = parts.ingress.running();
    running.drain();
    parts.ingress.unwatch();
    public.pause().await;
    running.idle().await;
    public.stop(true).await;
    // A sender may have hung up in between, and its event gone on without it.
    running.idle().await;
    if let Some(pipeline) = &parts.pipeline {
        pipeline.stop().await;
    }
}

/// How long a graceful stop waits for what runs.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

const MAX_ADMIN_CONNECTIONS: usize = 256;

/// actix allows no more.
const MAX_WORKERS: usize = 512;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
