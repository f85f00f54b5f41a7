//! The two listeners: binding their sockets, and serving each as an actix server, down to the
//! answers of the receiver.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{ConnectionType, HttpService, KeepAlive, Payload, Request};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, ServerBuilder, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service};
use actix_web::{HttpResponse, web};
use socket2::{Domain, Socket, Type};
use tokio::task::JoinHandle;

use super::connection::{Connection, ConnectionContext};
use super::deadline::{LINGER, RequestDeadline};
use super::receiver::Parts;
use crate::Error;
use crate::admin::{self, AdminState};
use crate::ingress::Ingress;
use crate::settings::ServerSettings;
use crate::signature::Deadline;
use crate::telemetry::Throttle;

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
    /// Listens on `address`, which the settings have under `key`.
    pub(super) fn bind(key: &'static str, address: SocketAddr) -> Result<Self, Error> {
        let listen = || {
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
    ) -> Result<Listener, Error> {
        let builder = public_builder(settings);
        let stopping = builder.graceful_shutdown_signal();
        let ingress = Arc::clone(&parts.ingress);
        let context = Arc::new(ConnectionContext {
            request_timeout: settings.request_timeout,
            keep_alive: settings.keep_alive,
            metrics: parts.metrics.listener(),
            slow_heads: Throttle::default(),
        });
        let builder = builder.listen("public", self.socket, move || {
            let context = Arc::clone(&context);
            fn_service(move |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                // An answer is one small packet, which must not wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let connection = Connection::new(stream, Arc::clone(&context));
                async move { Ok::<_, ()>((connection, peer)) }
            })
            .and_then(http(&ingress, &stopping))
        });
        Listener::spawn(self.key, self.address, builder)
    }

    /// Serves the admin API, with one worker.
    pub(super) fn serve_admin(self, state: AdminState) -> Result<Listener, Error> {
        let state = web::Data::new(state);
        let builder = ServerBuilder::new()
            .workers(1)
            .max_concurrent_connections(MAX_ADMIN_CONNECTIONS)
            .shutdown_timeout(1)
            .disable_signals()
            .listen("admin", self.socket, move || admin::http(state.clone()));
        Listener::spawn(self.key, self.address, builder)
    }
}

fn public_builder(settings: &ServerSettings) -> ServerBuilder {
    let workers = if settings.workers == 0 {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        settings.workers
    };
    // Each worker has a share of the connections, so there are not more workers than connections.
    let workers = workers.min(MAX_WORKERS).min(settings.max_connections);
    ServerBuilder::new()
        .workers(workers)
        // actix's limit is per worker.
        .max_concurrent_connections(settings.max_connections / workers)
        .shutdown_timeout(STOP_TIMEOUT.as_secs())
        .disable_signals()
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

    /// Waits until it ends without having been stopped. Returns why.
    pub(super) async fn failure(&mut self) -> io::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => io::Error::other("it ended"),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        }
    }
}

/// Serves connections to the public listener.
fn http(
    ingress: &Arc<Ingress>,
    stopping: &GracefulShutdownSignal,
) -> impl ServiceFactory<
    (Connection, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = (),
    InitError = (),
> + use<> {
    let (answering, expecting) = (Arc::clone(ingress), Arc::clone(ingress));
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
            let verdict = expecting.before_continue(request.head());
            async move {
                match verdict {
                    Ok(()) => Ok(request),
                    Err(answer) => Err(actix_http::Response::from(*answer)),
                }
            }
        }))
        .h1(fn_service(move |request: Request| {
            let answering = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(answer(&answering, request).await) }
        }))
        // actix-http has answered it, and the senders of broken requests are not logged.
        .map_err(drop)
}

/// Answers a request, and keeps its connection's deadline up to date.
async fn answer(ingress: &Ingress, mut request: Request) -> HttpResponse {
    let deadline = request.conn_data::<RequestDeadline>().cloned();
    let payload = request.take_payload();
    if let Some(deadline) = &deadline {
        deadline.request_begun(!matches!(payload, Payload::None));
    }
    let kept = deadline.as_ref().map(|deadline| deadline as &dyn Deadline);
    let mut answer = ingress.answer(request.head(), payload, kept).await;
    if let Some(deadline) = &deadline {
        if !deadline.is_complete() {
            // The rest of the body must not be read as the next request.
            let head = answer.head_mut();
            head.set_connection_type(ConnectionType::Close);
        }
        deadline.answered();
    }
    answer
}

/// How long a graceful stop waits for work that runs.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How many connections the admin listener has at most.
const MAX_ADMIN_CONNECTIONS: usize = 256;

/// The most workers that actix allows.
const MAX_WORKERS: usize = 512;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
