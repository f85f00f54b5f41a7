//! [`RelayClient`]: one HTTP client for all subscribers.
//!
//! What holds for every request: the guard has vetted the address, no proxy stands in between, no
//! redirect is followed, nothing is kept of the answer, and all of it ends within the timeout.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response, StatusCode};

use super::answer::{self, Judgement};
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
    http: reqwest::Client,
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
        Self::with(guard, options, Arc::new(SystemClock), |builder| builder)
    }

    /// A client with what tests want to be different.
    pub(super) fn with(
        guard: Guard,
        options: &RelayOptions,
        clock: Arc<dyn Clock>,
        change: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Result<Self, RelayError> {
        let limits = TimeLimits {
            connection: options.timeout.mul_f64(SLOWEST_CONNECTION),
            attempt: options.timeout,
        };
        let http = http(|| change(builder(&guard, limits)))?;
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
        let Shared { http, guard, .. } = self.shared.as_ref();
        if target.is_literal() {
            // Nobody resolves it, so the guard does not see it on the way.
            let vetted = guard.vet(target.url()).await;
            vetted.map_err(|refusal| refusal.to_string())?;
        }
        let request = target.request(delivery, self.now());
        let response = http.execute(request).await;
        let response = response.map_err(|error| failure::in_words(&error, self.shared.limits))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER);
        let give_up_on = &self.shared.give_up_on;
        let judgement = answer::judge(status, retry_after, give_up_on, self.now());
        drain(response).await;
        Ok((status, judgement))
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }
}

/// Reads the rest of an answer, so that the connection can be used again. The status has decided
/// already: of a body that is long, slow or cut off the connection is closed, and that is all.
async fn drain(mut response: Response) {
    if response
        .content_length()
        .is_some_and(|length| length > LONGEST_ANSWER)
    {
        return;
    }
    let reading = async {
        let mut left = LONGEST_ANSWER;
        while let Ok(Some(chunk)) = response.chunk().await {
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                break;
            };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(SLOWEST_ANSWER, reading).await;
}

fn builder(guard: &Guard, limits: TimeLimits) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .dns_resolver(guard.resolver())
        .timeout(limits.attempt)
        .connect_timeout(limits.connection)
        .pool_idle_timeout(LONGEST_IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        // While requests wait on a connection of HTTP/2, whether the other side is still there; else
        // all the next ones would wait on it too.
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PING)
}

fn http(builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client, RelayError> {
    // Where another part of the process has set one already, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder().build().or_else(|error| {
        // A container may hold no certificates, and its subscribers may all be at http://.
        log::warn!(
            "subscribers at https:// cannot be reached, there are no certificates to trust: {}",
            failure::innermost(&error)
        );
        let client = builder().tls_certs_only([]).build();
        client.map_err(|error| RelayError::Client {
            problem: failure::innermost(&error),
        })
    })
}

/// What is read of an answer, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// How long the rest of an answer is waited for.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// How much of an attempt's time a connection may take to be made.
const SLOWEST_CONNECTION: f64 = 0.75;

/// How long a connection is kept without work, and how many a host.
const LONGEST_IDLE: Duration = Duration::from_secs(30);
const MOST_IDLE: usize = 64;

/// After how long without a word the other side is asked for one, and how long that may take.
const HTTP2_PING: Duration = Duration::from_secs(5);
