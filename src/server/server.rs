//! [`Server`]: offhook with its listeners, running in the background.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_server::ServerHandle;
use futures_util::future::join;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::descriptors::Descriptors;
use super::listeners::{BoundSocket, Listener, STOP_TIMEOUT, workers};
use super::parts::Parts;
use super::receiver::Receiver;
use super::reloads::{PublicLive, Reloads};
use super::signals::{Signals, StopSignal, fail_writes_past_file_limit};
use super::systemd::{self, Supervisor};
use super::tls::ListenersTls;
use crate::Error;
use crate::gateway::Registrars;
use crate::relay::RelayedTo;
use crate::settings::{AdminSettings, Settings};

/// A server that runs in the background. [`Server::stop`] stops it gracefully; dropping it breaks off what runs, as if
/// the process had ended.
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
    /// The paths that receive webhooks, for the log.
    paths: Vec<String>,
    /// The task that watches the ends of certificates.
    _watching: JoinSet<()>,
    /// How the URLs of the public and the admin listener begin.
    schemes: (&'static str, &'static str),
    /// The tasks that tell the gateways where to send. They end with the server.
    registrars: Arc<Registrars>,
    /// What of its settings can change.
    live: PublicLive,
    /// systemd, if it has started the process.
    supervisor: Arc<Supervisor>,
    /// The task that reloads the settings, if they come from a file.
    reloads: Option<Reloads>,
}

/// Binds the listeners and serves in the background.
pub(crate) fn start(settings: &Settings, receiver: Receiver) -> Result<Server, Error> {
    fail_writes_past_file_limit()?;
    // Both are bound before one is served, so that a start that fails has served nothing.
    let public = BoundSocket::bind("server.bind", settings.server.bind)?;
    let admin = match &settings.admin {
        Some(admin) => Some(BoundSocket::bind("admin.bind", admin.bind)?),
        None => None,
    };
    let tls = ListenersTls::new(settings)?;
    let schemes = tls.schemes();
    let mut watching = JoinSet::new();
    let parts = receiver.parts();
    let (metrics, clock) = (
        Arc::clone(&parts.metrics),
        Arc::clone(&parts.reloading.clock),
    );
    watching.spawn(tls.clone().watch(metrics, clock));
    systemd::warn_of_others();
    let of_admin = settings.admin.iter().flat_map(AdminSettings::warnings);
    for warning in of_admin.chain(settings.warnings()) {
        log::warn!("{warning}");
    }
    let workers = workers(&settings.server);
    let descriptors = Descriptors::divide(workers, settings.server.max_connections);
    let (live, registrars) = (
        PublicLive::new(&settings.server),
        Arc::<Registrars>::default(),
    );
    let supervisor = Arc::<Supervisor>::default();
    let reloads = Reloads::start(
        settings,
        parts,
        &registrars,
        &live,
        tls.clone(),
        &supervisor,
    )?;
    let (reloads, handle) = reloads.unzip();
    let admin = match admin {
        Some(socket) => {
            let state = parts.admin_state(false, handle);
            Some(socket.serve_admin(state, descriptors, tls.admin)?)
        }
        None => None,
    };
    let public = public.serve_public(&settings.server, parts, descriptors, &live, tls.public)?;
    parts.ingress.running().settle(Handle::current());
    parts.ingress.watch(&Handle::current());
    let paths = settings
        .sources
        .iter()
        .map(|source| source.patterns()[0].clone())
        .collect();
    Ok(Server {
        public,
        admin,
        receiver,
        paths,
        schemes,
        _watching: watching,
        // Last: a gateway may send as soon as it knows where to.
        registrars: start_registrars(settings, registrars),
        live,
        supervisor,
        reloads,
    })
}

/// Starts one task for each gateway.
fn start_registrars(settings: &Settings, registrars: Arc<Registrars>) -> Arc<Registrars> {
    for gateway in &settings.gateways {
        if gateway.has_secret_of(&settings.sources) == Some(false) {
            let schemes = gateway.gateway.kind().schemes().first();
            let with = schemes.map(|scheme| format!(" with scheme = {scheme:?}"));
            log::warn!(
                "gateway {}: no source{} has the secret it is given, so what it sends is refused",
                gateway.name,
                with.unwrap_or_default()
            );
        }
    }
    registrars.replace(&settings.gateways);
    registrars
}

impl Server {
    /// The address that receives webhooks.
    pub fn public_address(&self) -> SocketAddr {
        self.public.address
    }

    /// The address of the admin listener, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|listener| listener.address)
    }

    /// Where events are relayed to: the subscriptions of the settings, and those that the journal has.
    pub fn subscriptions(&self) -> Vec<RelayedTo> {
        let registry = self.receiver.parts().registry.as_ref();
        registry
            .map(|registry| registry.summary())
            .unwrap_or_default()
    }

    /// Logs where it listens, and what its engine promises.
    pub(crate) fn log_start(&self) {
        for path in &self.paths {
            log::info!(
                "receiving webhooks on {}://{}{path}",
                self.schemes.0,
                self.public.address
            );
        }
        if let Some(admin) = self.admin_address() {
            log::info!(
                "health and metrics on {}://{admin}/health and /metrics",
                self.schemes.1
            );
        }
        log::info!("engine {}", self.receiver.parts().promise);
    }

    /// Serves until SIGINT or SIGTERM, then stops as [`Server::stop`] does. With `server.drain_delay` the stop
    /// is announced first: `/ready` answers 503, and requests are still taken for that time. A second signal
    /// ends the server without waiting for the work that still runs: handlers are dropped, and programs of
    /// `exec` are killed. SIGHUP does not end it; it reloads the settings, if they come from a file.
    ///
    /// # Errors
    ///
    /// When the system does not let the process listen to signals, when the public listener fails,
    /// [`Error::JournalBroken`], or, after a second signal, [`Error::Interrupted`].
    pub async fn run_until_stopped(self) -> Result<(), Error> {
        self.run(|_| {}).await
    }

    /// As [`Server::run_until_stopped`]. Calls `begun` as soon as signals stop it gracefully.
    pub(crate) async fn run(mut self, begun: impl FnOnce(&Self)) -> Result<(), Error> {
        let mut signals = Signals::listen(self.reloads.is_some())?;
        begun(&self);
        self.supervisor.ready(self.public.address);
        let first = self.serve_until(signals.next_stop()).await?;
        if let Some(delay) = self.announce_stop() {
            self.supervisor
                .stopping(delay + STOP_TIMEOUT + STOP_RESERVE);
            log::info!(
                "{}: /ready answers 503, and requests are taken for {delay:?} more",
                first.name
            );
            if let Ok(second) = timeout(delay, self.serve_until(signals.next_stop())).await {
                let second = second?;
                return Err(self.interrupted(second).await);
            }
        }
        log::info!(
            "{}: stopping; what runs is finished, for at most {STOP_TIMEOUT:?}. Press Ctrl-C again, or send the \
             signal again, to stop immediately",
            first.name
        );
        self.supervisor.stopping(STOP_TIMEOUT + STOP_RESERVE);
        let second = tokio::select! {
            () = self.stop_in_order() => None,
            second = signals.next_stop() => Some(second),
        };
        if let Some(second) = second {
            return Err(self.interrupted(second).await);
        }
        log::info!("stopped");
        Ok(())
    }

    /// Serves until there is a signal. Fails when nothing can be served any more.
    async fn serve_until(
        &mut self,
        signal: impl Future<Output = StopSignal>,
    ) -> Result<StopSignal, Error> {
        let error = tokio::select! {
            signal = signal => return Ok(signal),
            error = self.public.failure() => Error::Io { what: "the public listener", error },
            () = broken(self.receiver.parts()) => Error::JournalBroken,
        };
        // There is nothing to finish: no event can be received, or no progress stored.
        self.cut_off().await;
        Err(error)
    }

    /// Lets load balancers know that the server stops. Returns how long it still takes requests; `None` if it
    /// stops immediately.
    fn announce_stop(&mut self) -> Option<Duration> {
        // The gateways are not told any more to send here.
        self.registrars.stop();
        self.receiver.parts().ingress.running().leave();
        let delay = self.live.drain_delay();
        (!delay.is_zero()).then_some(delay)
    }

    /// Stops without `drain_delay`: no new connection is accepted, requests that have begun are answered, and
    /// events that were verified are finished, for at most [`STOP_TIMEOUT`](crate::STOP_TIMEOUT). Then the
    /// connections are closed, those to the admin listener last.
    pub async fn stop(mut self) {
        self.stop_in_order().await;
    }

    async fn stop_in_order(&mut self) {
        // Nothing changes any more while it stops.
        self.reloads = None;
        // The gateways are not told any more to send here.
        self.registrars.stop();
        let parts = self.receiver.parts();
        // Viewers are sent away now and not at the end, where the journal is closed.
        let finished = join(
            finish(parts, &self.public.handle),
            parts.metrics.news().end(),
        );
        if timeout(STOP_TIMEOUT, finished).await.is_err() {
            log::warn!("handlers still run after {STOP_TIMEOUT:?}; they are cut off");
            self.cut_off().await;
        } else if let Some(admin) = &self.admin {
            // Last, so that the administrator can watch the stop.
            admin.handle.stop(false).await;
        }
    }

    /// Ends everything because of a second signal.
    async fn interrupted(mut self, second: StopSignal) -> Error {
        self.cut_off().await;
        let StopSignal { name, number } = second;
        Error::Interrupted { name, number }
    }

    /// Ends everything without finishing it: requests, handlers and attempts are dropped, so that programs of
    /// `exec` are killed. Waits for that for at most [`CUT_OFF_LIMIT`].
    async fn cut_off(&mut self) {
        self.reloads = None;
        self.registrars.stop();
        let parts = self.receiver.parts();
        let running = parts.ingress.running();
        running.cut_off();
        let pipeline = async {
            if let Some(pipeline) = &parts.pipeline {
                pipeline.cut_off(CUT_OFF_LIMIT).await;
            }
        };
        let listeners = async {
            self.public.cut_off().await;
            if let Some(admin) = &mut self.admin {
                admin.cut_off().await;
            }
            // The threads of the listener drop what they had.
            running.idle().await;
        };
        // What blocks its thread does not end.
        let _ = join(pipeline, timeout(CUT_OFF_LIMIT, listeners)).await;
    }
}

/// Returns when the journal can store nothing more.
async fn broken(parts: &Parts) {
    match &parts.pipeline {
        Some(pipeline) => pipeline.journal().broken().await,
        None => std::future::pending().await,
    }
}

/// Finishes everything that runs, from the sockets down to the journal.
async fn finish(parts: &Parts, public: &ServerHandle) {
    let running = parts.ingress.running();

    // First, for load balancers: `/ready` answers 503. Connections are closed after their next answer.
    running.drain();

    // The silence that begins now is not that of the sources, so it is not reported.
    parts.ingress.unwatch();

    // No new connection is accepted, and each open one has at most one request left.
    public.pause().await;

    // The events that are with the engine are finished while their senders can still be answered.
    running.idle().await;

    // Open connections are answered and closed, and the workers end.
    public.stop(true).await;

    // Again: events whose senders hung up go on without a connection, and do not hold up the step before.
    running.idle().await;

    // After all events are durable: consumers finish their attempts and save their progress, then the
    // journal is closed.
    if let Some(pipeline) = &parts.pipeline {
        pipeline.stop().await;
    }
}

/// How long to wait until what is cut off has ended. `offhook serve` ends half a second after a second signal.
const CUT_OFF_LIMIT: Duration = Duration::from_millis(250);
/// How much longer than the work that runs a whole stop may take.
const STOP_RESERVE: Duration = Duration::from_secs(10);
