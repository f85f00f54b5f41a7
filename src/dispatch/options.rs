//! [`HandlerOptions`]: which events a handler wants, and how it wants them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::lane::Order;
use super::retry::Retry;
use crate::EventKind;

/// What a handler wants, and how. Options that are not set come from `[dispatch]` in the settings.
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
    /// The kinds of events it wants; `None`: all [received kinds](EventKind::RECEIVED).
    pub events: Option<BTreeSet<EventKind>>,
    /// The sessions whose events it wants; `None`: all.
    pub sessions: Option<BTreeSet<String>>,
    /// Which events come one at a time.
    pub order: Option<Order>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// How many attempts run at the same time; 0 counts as 1.
    pub concurrency: Option<usize>,
    /// When a failed event is tried again.
    pub retry: Option<Retry>,
    /// Whether statuses of a message only go forward.
    pub monotonic: Option<bool>,
    /// The consumer is suspended when attempts fail for this long without any success.
    pub(crate) suspend_after: Option<Duration>,
}

impl HandlerOptions {
    /// Only events of these kinds. Default: all [received kinds](EventKind::RECEIVED).
    pub fn events(mut self, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        self.events = Some(kinds.into_iter().collect());
        self
    }

    /// Only events of these sessions. Default: all, as also when one of them is `"*"`.
    pub fn sessions<S: Into<String>>(mut self, sessions: impl IntoIterator<Item = S>) -> Self {
        let sessions: BTreeSet<String> = sessions.into_iter().map(Into::into).collect();
        self.sessions = (!sessions.contains("*")).then_some(sessions);
        self
    }

    /// Which events come one at a time. Default: [`Order::Conversation`].
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// How long one attempt may take. Default: [`DEFAULT_TIMEOUT`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How many attempts run at the same time, at least 1. Default: [`DEFAULT_CONCURRENCY`]. Above 1,
    /// and with a journal, a quarter of the slots (at least one) is reserved for first attempts, so that
    /// retries that hang do not hold up fresh events.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = Some(concurrency);
        self
    }

    /// When a failed event is tried again. Default: [`Retry::default`]. Without a journal only the
    /// sender can try again.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Whether statuses of a message only go forward: a `sent` or `delivered` after a `read` is skipped,
    /// and of several waiting statuses only the furthest is delivered. Needs a journal. By default all
    /// are delivered.
    pub fn monotonic_status(mut self, monotonic: bool) -> Self {
        self.monotonic = Some(monotonic);
        self
    }

    /// Whether events of this session are wanted.
    pub(crate) fn wants_session(&self, session: Option<&str>) -> bool {
        match &self.sessions {
            None => true,
            Some(sessions) => session.is_some_and(|session| sessions.contains(session)),
        }
    }

    /// Whether events of this kind are wanted.
    pub(crate) fn wants_kind(&self, kind: EventKind) -> bool {
        match &self.events {
            None => !kind.is_own(),
            Some(kinds) => kinds.contains(&kind),
        }
    }

    /// These options, with `defaults` for those that are not set.
    pub(crate) fn or(self, defaults: &Self) -> Self {
        Self {
            events: self.events.or_else(|| defaults.events.clone()),
            sessions: self.sessions.or_else(|| defaults.sessions.clone()),
            order: self.order.or(defaults.order),
            timeout: self.timeout.or(defaults.timeout),
            concurrency: self.concurrency.or(defaults.concurrency),
            retry: self.retry.or(defaults.retry),
            monotonic: self.monotonic.or(defaults.monotonic),
            suspend_after: self.suspend_after.or(defaults.suspend_after),
        }
    }
}

/// How long one attempt may take by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How many attempts of one handler run at the same time by default.
pub const DEFAULT_CONCURRENCY: usize = 64;
