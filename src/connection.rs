//! [`Guarded`]: a connection whose requests must arrive in time.
//!
//! actix-http limits the time of a connection's first head only. A sender that trickles the second
//! one would hold its connection for ever, so the socket itself is watched: from the first byte of
//! a head (or from the connection's start) until the request is whole there is one deadline. Past it
//! nothing more is read: a sender whose head has not ended is told 408 from here, one whose body has
//! not ended by the application, which finds the body broken off.
//!
//! No timer is touched while requests arrive at once: a timer is set when something is waited for,
//! and left to run out by itself.

use std::cell::Cell;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use crate::clock::Clock;
use crate::metrics::ListenerMetrics;
use crate::signature::RequestDeadline;

/// What all connections of a listener share.
pub(crate) struct Guard {
    pub(crate) request_timeout: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: ListenerMetrics,
}

/// A TCP stream under watch.
pub(crate) struct Guarded {
    stream: TcpStream,
    guard: Arc<Guard>,
    phase: ConnectionPhase,
    timer: Option<Pin<Box<Sleep>>>,
    /// Something was written since the head began: an answer to it, which a 408 must not follow.
    answered: bool,
    /// The deadline has passed; nothing is read any more.
    ended: bool,
}

/// Where a connection is between two requests; shared with the application.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionPhase {
    phase: Rc<Cell<Phase>>,
    deadline: RequestDeadline,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Between requests: keep-alive has the word.
    Idle,
    /// A head has begun and not ended.
    Head,
    /// The application has the head, and reads the body or works; it reads no further than that.
    Request,
}

impl ConnectionPhase {
    /// The application takes the request.
    pub(crate) fn request(&self) {
        self.phase.set(Phase::Request);
    }

    /// The application has answered it.
    pub(crate) fn answered(&self) {
        self.phase.set(Phase::Idle);
        self.deadline.clear();
    }

    /// When the request must be whole.
    pub(crate) fn deadline(&self) -> RequestDeadline {
        self.deadline.clone()
    }
}

impl Guarded {
    pub(crate) fn new(stream: TcpStream, guard: Arc<Guard>) -> Self {
        guard.metrics.opened();
        let mut guarded = Self {
            stream,
            guard,
            phase: ConnectionPhase {
                phase: Rc::new(Cell::new(Phase::Idle)),
                deadline: RequestDeadline::default(),
            },
            timer: None,
            answered: false,
            ended: false,
        };
        guarded.head_begins();
        guarded
    }

    pub(crate) fn phase(&self) -> &ConnectionPhase {
        &self.phase
    }

    fn head_begins(&mut self) {
        let now = self.guard.clock.monotonic();
        self.phase.phase.set(Phase::Head);
        self.phase.deadline.begin(now, self.guard.request_timeout);
        self.answered = false;
    }

    /// Waits for the request's deadline; ready when it has passed.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(deadline) = self.phase.deadline.get() else {
                return Poll::Pending;
            };
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if timer.deadline() >= deadline.into() {
                return Poll::Ready(());
            }
            // It was set for an earlier request.
            timer.as_mut().reset(deadline.into());
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.phase.deadline.end();
        if self.phase.phase.get() == Phase::Head && !self.answered {
            self.guard.metrics.slow_head();
            log::info!("a request's head took too long; answered 408");
            // A sender too slow to read this is told nothing.
            let _ = self.stream.try_write(REQUEST_TIMEOUT);
        }
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
                if buf.filled().len() > before && self.phase.phase.get() == Phase::Idle {
                    self.head_begins();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => match self.poll_deadline(cx) {
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
        self.answered = true;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const REQUEST_TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\n\
    content-type: application/json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\
    {\"error\":\"Request timeout\"}";
