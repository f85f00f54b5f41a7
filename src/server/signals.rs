//! [`Signals`]: what the system or the user tells the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Error;

/// The signals that a running server handles.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    /// SIGHUP reloads the settings; that is done elsewhere.
    reloads: bool,
}

/// A signal that asks to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct StopSignal {
    pub(super) name: &'static str,
    pub(super) number: i32,
}

impl Signals {
    /// From now on none of them ends the process.
    pub(super) fn listen(reloads: bool) -> Result<Self, Error> {
        Ok(Self {
            reloads,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal that asks to stop.
    pub(super) async fn next_stop(&mut self) -> StopSignal {
        let stop = |name, kind: SignalKind| StopSignal {
            name,
            number: kind.as_raw_value(),
        };
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return stop("SIGINT", SignalKind::interrupt()),
                _ = self.terminate.recv() => return stop("SIGTERM", SignalKind::terminate()),
                _ = self.hangup.recv() => {
                    if !self.reloads {
                        log::warn!(
                            "SIGHUP: the settings were made in code, so there is no file to load again"
                        );
                    }
                }
            }
        }
    }
}

/// Each SIGHUP from now on.
pub(super) fn hangups() -> Result<Signal, Error> {
    listen(SignalKind::hangup())
}

/// For the rest of the process's life, SIGHUP does not end it.
pub(crate) fn survive_hangup() -> Result<(), Error> {
    // The handler stays installed when the stream of signals is dropped.
    listen(SignalKind::hangup()).map(drop)
}

/// Makes a write past the limit on file sizes (RLIMIT_FSIZE) fail as one to a full disk does, for the rest
/// of the process's life.
///
/// The system also sends SIGXFSZ, which kills a process without a handler for it, so a handler is
/// installed. Programs that `exec` starts have the system's default again.
pub(super) fn fail_writes_past_file_limit() -> Result<(), Error> {
    listen(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// From now on the signal does not kill the process.
fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(|error| Error::Io {
        what: "listening to signals",
        error,
    })
}
