//! [`Connection`]: a connection whose other side must keep going.
//!
//! actix-http limits the time of a connection's first head only. A sender that trickles the second one,
//! never ends a body that was refused, or never reads its answers would hold its connection forever. So
//! the socket itself is watched, in both directions:
//!
//! - Reading: [`RequestDeadline`] says until when the sender must send something. A late head is
//!   answered 408 from here. Then the stream ends for the code above, which answers a late body, and
//!   an idle connection ends without an answer.
//! - Writing: an answer that finds no room in the sender's receive buffer for `request_timeout` ends
//!   the connection. Until it is sent, nothing more is read.
//! - Ending: what comes after an answer with `Connection: close` is discarded, and not served. A connection
//!   that has to give way to another ([`Seats`]) is closed without a word.
//!
//! No timer is touched while requests follow each other quickly ([`LazyTimer`]). actix-http would make a
//! timer for each answer and drop it with the next request, a twentieth of all that a request costs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use bytes::BytesMut;
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deadline::{Appetite, LINGER, LazyTimer, RequestDeadline};
use super::seats::Seats;
use crate::clock::{Clock as _, SystemClock};
use crate::signature::Deadline as _;
use crate::telemetry::{ListenerMetrics, Throttle};

/// What all connections of a listener share.
pub(super) struct ConnectionContext {
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) seats: Arc<Seats>,
    /// Those of the public listener.
    pub(super) metrics: Option<ListenerMetrics>,
    /// Limits the log lines about late heads.
    pub(super) slow_heads: Throttle,
    /// Limits those about heads that are too large.
    pub(super) large_heads: Throttle,
}

/// A TCP stream that ends when its other side is late.
pub(super) struct Connection {
    stream: TcpStream,
    context: Arc<ConnectionContext>,
    /// The deadline of its current request.
    pub(super) deadline: RequestDeadline,
    read_timer: LazyTimer,
    write_timer: LazyTimer,
    /// Since when an answer finds no room in the sender's receive buffer.
    blocked_since: Option<Instant>,
    /// Reading waits until answers are read.
    read_waits: bool,
    /// What was received and not yet given to actix-http.
    held_back: BytesMut,
    /// It has got something since the task last did something else.
    has_given: bool,
    /// Until when what the sender sends after the last answer is discarded.
    discard_until: Option<Instant>,
    /// Whether everything that was answered is sent.
    is_flushed: bool,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, context: Arc<ConnectionContext>) -> Self {
        if let Some(metrics) = &context.metrics {
            metrics.connections.inc();
        }
        let peer = stream.peer_addr().ok().map(|peer| peer.ip());
        let seat = context.seats.take(peer);
        let (request_timeout, keep_alive) = (context.request_timeout, context.keep_alive);
        Self {
            stream,
            deadline: RequestDeadline::new(request_timeout, keep_alive, seat),
            context,
            read_timer: LazyTimer::default(),
            write_timer: LazyTimer::default(),
            blocked_since: None,
            read_waits: false,
            held_back: BytesMut::new(),
            has_given: false,
            discard_until: None,
            is_flushed: true,
        }
    }

    /// Ends the reading, because the sender is late.
    fn give_up(&mut self) {
        if !self.deadline.give_up() {
            return;
        }
        if let Some(metrics) = &self.context.metrics {
            metrics.slow_heads.inc();
        }
        // It fails for a sender that has no room for it, which gets no answer then.
        let _ = self.stream.try_write(REQUEST_TIMEOUT);
        if let Some(unsaid) = self.context.slow_heads.pass() {
            let more = Throttle::more(unsaid);
            log::info!("a request's head took too long, answered 408{more}");
        }
    }

    /// Ready with an error when the other side has read nothing for too long.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self
            .blocked_since
            .get_or_insert_with(|| SystemClock.monotonic());
        let deadline = since + self.context.request_timeout;
        self.write_timer
            .poll(deadline, cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }

    /// Receives something. Returns whether it is in `buf`, or the stream has ended; otherwise it is held back.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_pending() {
            ready!(self.deadline.poll_late(&mut self.read_timer, cx));
            self.give_up();
            return Poll::Ready(Ok(true));
        }
        let received = &buf.filled()[before..];
        if !received.is_empty() {
            self.deadline.received();
        }
        let length = received.len();
        let now = share(self.deadline.appetite(), received);
        if now < length {
            self.held_back.extend_from_slice(&received[now..]);
            buf.set_filled(before + now);
        }
        self.has_given = now > 0;
        Poll::Ready(Ok(now == length || now > 0))
    }

    /// Gives what was held back, as much as is wanted.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let room = self.held_back.len().min(buf.remaining());
        let now = share(self.deadline.appetite(), &self.held_back[..room]);
        if now > 0 {
            self.deadline.received();
        }
        buf.put_slice(&self.held_back.split_to(now));
        self.has_given = now > 0;
        if self.held_back.is_empty() {
            self.held_back = BytesMut::new();
        }
    }

    /// Reads and discards what comes after the last answer, so that the sender sees that answer and not a
    /// reset; for a while only.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held_back = BytesMut::new();
        if !self.is_flushed {
            // The writing side wakes this task.
            return Poll::Pending;
        }
        let until = match self.discard_until {
            Some(until) => until,
            None => {
                // A failure means that the sender has gone.
                let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
                *self.discard_until.insert(SystemClock.monotonic() + LINGER)
            }
        };
        let mut bytes = [0; DISCARDED];
        let mut discarded = ReadBuf::new(&mut bytes);
        let is_over = match Pin::new(&mut self.stream).poll_read(cx, &mut discarded) {
            Poll::Ready(Ok(())) => discarded.filled().is_empty(),
            Poll::Ready(Err(_)) => true,
            Poll::Pending => {
                ready!(self.read_timer.poll(until, cx));
                true
            }
        };
        if is_over || SystemClock.monotonic() >= until {
            self.deadline.end();
        } else {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Counts a head that actix-http has refused because it is too large.
    fn watch_for_large_heads(&self, written: &[u8]) {
        // It may come behind earlier answers.
        if memmem::find(written, TOO_LARGE).is_none() {
            return;
        }
        if let Some(metrics) = &self.context.metrics {
            metrics.large_heads.inc();
        }
        if let Some(unsaid) = self.context.large_heads.pass() {
            let more = Throttle::more(unsaid);
            log::warn!(
                "a request's head has too many headers (over 96) or is too long (over 128 KiB), \
                 answered 431{more}"
            );
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(metrics) = &self.context.metrics {
            metrics.connections.dec();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.deadline.seat().poll_evicted(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if this.deadline.is_waited_for() {
            return this.poll_discard(cx);
        }
        if this.deadline.is_late() {
            return END_OF_STREAM;
        }
        if this.blocked_since.is_some() {
            // Whoever does not read answers gets no more of them.
            this.read_waits = true;
            return Poll::Pending;
        }
        if std::mem::take(&mut this.has_given) && !this.held_back.is_empty() {
            // What it has got is answered first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.held_back.is_empty() && ready!(this.poll_receive(cx, buf)?) {
            return Poll::Ready(Ok(()));
        }
        this.give(buf);
        if buf.filled().is_empty() {
            this.deadline.remember(cx.waker());
            this.deadline.has_more();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deadline.is_over() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.is_flushed = false;
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                self.watch_for_large_heads(&buf[..*written.as_ref().unwrap_or(&0)]);
                self.deadline.sent();
                self.blocked_since = None;
                if std::mem::take(&mut self.read_waits) {
                    cx.waker().wake_by_ref();
                }
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_blocked(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // actix-http flushes when all of its answers are written.
        if !std::mem::replace(&mut self.is_flushed, true) && self.deadline.is_waited_for() {
            cx.waker().wake_by_ref();
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How much of `received` may be given to actix-http now. It reads as many requests as it gets, at 7 KB each,
/// however few it answers; so it gets the requests one by one.
fn share(appetite: Appetite, received: &[u8]) -> usize {
    let ends = |from: usize| {
        let found = memmem::find(received.get(from..)?, HEAD_END)?;
        Some(from + found + HEAD_END.len())
    };
    match appetite {
        Appetite::Nothing => 0,
        Appetite::All => received.len(),
        // What follows the only head is its body, or the beginning of it.
        Appetite::Head => {
            let first = ends(0).unwrap_or(received.len());
            let is_only = ends(first).is_none();
            if is_only { received.len() } else { first }
        }
        // The end of chunks is that of a head too. In a body it means nothing, and costs little.
        Appetite::Body => ends(IN_BODY).unwrap_or(received.len()),
    }
}

const HEAD_END: &[u8] = b"\r\n\r\n";

/// A body gets at least so many bytes, in which there can be the heads of a few requests.
const IN_BODY: usize = 128;

/// The beginning of an answer to a head that is too large.
const TOO_LARGE: &[u8] = b"HTTP/1.1 431 ";

/// How much is discarded at a time.
const DISCARDED: usize = 4096;

/// A read that adds nothing to its buffer is the end of the stream.
const END_OF_STREAM: Poll<io::Result<()>> = Poll::Ready(Ok(()));

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\
    {\"error\":\"Request timeout\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actix_gets_requests_one_by_one() {
        let (head, body) = ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "0123456789");
        let share = |appetite, text: &str| super::share(appetite, text.as_bytes());
        let post = format!("{head}{body}");
        let table = [
            (Appetite::Head, head.to_owned(), head.len()),
            (Appetite::Head, post.clone(), post.len()),
            (Appetite::Head, head[..9].to_owned(), 9),
            (Appetite::Head, format!("{head}{head}"), head.len()),
            (Appetite::Head, format!("{post}{post}"), head.len()),
            (Appetite::Head, format!("{head}GET"), head.len() + 3),
            (Appetite::Nothing, post.clone(), 0),
            (Appetite::All, head.repeat(9), 9 * head.len()),
            (Appetite::Body, "x".repeat(5000), 5000),
            (Appetite::Body, String::new(), 0),
        ];
        for (appetite, text, expected) in table {
            assert_eq!(share(appetite, &text), expected, "{appetite:?} {text:.99}");
        }
        // Behind the end of a body there are few heads at most.
        let most = IN_BODY + head.len() + HEAD_END.len();
        assert!(share(Appetite::Body, &head.repeat(5000)) <= most);
    }
}
