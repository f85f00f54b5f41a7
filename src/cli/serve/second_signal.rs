//! The last resort of an impatient user: the second SIGINT or SIGTERM ends the process, whatever blocks it.
//!
//! Usually [`Server::run_until_stopped`](offhook::Server::run_until_stopped) returns first, after it has
//! ended the programs of `exec`. But a disk that hangs can block it for as long as it likes.

use std::time::Duration;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Starts the thread that waits for two signals, after the server's own stop has been given a moment.
pub(super) fn watch() {
    // Without the thread, the server stops as it can.
    let _ = std::thread::Builder::new()
        .name("offhook-signals".to_owned())
        .spawn(|| {
            if let Some(number) = second() {
                #[expect(clippy::exit, reason = "the thread that would return is blocked")]
                std::process::exit(super::by_signal(number).into());
            }
        });
}

/// Waits for the second signal, and then for [`PATIENCE`]. Returns the signal's number, or `None` if signals
/// cannot be waited for.
fn second() -> Option<i32> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async {
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        let (mut interrupts, mut terminates) = (signal(interrupt).ok()?, signal(terminate).ok()?);
        let mut next = async || {
            tokio::select! {
                _ = interrupts.recv() => interrupt,
                _ = terminates.recv() => terminate,
            }
        };
        next().await;
        let second = next().await;
        tokio::time::sleep(PATIENCE).await;
        Some(second.as_raw_value())
    })
}

/// How long the server may take to end after the second signal.
const PATIENCE: Duration = Duration::from_millis(500);
