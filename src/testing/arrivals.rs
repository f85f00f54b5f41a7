//! [`Arrivals`]: what has arrived so far, for a test to wait for.

use std::fmt::Write as _;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug)]
pub(super) struct Arrivals<T> {
    all: Mutex<Vec<T>>,
    came: Notify,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            came: Notify::default(),
        }
    }
}

impl<T: Clone> Arrivals<T> {
    pub(super) fn push(&self, one: T) {
        self.lock().push(one);
        self.came.notify_waiters();
    }

    /// All of them, in the order they arrived.
    pub(super) fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// Waits until at least `count` have arrived. After `limit` it panics with a list of those that have; `place`
    /// is the line of the test.
    #[allow(clippy::panic)] // a test wants to fail here
    pub(super) async fn wait_for(
        &self,
        count: usize,
        limit: Duration,
        place: &Location<'_>,
        shown: impl Fn(&T) -> String,
    ) -> Vec<T> {
        let enough = async {
            loop {
                let came = self.came.notified();
                let all = self.all();
                if all.len() >= count {
                    return all;
                }
                came.await;
            }
        };
        if let Ok(all) = tokio::time::timeout(limit, enough).await {
            return all;
        }
        let all = self.all();
        let mut list = String::new();
        for (index, one) in all.iter().enumerate() {
            let _ = write!(list, "\n  {}. {}", index + 1, shown(one));
        }
        let came = all.len();
        panic!("{place}: waited {limit:?} for {count}, and {came} came{list}")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a body, for a message.
pub(super) fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], body.len()),
        None => text.into_owned(),
    }
}

/// How long a test waits for what should come.
pub(super) const HANG_LIMIT: Duration = Duration::from_secs(30);
