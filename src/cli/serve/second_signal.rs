//! The last resort of an impatient user: the second SIGINT or SIGTERM ends the process, whatever blocks it.
//!
//! Usually [`Server::run_until_stopped`](offhook::Server::run_until_stopped) returns first, after it has
//! ended the programs of `exec`. But a disk that hangs can block it for as long as it likes.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Starts the thread that waits for two signals, and then for [`PATIENCE`] or a third, the server's own end.
///
/// Call it as soon as the server listens to signals: from here on both count the same. One that came before
/// would be the first for this thread, and none for the server.
pub(super) fn watch() {
    let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
    let (Ok(interrupts), Ok(terminates)) = (signal(interrupt), signal(terminate)) else {
        // The server has them, and stops as it can.
        return;
    };
    // Without the thread, too.
    let _ = std::thread::Builder::new()
        .name("offhook-signals".to_owned())
        .spawn(|| {
            if let Some(second) = second(interrupts, terminates) {
                #[expect(clippy::exit, reason = "the thread that would return is blocked")]
                std::process::exit(super::by_signal(second.as_raw_value()).into());
            }
        });
}

/// Waits for the second signal, and then for a third, for at most [`PATIENCE`]. `None` if nothing can be waited for.
fn second(mut interrupts: Signal, mut terminates: Signal) -> Option<SignalKind> {
    // It reads what the system tells, because the other runtimes may be blocked.
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let mut next = async || {
            tokio::select! {
                _ = interrupts.recv() => SignalKind::interrupt(),
                _ = terminates.recv() => SignalKind::terminate(),
            }
        };
        next().await;
        let second = next().await;
        let _ = tokio::time::timeout(PATIENCE, next()).await;
        Some(second)
    })
}

/// How long the server may take to end after the second signal, and to kill the programs of `exec`. It needs a
/// quarter of a second, and longer on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(5);
