//! [`RelayClient`]: one HTTP client for all subscribers.
//!
//! For every request: the guard has judged the address, no proxy is used, no redirect is followed,
//! nothing of the answer is kept but the beginning of a refusal, and the attempt ends within the timeout.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::RootCertStore;
use tokio::time::timeout;

use super::answer;
use super::connector::Connector;
use super::failure;
use super::guard::{Guard, RejectedAddress};
use super::refusal;
use super::request::{Signatures, Target};
use super::settings::RelayOptions;
use super::trace::Trace;
use crate::clock::{Clock, SystemClock};
use crate::{Delivery, HandlerError};

#[derive(Debug)]
pub(crate) struct RelayClient {
    http: Client<Connector, Full<Bytes>>,
    guard: Guard,
    give_up_on: BTreeSet<u16>,
    timeout: Duration,
    trace: Trace,
    clock: Arc<dyn Clock>,
}

impl RelayClient {
    /// A client without connections yet. Tests give certificates to trust; without them the client
    /// trusts what the system trusts.
    pub(crate) fn new(
        guard: Guard,
        options: &RelayOptions,
        clock: Arc<dyn Clock>,
        roots: Option<RootCertStore>,
    ) -> Result<Arc<Self>, RelayError> {
        let limit = failure::connection_limit(options.timeout);
        let connector = Connector::new(&guard, limit, roots);
        let connector =
            connector.map_err(|error| RelayError::Client(failure::innermost(&error)))?;
        Ok(Arc::new(Self {
            http: http(connector),
            guard,
            give_up_on: options.give_up_on.clone(),
            timeout: options.timeout,
            trace: options.trace,
            clock,
        }))
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Makes one attempt. Returns what the answer means, or why there is none.
    pub(super) async fn send(
        &self,
        target: &Target,
        delivery: &Delivery,
    ) -> Result<Answered, String> {
        let limit = self.timeout;
        let uri = target.uri.as_ref().map_err(String::clone)?;
        let begun = SystemClock.monotonic();
        let (response, signatures) = timeout(limit, self.request(target, uri, delivery))
            .await
            .map_err(|_| failure::no_answer(limit))?
            .map_err(|error| failure::describe(&error, limit))?;
        let (head, body) = response.into_parts();
        let judged = answer::judge(target, uri, &head, &self.give_up_on, || self.clock.now());
        let kept = if judged.is_ok() { 0 } else { refusal::KEPT };
        let mut said = Vec::new();
        if !body.is_end_stream() {
            let spent = SystemClock.monotonic().saturating_duration_since(begun);
            let left = limit.saturating_sub(spent).min(SLOWEST_ANSWER);
            said = drain(body, left, kept).await;
        }
        let judged = judged.map_err(|error| {
            let text = if said.is_empty() {
                None
            } else {
                refusal::text(said, &target.hidden(uri, &signatures))
            };
            match text {
                Some(text) => error.answered(text),
                None => error,
            }
        });
        let is_gone = head.status == StatusCode::GONE;
        Ok(Answered { judged, is_gone })
    }

    /// Sends a test, which counts as no attempt. `limit` is its longest time, if that of attempts is longer.
    pub(super) async fn test(
        &self,
        target: &Target,
        delivery: &Delivery,
        limit: Duration,
    ) -> TestAnswer {
        let limit = self.timeout.min(limit);
        let mut answer = TestAnswer::default();
        let begun = SystemClock.monotonic();
        let spent = || SystemClock.monotonic().saturating_duration_since(begun);
        let sent = async {
            let uri = target.uri.as_ref().map_err(String::clone)?;
            let (response, signatures) = timeout(limit, self.request(target, uri, delivery))
                .await
                .map_err(|_| failure::no_answer(limit))?
                .map_err(|error| failure::describe(&error, limit))?;
            let (head, body) = response.into_parts();
            answer.status = Some(head.status.as_u16());
            answer.first_byte = Some(spent());
            let left = limit.saturating_sub(spent()).min(SLOWEST_ANSWER);
            let said = drain(body, left, TEST_KEPT).await;
            answer.said = refusal::text(said, &target.hidden(uri, &signatures));
            let judged = answer::judge(target, uri, &head, &self.give_up_on, || self.clock.now());
            judged.map_err(|error| {
                answer.is_final = error.is_reject();
                error.to_string()
            })
        };
        answer.verdict = sent.await;
        answer.took = spent();
        answer
    }

    /// Sends the request, and repeats it if the subscriber says that it has not processed it. Returns the
    /// answer, and the signatures of the request that was answered.
    async fn request(
        &self,
        target: &Target,
        uri: &Uri,
        delivery: &Delivery,
    ) -> Result<(Response<Incoming>, Signatures), legacy::Error> {
        let mut repeats = 0;
        loop {
            let request = target.request(uri.clone(), delivery, self.trace, self.clock.now());
            let signatures = Signatures::of(&request);
            match self.http.request(request).await {
                Err(error) if repeats < MOST_REPEATS && failure::is_unprocessed(&error) => {
                    repeats += 1;
                }
                answered => return answered.map(|response| (response, signatures)),
            }
        }
    }
}

/// What has come of a request that was answered.
pub(super) struct Answered {
    /// What the answer means for the event.
    pub(super) judged: Result<(), HandlerError>,
    /// The subscriber wants nothing more.
    pub(super) is_gone: bool,
}

/// What a test has shown.
#[derive(Debug)]
pub(super) struct TestAnswer {
    pub(super) status: Option<u16>,
    pub(super) first_byte: Option<Duration>,
    pub(super) took: Duration,
    /// The beginning of the answer's body, without what must not be shown.
    pub(super) said: Option<String>,
    /// Why an attempt would fail.
    pub(super) verdict: Result<(), String>,
    /// Whether it would not be made again.
    pub(super) is_final: bool,
}

impl Default for TestAnswer {
    fn default() -> Self {
        Self {
            status: None,
            first_byte: None,
            took: Duration::ZERO,
            said: None,
            verdict: Ok(()),
            is_final: false,
        }
    }
}

/// Reads the rest of an answer, so that the connection can be used again, and returns the first `kept`
/// bytes. The status has already decided the outcome, so a body that is too long, slow or cut off only
/// closes the connection.
async fn drain(body: Incoming, limit: Duration, kept: usize) -> Vec<u8> {
    let mut beginning = Vec::new();
    let declared = body.size_hint().exact();
    let is_long = declared.is_some_and(|length| length > LONGEST_ANSWER as u64);
    let mut body = Limited::new(body, LONGEST_ANSWER);
    let reading = async {
        while !is_long || beginning.len() < kept {
            let Some(Ok(frame)) = body.frame().await else {
                return;
            };
            let data = frame.data_ref().map_or(&[][..], |data| data);
            let room = kept - beginning.len();
            beginning.extend_from_slice(&data[..data.len().min(room)]);
        }
    };
    let _ = timeout(limit, reading).await;
    beginning
}

fn http(connector: Connector) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(LONGEST_IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        // An event whose answer has a long head is delivered too. The defaults are 100 headers and 16 KiB.
        .http1_max_headers(answer::MOST_HEADERS)
        .http1_max_buf_size(answer::LONGEST_HEAD)
        .http2_max_header_list_size(answer::LONGEST_HEAD as u32)
        // Checks that the other side of an HTTP/2 connection is still there while requests wait on it.
        // Otherwise all later requests would wait on a dead connection too.
        .http2_keep_alive_interval(HTTP2_PING)
        .http2_keep_alive_timeout(HTTP2_PING)
        .build(connector)
}

/// Why a relay cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The URL may not be posted to.
    #[error(transparent)]
    Url(#[from] RejectedAddress),
    /// The HTTP client cannot be set up.
    #[error("the relay's HTTP client cannot be set up: {0}")]
    Client(String),
}

/// How much of the answer to a test is shown, in bytes.
const TEST_KEPT: usize = 4096;

/// How much of an answer's body is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How long the client waits for the rest of an answer.
const SLOWEST_ANSWER: Duration = Duration::from_secs(1);

/// How often a request that the subscriber has not processed is sent again.
const MOST_REPEATS: u8 = 2;

/// How long a connection without requests is kept.
const LONGEST_IDLE: Duration = Duration::from_secs(30);

/// How many connections without requests are kept for each host.
const MOST_IDLE: usize = 64;

/// After this time without data on an HTTP/2 connection a ping is sent, and its answer may take as
/// long again.
const HTTP2_PING: Duration = Duration::from_secs(5);
