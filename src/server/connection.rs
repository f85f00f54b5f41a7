//! [`Connection`]: a connection whose other side must keep going.
//!
//! actix-http limits the time of a connection's first head only. A sender that trickles the second one,
//! never ends a body that was refused, or never reads its answers would hold its connection forever. So
//! the socket itself is watched, in both directions:
//!
//! - Reading: [`RequestDeadline`] says until when the sender must send something, for bodies by
//!   [`BodyPace`]. A late head is answered 408 from here. Then the stream ends for the code above, which
//!   answers a late body, and an idle connection ends without an answer.
//! - Writing: an answer that finds no room in the sender's receive buffer for `request_timeout` ends
//!   the connection. Until it is sent, nothing more is read.
//! - Ending: what comes after an answer with `Connection: close` is discarded, and not served. A connection
//!   that has to give way to another ([`Seats`]) is closed without a word.
//!
//! No timer is touched while requests follow each other quickly ([`LazyTimer`]). actix-http would make a
//! timer for each answer and drop it with the next request, a twentieth of all that a request costs.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::{Buf as _, BytesMut};
use memchr::memmem::Finder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deadline::{Appetite, LINGER, RequestDeadline, Times};
use super::proxies::Proxies;
use super::seats::{Seat, Seats};
use super::socket::Socket;
use super::timer::LazyTimer;
use super::tls::Tls;
use crate::clock::{Clock as _, SystemClock};
use crate::escape_controls;
use crate::signature::Deadline as _;
use crate::telemetry::{ListenerMetrics, Throttle};

/// What all connections of a listener share.
pub(super) struct ConnectionContext {
    pub(super) times: Arc<ArcSwap<Times>>,
    pub(super) seats: Arc<Seats>,
    pub(super) proxies: Arc<ArcSwap<Proxies>>,
    /// The certificate, if the listener speaks TLS.
    pub(super) tls: Option<Arc<Tls>>,
    /// Those of the public listener.
    pub(super) metrics: Option<ListenerMetrics>,
    /// Limits the log lines about late heads.
    pub(super) slow_heads: Throttle,
    /// Limits those about failed handshakes.
    pub(super) handshakes: Throttle,
    /// Limits those about heads that are too large.
    pub(super) large_heads: Throttle,
}

impl ConnectionContext {
    /// Counts and logs a handshake that has failed.
    pub(super) fn no_handshake(&self, peer: Option<SocketAddr>, why: &str) {
        if let Some(metrics) = &self.metrics {
            metrics.failed_handshakes.inc();
        }
        if let Some(unsaid) = self.handshakes.pass() {
            let peer =
                peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
            let (why, more) = (escape_controls(why), Throttle::more(unsaid));
            log::info!("no TLS handshake with {peer}: {why}{more}");
        }
    }
}

/// A stream that ends when its other side is late.
pub(super) struct Connection {
    stream: Socket,
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
    /// The last bytes of the head that it has got.
    last: [u8; 2],
    /// It has got something since the task last did something else.
    has_given: bool,
    /// Until when what the sender sends after the last answer is discarded.
    discard_until: Option<Instant>,
    /// It has said that nothing more is sent.
    is_shut: bool,
}

impl Connection {
    pub(super) fn new(stream: Socket, seat: Seat, context: Arc<ConnectionContext>) -> Self {
        if let Some(metrics) = &context.metrics {
            metrics.connections.inc();
        }
        Self {
            stream,
            deadline: RequestDeadline::new(Arc::clone(&context.times), seat),
            context,
            read_timer: LazyTimer::default(),
            write_timer: LazyTimer::default(),
            blocked_since: None,
            read_waits: false,
            held_back: BytesMut::new(),
            last: NOTHING,
            has_given: false,
            discard_until: None,
            is_shut: false,
        }
    }

    /// Ends the reading, because the sender is late.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        if !self.deadline.give_up() {
            return;
        }
        if let Some(metrics) = &self.context.metrics {
            metrics.slow_heads.inc();
        }
        // It fails for a sender that has no room for it, which gets no answer then.
        let mut stream = Pin::new(&mut self.stream);
        let _ = stream.as_mut().poll_write(cx, REQUEST_TIMEOUT);
        let _ = stream.poll_flush(cx);
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
        let deadline = since + self.deadline.times().pace.request_timeout;
        self.write_timer
            .poll(deadline, cx)
            .map(|()| io::ErrorKind::TimedOut.into())
    }

    /// The other side has read.
    fn unblock(&mut self, cx: &Context<'_>) {
        self.blocked_since = None;
        if std::mem::take(&mut self.read_waits) {
            cx.waker().wake_by_ref();
        }
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
            self.give_up(cx);
            return Poll::Ready(Ok(true));
        }
        let length = buf.filled().len() - before;
        if length > 0 {
            self.deadline.received();
        } else {
            self.deadline.seen_end();
        }
        let now = self.share(&buf.filled()[before..]);
        if now < length {
            self.held_back
                .extend_from_slice(&buf.filled()[before + now..]);
            buf.set_filled(before + now);
        }
        self.has_given = now > 0;
        Poll::Ready(Ok(now == length || now > 0))
    }

    /// Gives what was held back, as much as is wanted.
    fn give(&mut self, buf: &mut ReadBuf<'_>) {
        let room = self.held_back.len().min(buf.remaining());
        let held_back = std::mem::take(&mut self.held_back);
        let now = self.share(&held_back[..room]);
        if now > 0 {
            self.deadline.received();
        }
        buf.put_slice(&held_back[..now]);
        self.held_back = held_back;
        self.held_back.advance(now);
        self.has_given = now > 0;
        if self.held_back.is_empty() {
            self.held_back = BytesMut::new();
        }
    }

    /// How much of `bytes` actix-http gets now. It reads as many requests as it gets, at 7 KB each, however few
    /// it answers, and closes the connection if it has the head of the next request before it has answered this
    /// one. So it gets requests one by one.
    fn share(&mut self, bytes: &[u8]) -> usize {
        let appetite = self.deadline.appetite();
        let now = match appetite {
            Appetite::Nothing => 0,
            Appetite::All => bytes.len(),
            Appetite::Body(Some(to_come)) => {
                let now =
                    usize::try_from(to_come).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.deadline.body_given(now);
                now
            }
            Appetite::Body(None) => {
                let now = self.share_of_chunks(bytes);
                self.deadline.body_given(now);
                now
            }
            Appetite::Head { is_begun } => self.share_of_head(is_begun, bytes),
        };
        if matches!(appetite, Appetite::Body(Some(_)) | Appetite::All) {
            self.last = NOTHING;
        }
        now
    }

    /// Chunks up to the blank line behind the last one, whose line begins with a zero. Such lines within a chunk
    /// mean nothing, and cost little.
    fn share_of_chunks(&mut self, bytes: &[u8]) -> usize {
        let mut from = 0;
        let mut now = bytes.len();
        while let Some(end) = blank_line(self.last, &bytes[from..]).map(|end| from + end) {
            let line = bytes[..end].trim_ascii_end();
            let begin = memchr::memrchr(b'\n', line).map_or(0, |at| at + 1);
            // A line that is empty or not whole may have been such a one.
            if line.get(begin).is_none_or(|first| *first == b'0') {
                now = end;
                break;
            }
            self.last = NOTHING;
            from = end;
        }
        self.remember(&bytes[..now]);
        now
    }

    /// Remembers the last bytes that were given.
    fn remember(&mut self, given: &[u8]) {
        for byte in &given[given.len().saturating_sub(2)..] {
            self.last = [self.last[1], *byte];
        }
    }

    /// A head with its body, as far as they are there; not what follows them.
    fn share_of_head(&mut self, is_begun: bool, bytes: &[u8]) -> usize {
        let is_line_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let empty = if is_begun {
            0
        } else {
            // Empty lines before a head are no head.
            self.last = NOTHING;
            bytes.iter().take_while(|byte| is_line_break(byte)).count()
        };
        let head = &bytes[empty..];
        let Some((end, declared)) = end_of_head(self.last, head) else {
            if !head.is_empty() {
                self.deadline.head_given(None);
            }
            self.remember(head);
            return bytes.len();
        };
        // The line may be in what was given before; then the body comes after the head.
        let body = if is_begun { 0 } else { declared };
        let body = body.min(head.len() - end);
        self.deadline.head_given(Some(body));
        self.last = NOTHING;
        empty + end + body
    }

    /// Ends the connection for a request that is not served, because the last answer was given.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.held_back = BytesMut::new();
        // Otherwise the writing side wakes this task.
        if self.deadline.is_flushed() && self.poll_drain(cx).is_ready() {
            self.deadline.end();
        }
        Poll::Pending
    }

    /// Says that nothing more is sent. Then it reads and discards what still comes until the sender has closed
    /// too, for a while: the sender would lose the last answer to a reset, if something was unread at the end.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let until = *self
            .discard_until
            .get_or_insert_with(|| SystemClock.monotonic() + LINGER);
        // TLS may have no room for what it says at the end. A failure means that the sender has gone.
        if !self.is_shut {
            self.is_shut = Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
        }
        let mut bytes = [0; DISCARDED];
        let mut discarded = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut discarded) {
            Poll::Ready(Ok(())) if !discarded.filled().is_empty() => {
                if SystemClock.monotonic() >= until {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(()),
            Poll::Pending => self.read_timer.poll(until, cx),
        }
    }

    /// Counts a head that actix-http has refused because it is too large.
    fn watch_for_large_heads(&self, written: &[u8]) {
        let Some(metrics) = &self.context.metrics else {
            return;
        };
        // It may come behind earlier answers, of which none has such a text.
        if TOO_LARGE.find(written).is_none() {
            return;
        }
        metrics.large_heads.inc();
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
        let is_evicted = this.deadline.seat().poll_evicted(cx).is_ready();
        if is_evicted && this.deadline.is_flushed() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if this.deadline.is_waited_for() {
            return this.poll_discard(cx);
        }
        if this.deadline.is_late() {
            return END_OF_STREAM;
        }
        if this.blocked_since.is_some() {
            // A sender that does not read answers gets no more of them.
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
            if this.deadline.poll_late(&mut this.read_timer, cx).is_ready() {
                this.give_up(cx);
                return END_OF_STREAM;
            }
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
        self.deadline.set_flushed(false);
        match Pin::new(&mut self.stream).poll_write(cx, buf) {
            Poll::Ready(written) => {
                if self.deadline.is_in_head() {
                    self.watch_for_large_heads(&buf[..*written.as_ref().unwrap_or(&0)]);
                }
                self.deadline.sent();
                self.unblock(cx);
                Poll::Ready(written)
            }
            Poll::Pending => self.poll_blocked(cx).map(Err),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // actix-http flushes when all of its answers are written. What TLS holds may still have no room.
        if Pin::new(&mut self.stream).poll_flush(cx)?.is_pending() {
            return self.poll_blocked(cx).map(Err);
        }
        self.unblock(cx);
        self.deadline.set_flushed(true);
        if self.deadline.is_waited_for() {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.deadline.is_ending() {
            // The sender may be sending more already.
            return this.poll_drain(cx).map(Ok);
        }
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

/// Where the first blank line in `bytes` ends, which come after `before`. A line may end without a carriage
/// return, as actix-http reads it.
fn blank_line(before: [u8; 2], bytes: &[u8]) -> Option<usize> {
    if let Some(end) = begun_blank_line(before, bytes) {
        return Some(end);
    }
    let usual = BLANK_LINE.find(bytes);
    let bare = BARE_BLANK_LINE.find(&bytes[..usual.map_or(bytes.len(), |at| at + 1)]);
    let length = |line: &Finder<'_>| line.needle().len();
    bare.map(|at| at + length(&BARE_BLANK_LINE))
        .or(usual.map(|at| at + length(&BLANK_LINE)))
}

/// The same, if the line before the blank one ends in `before`.
fn begun_blank_line(before: [u8; 2], bytes: &[u8]) -> Option<usize> {
    let at_start = |known: &[u8], rest: &[u8]| before.ends_with(known) && bytes.starts_with(rest);
    if at_start(b"\n", b"\n") || at_start(b"\n\r", b"\n") {
        return Some(1);
    }
    at_start(b"\n", b"\r\n").then_some(2)
}

/// Where a head ends in `bytes`, which come after `before`, and what these lines say of the length of its body; 0 if
/// nothing that can be read, because actix-http judges it.
fn end_of_head(before: [u8; 2], bytes: &[u8]) -> Option<(usize, usize)> {
    if let Some(end) = begun_blank_line(before, bytes) {
        return Some((end, 0));
    }
    let mut declared = None;
    for start in memchr::memchr_iter(b'\n', bytes).map(|at| at + 1) {
        if let Some(end) = begun_blank_line(*b" \n", &bytes[start..]) {
            return Some((start + end, declared.unwrap_or(0)));
        }
        declared = declared.or_else(|| declared_length(&bytes[start..]));
    }
    None
}

/// What the first of these lines says of the length of the body; `None` if it is another header.
fn declared_length(lines: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let (name, value) = lines.split_at_checked(NAME.len())?;
    // The colon rules out nearly all other headers.
    if name.last() != NAME.last() || !name.eq_ignore_ascii_case(NAME) {
        return None;
    }
    let value = value.split(|byte| *byte == b'\n').next()?;
    let value = str::from_utf8(value.trim_ascii()).ok();
    Some(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}

const NOTHING: [u8; 2] = [0; 2];

/// The beginning of an answer to a head that is too large.
static TOO_LARGE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"HTTP/1.1 431 "));

/// The end of a line and the blank line behind it.
static BLANK_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\n\r\n"));

/// The same without a carriage return.
static BARE_BLANK_LINE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"\n\n"));

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
    fn a_blank_line_is_found_in_pieces() {
        for head in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"GET / HTTP/1.1\nHost: x\n\n",
            b"GET / HTTP/1.1\nHost: x\n\r\n",
        ] {
            for cut in 0..head.len() {
                let (before, after) = head.split_at(cut);
                let last = match before {
                    [.., one, other] => [*one, *other],
                    _ => NOTHING,
                };
                let with_body = [after, b"body"].concat();
                assert_eq!(blank_line(last, &with_body), Some(after.len()), "{cut}");
                let end = end_of_head(last, &with_body);
                assert_eq!(end, Some((after.len(), 0)), "{cut}");
            }
        }
        for none in [&b"\r\n\r"[..], b"\n\r\r\n", b"a\nb\n", b""] {
            assert_eq!(blank_line(NOTHING, none), None);
            assert_eq!(end_of_head(NOTHING, none), None);
        }
        assert_eq!(blank_line(*b"\n\r", b""), None);
        assert_eq!(end_of_head(*b"\n\r", b""), None);
    }

    #[test]
    fn the_length_of_a_body_is_read() {
        let length = |lines: &str| {
            let head = format!("POST / HTTP/1.1\r\n{lines}\r\n");
            let body = "Content-Length: 5\r\n\r\n";
            let (end, declared) = end_of_head(NOTHING, [&head, body].concat().as_bytes()).unwrap();
            assert_eq!(end, head.len());
            declared
        };
        assert_eq!(length("Host: x\r\ncontent-LENGTH:  12 \r\nX: 1\r\n"), 12);
        assert_eq!(length("Content-Length: 3\n"), 3);
        // actix-http refuses a second one.
        assert_eq!(length("Content-Length: 3\r\nContent-Length: 4\r\n"), 3);
        for none in [
            "",
            "X-Content-Length: 3\r\n",
            "Content-Length: x\r\n",
            "Content-Length:\r\n",
        ] {
            assert_eq!(length(none), 0, "{none}");
        }
    }
}
