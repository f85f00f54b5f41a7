//! The thread that puts refused requests into the pool, and explains them.
//!
//! It takes what comes at any time. It explains one request, the newest, when nothing has come, and then rests for
//! 49 times as long as that took.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::capture::{Capture, CapturedBody};
use super::cause::Cause;
use super::diagnosis::{Diagnosis, of_body, of_head};
use super::kept::{Body, Kept};
use super::known::{Known, named};
use super::paths::{misdirected, shown_below};
use super::pool::{Entry, Pool};
use crate::clock::{Clock as _, SystemClock};
use crate::escape_controls;
use crate::signature::{Finding, secret_headers};
use crate::telemetry::{About, ChangeKind, Metrics, Throttle};

/// What the thread is sent.
pub(super) enum Sent {
    Capture(Box<Capture>),
    /// Answers when everything that was sent before is in the pool.
    Settle(oneshot::Sender<()>),
    /// Nothing: the settings have changed, as `Shared::has_changed` says.
    Wake,
}

/// What the thread shares with those who ask.
pub(super) struct Shared {
    pool: Mutex<Pool>,
    pub(super) known: ArcSwap<Known>,
    /// Whether `known` is new, so that all requests are looked into again. Not a message, because a flood may leave
    /// no room for one.
    pub(super) has_changed: AtomicBool,
    /// The longest body that is kept whole.
    pub(super) longest_body: AtomicUsize,
    /// The bytes of bodies that are on their way to the thread.
    pub(super) on_the_way: AtomicUsize,
    pub(super) metrics: Arc<Metrics>,
}

impl Shared {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            pool: Mutex::default(),
            known: ArcSwap::default(),
            has_changed: AtomicBool::new(false),
            longest_body: AtomicUsize::new(0),
            on_the_way: AtomicUsize::new(0),
            metrics,
        }
    }

    pub(super) fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until nothing can be sent any more.
pub(super) fn run(shared: &Shared, inbox: &Receiver<Sent>) {
    let mut thread = Thread {
        shared,
        rest_until: None,
        told: HashMap::new(),
    };
    loop {
        if shared.has_changed.swap(false, Ordering::SeqCst) {
            thread.look_again();
        }
        let pause = thread.pause();
        let sent = match pause {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(pause) => inbox.recv_timeout(pause),
        };
        match sent {
            Ok(Sent::Capture(capture)) => thread.take(*capture),
            Ok(Sent::Settle(done)) => drop(done.send(())),
            Ok(Sent::Wake) => {}
            Err(RecvTimeoutError::Timeout) => thread.explain_one(),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

struct Thread<'a> {
    shared: &'a Shared,
    /// Until when it explains nothing.
    rest_until: Option<Instant>,
    /// When it was told last that requests of a source are explained by a reason.
    told: HashMap<(String, &'static str), Throttle>,
}

impl Thread<'_> {
    /// How long until there is something to explain; `None` if there is nothing.
    fn pause(&self) -> Option<Duration> {
        self.shared.pool().newest_pending()?;
        let now = SystemClock.monotonic();
        let rest = self
            .rest_until
            .map(|until| until.saturating_duration_since(now));
        Some(rest.unwrap_or_default())
    }

    fn rests(&self) -> bool {
        self.rest_until
            .is_some_and(|until| until > SystemClock.monotonic())
    }

    /// Does work that may take long, and rests after it.
    fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = SystemClock.monotonic();
        let done = work();
        let now = SystemClock.monotonic();
        self.rest_until = Some(now + now.saturating_duration_since(begun) * REST);
        done
    }

    /// Puts a request into the pool.
    fn take(&mut self, capture: Capture) {
        let known = self.shared.known.load();
        let name = capture.source.as_deref();
        let session = capture.session.as_deref();
        let (length, body) = self.body(capture.body);
        let source = named(&known.sources, name);
        let is_unsigned = source.is_some_and(|source| source.path_token.is_some());
        let path = match source {
            // What follows is a token, right or wrong.
            Some(source) if is_unsigned => format!("{}/…", source.path),
            Some(source) => shown_below(&source.path, &capture.path),
            None => shown_below("", &capture.path),
        };
        let secret = source.map(|source| secret_headers(source.scheme.as_ref()));
        let is_secret = |name: &str| { secret.iter().flatten() }.any(|secret| secret == name);
        let mut headers = capture.headers;
        for header in &mut headers {
            if header.is_shown {
                let value = header.value.as_ref();
                let is_hidden = value.is_some_and(|value| known.hides(value));
                header.is_shown = !is_hidden && !is_secret(header.name.as_str());
            }
        }
        let peer = capture.peer.map(|peer| match peer.port() {
            0 => peer.ip().to_string(),
            _ => peer.to_string(),
        });
        let is_hidden = session.is_some_and(|session| known.hides(session.as_bytes()));
        let is_session_shown = !is_unsigned && !is_hidden;
        let kept = Kept {
            id: capture.id,
            at: capture.at,
            is_session_shown,
            session: capture.session,
            source: capture.source,
            target: match (&body, is_unsigned) {
                (Body::Whole(_), false) => capture.target,
                // Its path holds a token.
                (Body::Whole(_), true) => path.clone(),
                (Body::Hash(_) | Body::Unread, _) => String::new(),
            },
            path,
            method: capture.method,
            peer,
            status: capture.cause.status(),
            cause: capture.cause,
            headers,
            bytes: length.or(capture.declared),
            body,
        };
        if kept.is_misdirected() && self.shared.pool().count_again(&kept) {
            return;
        }
        let sources = &known.sources;
        let diagnosis = match kept.cause {
            Cause::Path => Some(Diagnosis::OfHead(misdirected(&capture.path, sources))),
            Cause::TooLarge => of_head(&kept, "the body is longer than server.max_body", sources),
            _ => of_head(&kept, "the body came too slowly", sources),
        };
        let diagnosis = diagnosis.unwrap_or(Diagnosis::Pending);
        self.shared.pool().add(Entry::new(kept, diagnosis));
    }

    /// What is kept of a body, and its length.
    fn body(&mut self, body: CapturedBody) -> (Option<u64>, Body) {
        let request = match body {
            CapturedBody::Unread => return (None, Body::Unread),
            CapturedBody::Left(length) => return (Some(length), Body::Hash(None)),
            CapturedBody::Read(request) => request,
        };
        let length = request.body.len();
        let body = if length <= self.shared.longest_body.load(Ordering::Relaxed) {
            // A copy, because what was received may have room for more.
            Body::Whole(Bytes::copy_from_slice(&request.body))
        } else if self.rests() {
            Body::Hash(None)
        } else {
            let hash = self.work(|| const_hex::encode(Sha256::digest(&request.body)));
            Body::Hash(Some(hash))
        };
        self.shared.on_the_way.fetch_sub(length, Ordering::Relaxed);
        (Some(length as u64), body)
    }

    /// Explains the newest request that waits for it.
    fn explain_one(&mut self) {
        let Some(kept) = self.shared.pool().newest_pending() else {
            return;
        };
        let known = self.shared.known.load_full();
        let diagnosis = self.work(|| of_body(&kept, &known));
        let first = diagnosis.findings().first().cloned();
        if self.shared.pool().diagnosed(kept.id, diagnosis)
            && let Some((source, finding)) = kept.source.as_deref().zip(first)
        {
            self.tell(source, &finding);
            self.tell_viewers(&kept, &finding);
        }
    }

    /// Tells those who watch.
    fn tell_viewers(&self, kept: &Kept, finding: &Finding) {
        let about = About {
            source: kept.source.as_deref().unwrap_or_default().to_owned(),
            session: kept.shown_session().map(str::to_owned),
            event: None,
        };
        let news = self.shared.metrics.news();
        news.tell(ChangeKind::Refused, Some(about), || {
            json!({
                "id": kept.id,
                "at": kept.at,
                "source": kept.source.as_deref(),
                "session": kept.shown_session(),
                "status": kept.status,
                "reason": finding.reason,
                "why": finding.why,
            })
        });
    }

    /// The settings have changed.
    fn look_again(&mut self) {
        let (shared, known) = (self.shared, self.shared.known.load());
        self.told.retain(|(source, reason), _| {
            let is_served = known.sources.iter().any(|known| known.name == *source);
            if !is_served {
                shared.metrics.refused_removed(source, reason);
            }
            is_served
        });
        shared.pool().diagnose_again();
    }

    /// Counts an explained request, and says so once an hour.
    fn tell(&mut self, source: &str, finding: &Finding) {
        self.shared
            .metrics
            .refused_explained(source, finding.reason);
        let key = (source.to_owned(), finding.reason);
        let throttle = self
            .told
            .entry(key)
            .or_insert_with(|| Throttle::every(HOUR));
        if let Some(unsaid) = throttle.pass() {
            let (why, more) = (escape_controls(&finding.why), Throttle::more(unsaid));
            log::warn!(
                source:% = source;
                "requests to {source} are refused although their sender knows a secret: {why}. {} `offhook \
                 refused` shows them{more}",
                finding.advice
            );
        }
    }
}

/// How many times as long as it has worked the thread rests: it takes a fiftieth of a core.
const REST: u32 = 49;

const HOUR: Duration = Duration::from_secs(3600);
