//! [`Subscribers`]: they answer a fixed 200, on the core that sends, and count.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;
use offhook::clock::{Clock as _, SystemClock};

use crate::lab::Lab;
use crate::process::{pause, pin};
use crate::servers;

/// Subscribers on a thread of ours; they stay until the process ends.
pub(super) struct Subscribers {
    addresses: Vec<SocketAddr>,
    received: Arc<AtomicU64>,
}

impl Subscribers {
    pub(super) fn start(lab: &Lab, count: usize) -> anyhow::Result<Self> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let received = Arc::new(AtomicU64::new(0));
        let (core, counter) = (lab.load_core, Arc::clone(&received));
        std::thread::spawn(move || {
            pin(core);
            if let Err(error) = servers::fixed::run_on(listeners, &counter) {
                eprintln!("the subscribers failed: {error:#}");
            }
        });
        Ok(Self {
            addresses,
            received,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.addresses.len()
    }

    /// Their addresses, separated by commas.
    pub(super) fn list(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        all.join(",")
    }

    /// How many deliveries they have received, all together.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Restarts the count.
    pub(super) fn forget(&self) {
        self.received.store(0, Ordering::Relaxed);
    }

    /// Waits until they have so many.
    pub(super) fn wait_for(&self, deliveries: u64) -> anyhow::Result<()> {
        let start = SystemClock.monotonic();
        while self.received() < deliveries {
            pause(Duration::from_micros(200));
            if SystemClock.monotonic() - start > PATIENCE {
                let received = self.received();
                bail!("{received} of {deliveries} deliveries in {PATIENCE:?}");
            }
        }
        Ok(())
    }
}

const PATIENCE: Duration = Duration::from_secs(120);
