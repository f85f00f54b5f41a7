//! [`HandlerOptions`]: which events a handler wants, and how it wants them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::{Order, Retry};
use crate::EventKind;

/// What a handler wants and how. What is not set here is as `[dispatch]` of the settings says.
///
/// ```
/// use std::time::Duration;
/// use offhook::{EventKind, HandlerOptions, Order};
///
/// let options = HandlerOptions::default()
///     .events([EventKind::Message])
///     .order(Order::Session)
///     .timeout(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The kinds of events it wants; `None`: all [that are received](EventKind::RECEIVED).
    pub events: Option<BTreeSet<EventKind>>,
    /// The sessions whose events it wants; `None`: all.
    pub sessions: Option<BTreeSet<String>>,
    /// What comes one at a time.
    pub order: Option<Order>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many attempts run at the same time; 0 is as 1.
    pub concurrency: Option<usize>,
    /// When a failed event is tried again.
    pub retry: Option<Retry>,
    /// Whether statuses of a message only go forward.
    pub monotonic: Option<bool>,
    /// Nothing more starts when nothing has succeeded for so long while attempts failed.
    pub(crate) suspend_after: Option<Duration>,
}

impl HandlerOptions {
    /// Only events of these kinds; unless told, all [that are received](EventKind::RECEIVED).
    pub fn events(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.events = Some(kinds.into_iter().collect());
        self
    }

    /// Only events of these sessions; of all unless told, or where one of them is `"*"`.
    pub fn sessions<S: Into<String>>(mut self, sessions: impl IntoIterator<Item = S>) -> Self {
        let sessions: BTreeSet<String> = sessions.into_iter().map(Into::into).collect();
        self.sessions = (!sessions.contains("*")).then_some(sessions);
        self
    }

    /// What comes one at a time; [`Order::Conversation`] unless told.
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// How long one attempt may take; [`DEFAULT_TIMEOUT`] unless told.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many attempts run at once; [`DEFAULT_CONCURRENCY`] unless told. At least 1. Where there are
    /// more, a quarter of them (at least one) is kept for first attempts, so that retries that hang do
    /// not hold up fresh events; that needs a journal.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = Some(concurrency.max(1));
        self
    }

    /// When a failed event is tried again; without a journal only its sender can. [`Retry::default`]
    /// unless told.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Whether statuses of a message only go forward: a `sent` or `delivered` after a `read` is left
    /// out, and of several that wait only the furthest is handed over. Needs a journal; all are
    /// handed over unless told.
    pub fn monotonic_status(mut self, monotonic: bool) -> Self {
        self.monotonic = Some(monotonic);
        self
    }

    /// These options, with `defaults` where they say nothing.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        let concurrency = self.concurrency.or(defaults.concurrency);
        Self {
            events: self.events.or_else(|| defaults.events.clone()),
            sessions: self.sessions.or_else(|| defaults.sessions.clone()),
            order: self.order.or(defaults.order),
            timeout: self.timeout.or(defaults.timeout),
            concurrency: concurrency.map(|attempts| attempts.max(1)),
            retry: self.retry.or(defaults.retry),
            monotonic: self.monotonic.or(defaults.monotonic),
            suspend_after: self.suspend_after.or(defaults.suspend_after),
        }
    }
}

/// How long one attempt may take where nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many attempts of one handler run at once where nothing else is said.
pub const DEFAULT_CONCURRENCY: usize = 64;
