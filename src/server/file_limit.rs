//! A write past the limit on file sizes (RLIMIT_FSIZE) is an error, and does not kill the process.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// Makes a write past the limit fail as one to a full disk does, for the rest of the process's life.
///
/// The system also sends SIGXFSZ, which kills a process without a handler for it, so a handler is
/// installed. Programs that `exec` starts have the system's default again.
///
/// # Errors
///
/// When the system does not let the process listen to signals.
pub(crate) fn fail_writes_past_it() -> Result<(), Error> {
    let listening = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    // The handler stays installed when the stream of signals is dropped.
    listening.map(drop).map_err(|error| Error::Io {
        what: "listening to signals",
        error,
    })
}
