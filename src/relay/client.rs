//! [`RelayClient`]: one HTTP client for all subscribers.
//!
//! What holds for every request: the guard has vetted the address, no proxy stands in between, no
//! redirect is followed, nothing is kept of the answer, and all of it ends within the timeout.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::Timestamp;
use rustls::RootCertStore;
use tokio::time::timeout;

use super::answer::{self, Judgement};
use super::connector::Connector;
use super::guard::Guard;
use super::request::Target;
use super::{RelayError, RelayOptions, failure};
use crate::Delivery;
use crate::clock::{Clock, SystemClock};

/// One HTTP client for all subscribers; its clones share its connections.
#[derive(Debug, Clone)]
pub(crate) struct RelayClient {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    http: Client<Connector, Full<Bytes>>,
    guard: Guard,
    give_up_on: BTreeSet<u16>,
    limits: TimeLimits,
    clock: Arc<dyn Clock>,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Finding the address, connecting and TLS.
    pub(super) connection: Duration,
    /// That, the request and the answer.
    pub(super) attempt: Duration,
}

impl RelayClient {
    /// A client without connections yet, which takes the time from the system's clock.
    pub(crate) fn new(options: &RelayOptions) -> Result<Self, RelayError> {
        let guard = Guard::new(options.allow_private, options.allow.clone());
        Self::with(guard, options, Arc::new(SystemClock), None)
    }

    /// A client with a clock of its own, and, in tests, with certificates of their own to trust.
    pub(super) fn with(
        guard: Guard,
        options: &RelayOptions,
        clock: Arc<dyn Clock>,
        roots: Option<RootCertStore>,
    ) -> Result<Self, RelayError> {
        let limits = TimeLimits {
            connection: options.timeout.mul_f64(SLOWEST_CONNECTION),
            attempt: options.timeout,
        };
        let http = http(Connector::new(&guard, limits.connection, roots)?);
        Ok(Self {
            shared: Arc::new(Shared {
                http,
                guard,
                give_up_on: options.give_up_on.clone(),
                limits,
                clock,
            }),
        })
    }

    /// Who says where requests may go.
    pub(crate) fn guard(&self) -> &Guard {
        &self.shared.guard
    }

    /// Makes one attempt; says what the answer means, or why there is none.
    pub(super) async fn send(
        &self,
        target: &Target,
        delivery: &Delivery,
    ) -> Result<(StatusCode, Judgement), String> {
        let Shared { guard, limits, .. } = self.shared.as_ref();
        if target.is_literal() {
            // Nobody resolves it, so the guard does not see it on the way.
            let judged = guard.check(target.url());
            judged.map_err(|refusal| refusal.to_string())?;
        }
        let uri = target
            .uri()
            .ok_or("the URL cannot be written into a request")?;
        let begun = SystemClock.monotonic();
        let response = timeout(limits.attempt, self.ask(target, uri, delivery)).await;
        let response = response.map_err(|_| failure::no_answer(*limits))?;
        let response = response.map_err(|error| failure::in_words(&error, *limits))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let give_up_on = &self.shared.give_up_on;
        let judgement = answer::judge(status, retry_after, give_up_on, self.now());
        let body = response.into_body();
        if !body.is_end_stream() {
            let spent = SystemClock.monotonic().saturating_duration_since(begun);
            let left = limits.attempt.saturating_sub(spent);
            drain(body, left.min(SLOWEST_ANSWER)).await;
        }
        Ok((status, judgement))
    }

    /// Sends the request, and again where the other side says that it has not looked at it.
    async fn ask(
        &self,
        target: &Target,
        uri: &Uri,
        delivery: &Delivery,
    ) -> Result<Response<Incoming>, legacy::Error> {
        let mut repeats = 0;
        loop {
            let request = target.request(uri.clone(), delivery, self.now());
            match self.shared.http.request(request).await {
                Err(error) if repeats < MOST_REPEATS && failure::is_untouched(&error) => {
                    repeats += 1;
                }
                answered => return answered,
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

/// Reads the rest of an answer, so that the connection can be used again. The status has decided
/// already: of a body that is long, slow or cut off the connection is closed, and that is all.
async fn drain(mut body: Incoming, limit: Duration) {
    let declared = body.size_hint().exact();
    if declared.is_some_and(|length| length > LONGEST_ANSWER) {
        return;
    }
    let reading = async {
        let mut left = LONGEST_ANSWER;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(read as u64) else {
                break;
            };
            left = rest;
        }
    };
    let _ = timeout(limit, reading).await;
}

fn http(connector: Connector) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(LONGEST_IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        // While requests wait on a connection of HTTP/2, whether the other side is still there; else
        // all the next ones would wait on it too.
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PING)
        .build(connector)
}

/// What is read of an answer, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// How long the rest of an answer is waited for.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// How often a request is sent again that the other side has not looked at.
const MOST_REPEATS: u8 = 2;

/// How much of an attempt's time a connection may take to be made.
const SLOWEST_CONNECTION: f64 = 0.75;

/// How long a connection is kept without work, and how many a host.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE: usize = 64;

/// After how long without a word the other side is asked for one, and how long that may take.
const HTTP2_PING: Duration = Duration::from_secs(5);
