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
//!   the connection.
//!
//! No timer is touched while requests follow each other quickly ([`LazyTimer`]). actix-http would make a
//! timer for each answer and drop it with the next request, a twentieth of all that a request costs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deadline::{LazyTimer, RequestDeadline};
use crate::clock::{Clock as _, SystemClock};
use crate::signature::Deadline as _;
use crate::telemetry::{ListenerMetrics, Throttle};

/// What all connections of a listener share.
pub(super) struct ConnectionContext {
    pub(super) request_timeout: Duration,
    pub(super) keep_alive: Duration,
    pub(super) metrics: ListenerMetrics,
    /// Limits the log lines about late heads.
    pub(super) slow_heads: Throttle,
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
}

impl Connection {
    pub(super) fn new(stream: TcpStream, context: Arc<ConnectionContext>) -> Self {
        context.metrics.connections.inc();
        Self {
            stream,
            deadline: RequestDeadline::new(context.request_timeout, context.keep_alive),
            context,
            read_timer: LazyTimer::default(),
            write_timer: LazyTimer::default(),
            blocked_since: None,
        }
    }

    /// Ends the reading, because the sender is late.
    fn give_up(&mut self) {
        if !self.deadline.give_up() {
            return;
        }
        self.context.metrics.slow_heads.inc();
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
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.metrics.connections.dec();
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.deadline.is_late() {
            return END_OF_STREAM;
        }
        let before = buf.filled().len();
        if Pin::new(&mut this.stream).poll_read(cx, buf)?.is_ready() {
            if buf.filled().len() > before {
                this.deadline.received();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(this.deadline.poll_late(&mut this.read_timer, cx));
        this.give_up();
        END_OF_STREAM
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                self.deadline.sent();
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

/// A read that adds nothing to its buffer is the end of the stream.
const END_OF_STREAM: Poll<io::Result<()>> = Poll::Ready(Ok(()));

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\
    {\"error\":\"Request timeout\"}";
