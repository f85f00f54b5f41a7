//! The signals of the process, and the steps of a graceful stop.

use std::time::Duration;

use actix_server::ServerHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::receiver::Parts;
use crate::Error;

/// SIGINT and SIGTERM.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From now on the signals do not kill the process.
    pub(super) fn listen() -> Result<Self, Error> {
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal. Returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Makes a write past the limit on file sizes (RLIMIT_FSIZE) fail as one to a full disk does, for the rest of the process's life.
///
/// The system also sends SIGXFSZ, which kills a process without a handler for it, so a handler is
/// installed. Programs that `exec` starts have the system's default again.
///
/// # Errors
///
/// When the system does not let the process listen to signals.
pub(super) fn fail_writes_past_file_limit() -> Result<(), Error> {
    // The handler stays installed when the stream of signals is dropped.
    listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| Error::Io {
        what: "listening to signals",
        error,
    })
}

/// Stops all parts of a server, within [`STOP_TIMEOUT`] and what closing the listeners takes.
pub(super) async fn stop(
    registrars: JoinSet<()>,
    parts: &Parts,
    public: &ServerHandle,
    admin: Option<&ServerHandle>,
) {
    // The gateways are not told any more to send here.
    drop(registrars);
    if timeout(STOP_TIMEOUT, finish(parts, public)).await.is_err() {
        log::warn!("handlers still run after {STOP_TIMEOUT:?}; they are cut off");
        public.stop(false).await;
    }
    // Last, so that the administrator can watch the stop.
    if let Some(admin) = admin {
        admin.stop(false).await;
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

/// How long a graceful stop waits for work that runs.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(30);
