//! [`Guarded`]: a connection whose other side must keep going.
//!
//! actix-http limits the time of a connection's first head only. A sender that trickles the second
//! one, never ends a body that was refused, or never reads its answers would hold its connection for
//! ever, so the socket itself is watched. Whenever the sender owes something there is a deadline:
//!
//! - a head, from its first byte (or the connection's start) until the application has it, and the
//!   body after it: `request_timeout` for both together. A late head is told 408 from here, a late
//!   body by the application, which finds it broken off.
//! - the rest of a body after the answer: [`LINGER`], then the connection ends without a word.
//! - room in its receive buffer for our answers: `request_timeout`, then the connection is dropped.
//! - the next request: `keep_alive` from the answer on, then the connection ends without a word.
//!
//! While the application works nothing is owed.
//!
//! No timer is touched while requests arrive at once: one is set when something is waited for, and
//! left to run out by itself; only then is there a look at what is owed now. actix-http would make
//! one for each answer and drop it with the next request, a twentieth of all that a request costs.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::clock::{Clock as _, SystemClock};
use crate::signature::Deadline;
use crate::telemetry::ListenerMetrics;
use crate::telemetry::Throttle;

/// What all connections of a listener share.
pub(crate) struct Guard {
    pub(crate) request_timeout: Duration,
    pub(crate) keep_alive: Duration,
    pub(crate) metrics: ListenerMetrics,
    pub(crate) slow_heads: Throttle,
}

/// A TCP stream under watch.
pub(crate) struct Guarded {
    stream: TcpStream,
    guard: Arc<Guard>,
    deadline: RequestDeadline,
    read_timer: Timer,
    write_timer: Timer,
    /// Since when our answers find no room.
    blocked_since: Option<Instant>,
    /// Something was written since the head began: an answer to it, which a 408 must not follow.
    answered: bool,
    /// A deadline has passed; nothing is read any more.
    ended: bool,
}

/// The deadline of a connection's request; shared with the application.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestDeadline(Rc<State>);

#[derive(Debug, Default)]
struct State {
    phase: Cell<Phase>,
    begun: Cell<Option<Instant>>,
    deadline: Cell<Option<Instant>>,
    /// When the reader looks at the deadline by itself.
    alarm: Cell<Option<Instant>>,
    request_timeout: Cell<Duration>,
    keep_alive: Cell<Duration>,
    late: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// Between requests.
    #[default]
    Idle,
    /// A head has begun and not ended.
    Head,
    /// The application has the head; the body has not ended.
    Body,
    /// The application has all of the request.
    Work,
    /// The request was answered before its body had ended.
    Rest,
}

impl RequestDeadline {
    /// A head begins.
    fn head(&self, now: Instant) {
        self.0.phase.set(Phase::Head);
        self.0.begun.set(Some(now));
        self.owe(now, self.0.request_timeout.get());
    }

    /// The application takes the request, whose body is still to come unless it has none.
    pub(crate) fn request(&self, has_body: bool) {
        if self.0.phase.get() != Phase::Head {
            // It was read together with the one before: its time begins now.
            self.head(SystemClock.monotonic());
        }
        self.0.phase.set(Phase::Body);
        if !has_body {
            self.body_ended();
        }
    }

    /// Whether the request's body has ended.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Work | Phase::Idle)
    }

    /// The request is answered.
    pub(crate) fn answered(&self) {
        // Who has looked at the clock already has said so.
        if !self.is_answered() {
            self.answered_at(SystemClock.monotonic());
        }
    }

    fn is_answered(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Idle | Phase::Rest)
    }

    /// There is so much time from now on. Nothing may be read before it is over, so the reader is told
    /// unless it will look at the clock by then anyway.
    fn owe(&self, now: Instant, time: Duration) {
        let deadline = now + time;
        self.0.deadline.set(Some(deadline));
        let alarm = self.0.alarm.get();
        let in_time = alarm.is_some_and(|alarm| now < alarm && alarm <= deadline);
        if !in_time && let Some(reader) = self.0.reader.borrow().as_ref() {
            reader.wake_by_ref();
        }
    }
}

impl Deadline for RequestDeadline {
    fn begun(&self) -> Option<Instant> {
        self.0.begun.get()
    }

    fn body_ended(&self) {
        self.0.phase.set(Phase::Work);
        self.0.deadline.set(None);
    }

    fn is_late(&self) -> bool {
        self.0.late.get()
    }

    fn answered_at(&self, now: Instant) {
        let (phase, time) = if self.is_complete() {
            (Phase::Idle, self.0.keep_alive.get())
        } else {
            (Phase::Rest, LINGER)
        };
        self.0.phase.set(phase);
        self.owe(now, time);
    }
}

/// A timer that is set again only when it has run out.
#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// When it runs out, if it was set.
    fn alarm(&self) -> Option<Instant> {
        self.0.as_ref().map(|sleep| sleep.deadline().into_std())
    }

    /// Whether it still runs, and will wake whom it was told to before `deadline` has passed.
    fn runs(&self, deadline: Instant) -> bool {
        let sleep = self.0.as_ref();
        sleep.is_some_and(|sleep| sleep.deadline() <= deadline.into() && !sleep.is_elapsed())
    }

    /// Ready when `deadline` has passed.
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = deadline.into();
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                // A new one when there is another deadline.
                self.0 = None;
                return Poll::Ready(());
            }
            // It was set for an earlier deadline.
            sleep.as_mut().reset(deadline);
        }
        if sleep.deadline() > deadline {
            // This deadline is earlier than the one it was set for.
            sleep.as_mut().reset(deadline);
            return sleep.as_mut().poll(cx);
        }
        Poll::Pending
    }
}

impl Guarded {
    pub(crate) fn new(stream: TcpStream, guard: Arc<Guard>) -> Self {
        guard.metrics.opened();
        let deadline = RequestDeadline::default();
        deadline.0.request_timeout.set(guard.request_timeout);
        deadline.0.keep_alive.set(guard.keep_alive);
        deadline.head(SystemClock.monotonic());
        Self {
            stream,
            guard,
            deadline,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
            blocked_since: None,
            answered: false,
            ended: false,
        }
    }

    pub(crate) fn deadline(&self) -> &RequestDeadline {
        &self.deadline
    }

    /// Nothing has come; ready when it is too late for it.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &self.deadline.0;
        let mut reader = state.reader.borrow_mut();
        let known = reader
            .as_ref()
            .is_some_and(|reader| reader.will_wake(cx.waker()));
        if !known {
            *reader = Some(cx.waker().clone());
        }
        match state.deadline.get() {
            Some(deadline) if known && self.read_timer.runs(deadline) => Poll::Pending,
            Some(deadline) => {
                let late = self.read_timer.poll(deadline, cx);
                state.alarm.set(self.read_timer.alarm());
                late
            }
            None => Poll::Pending,
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.deadline.0.late.set(true);
        if self.deadline.0.phase.get() != Phase::Head || self.answered {
            return;
        }
        self.guard.metrics.slow_head();
        // A sender too slow to read this is told nothing.
        let _ = self.stream.try_write(REQUEST_TIMEOUT);
        if let Some(unsaid) = self.guard.slow_heads.pass() {
            log::info!(
                "a request's head took too long, answered 408{}",
                Throttle::more(unsaid)
            );
        }
    }

    /// Says that the other side takes nothing for too long.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self
            .blocked_since
            .get_or_insert_with(|| SystemClock.monotonic());
        let deadline = since + self.guard.request_timeout;
        self.write_timer
            .poll(deadline, cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.guard.metrics.closed();
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.filled().len() > before && self.deadline.0.phase.get() == Phase::Idle {
                    self.deadline.head(SystemClock.monotonic());
                    self.answered = false;
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.poll_late(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => {
                    self.end();
                    // The end of the stream, as far as anybody above can see.
                    Poll::Ready(Ok(()))
                }
            },
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                self.answered = true;
                self.blocked_since = None;
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_blocked(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How long the rest of a body is read, and thrown away, after an answer that came before its end,
/// so that the sender sees the answer and not a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\
    {\"error\":\"Request timeout\"}";
