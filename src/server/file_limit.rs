//! A file that may grow no longer (RLIMIT_FSIZE) is an error to deal with, not a signal to die of.

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::Error;

/// From now on a write past the limit fails, as one to a full disk does, for the rest of the
/// process's life: SIGXFSZ, which says the same and kills whoever does not listen, is listened to.
/// Programs that are started have the system's way back.
pub(crate) fn fail_writes_past_it() -> Result<(), Error> {
    let listening = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    // Once listened to it stays so; nobody needs to be told.
    listening.map(drop).map_err(|error| Error::Io {
        what: "listening to signals",
        error,
    })
}
