//! The two listeners: binding their sockets, and serving each as an actix server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use actix_server::{ServerBuilder, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service};
use actix_web::web;
use socket2::{Domain, Socket, Type};
use tokio::task::JoinHandle;

use super::connection::{Connection, ConnectionContext};
use super::deadline::Times;
use super::descriptors::Descriptors;
use super::handshakes::Handshakes;
use super::parts::Parts;
use super::public::{self, Front};
use super::reloads::PublicLive;
use super::seats::Seats;
use super::socket::Socket as Stream;
use super::tls::Tls;
use super::{admin, systemd};
use crate::Error;
use crate::admin::AdminState;
use crate::settings::ServerSettings;
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
        let front = Arc::new(Front::new(parts, live));
        let context = Arc::new(ConnectionContext {
            times: Arc::clone(&live.times),
            seats: Seats::new(most),
            proxies: Arc::clone(&live.proxies),
            tls,
            metrics: Some(parts.metrics.listener()),
            slow_heads: Throttle::default(),
            handshakes: Throttle::default(),
            large_heads: Throttle::default(),
        });
        let builder = builder.listen("public", self.socket, move || {
            guarded(&context).and_then(public::http(&front, &stopping))
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
            times: Times::fixed(admin::PACE, admin::KEEP_ALIVE),
            seats: Seats::new(most),
            proxies: Arc::default(),
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
                guarded(&context).and_then(admin::http(state.clone()))
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
    // This is called once for each worker.
    let handshakes = Rc::new(Handshakes::default());
    let context = Arc::clone(context);
    fn_service(move |stream: TcpStream| {
        let peer = stream.peer_addr().ok();
        // An answer is one small packet, which must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let (context, handshakes) = (Arc::clone(&context), Rc::clone(&handshakes));
        async move {
            let address = peer.map(|peer| peer.ip());
            let seat = context.seats.take(address);
            if address.is_some_and(|address| context.proxies.load().trusts(address)) {
                // It stands for many senders, who would lose their seats for one of them.
                seat.prove();
            }
            let stream = match &context.tls {
                None => Stream::Plain(stream),
                Some(tls) => match Box::pin(tls.accept(stream, &seat, handshakes.begin())).await {
                    Ok(stream) => Stream::Tls(stream),
                    Err(why) => {
                        if let Some(why) = why {
                            context.no_handshake(peer, &why);
                        }
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

impl Drop for Listener {
    /// Otherwise it would go on without what answers its requests.
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How long a graceful stop waits for work that runs.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The most workers that actix allows.
const MAX_WORKERS: usize = 512;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;
