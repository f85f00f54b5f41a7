//! One connection of the generator: a request out, an answer in, never both at once.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use anyhow::{Context as _, bail};

use super::answer::{Answer, AnswerBuffer};
use super::requests::Batch;
use super::to::{Stream, To};

pub(super) struct Socket {
    to: To,
    /// Which connection it is.
    number: usize,
    stream: Stream,
    answer: AnswerBuffer,
    /// The request on its way, if any.
    on_its_way: Option<OnItsWay>,
    /// The other side has ended the connection while nothing was on its way.
    ended: bool,
}

#[derive(Clone, Copy)]
struct OnItsWay {
    request: usize,
    written: usize,
    since: Instant,
}

impl Socket {
    pub(super) fn connect(to: &To, number: usize) -> anyhow::Result<Self> {
        Ok(Self {
            to: to.clone(),
            number,
            stream: to.connect(number)?,
            answer: AnswerBuffer::new(),
            on_its_way: None,
            ended: false,
        })
    }

    /// Connects again after the receiver has closed, as most do now and then. Says whether that was
    /// needed: the new socket must be registered then.
    pub(super) fn renew(&mut self) -> anyhow::Result<bool> {
        if !self.ended {
            return Ok(false);
        }
        self.stream = self.to.connect(self.number)?;
        self.ended = false;
        Ok(true)
    }

    /// Sends a request, or as much of it as there is room for; [`Socket::ready`] sends the rest.
    pub(super) fn send(
        &mut self,
        batch: &Batch,
        request: usize,
        since: Instant,
    ) -> anyhow::Result<()> {
        self.on_its_way = Some(OnItsWay {
            request,
            written: 0,
            since,
        });
        self.write(batch)
    }

    /// Goes on after epoll says so. A whole answer comes with the time since which it was awaited.
    pub(super) fn ready(&mut self, batch: &Batch) -> anyhow::Result<Option<Instant>> {
        self.write(batch)?;
        loop {
            let room = self.answer.room();
            if room.is_empty() {
                bail!("an answer that does not end");
            }
            let read = match self.stream.read(room) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(_) if self.on_its_way.is_none() => 0,
                Err(error) => return Err(error).context("reading an answer"),
            };
            if read == 0 {
                self.ended = true;
                if self.on_its_way.is_some() {
                    bail!("the connection was closed instead of an answer");
                }
                return Ok(None);
            }
            let Some(on_its_way) = self.on_its_way else {
                bail!("an answer that nobody asked for");
            };
            self.answer.filled(read);
            if let Some(Answer { close }) = self.answer.take()? {
                self.ended = close;
                self.on_its_way = None;
                return Ok(Some(on_its_way.since));
            }
        }
    }

    fn write(&mut self, batch: &Batch) -> anyhow::Result<()> {
        let Some(on_its_way) = &mut self.on_its_way else {
            return Ok(());
        };
        let bytes = batch.request(on_its_way.request);
        while on_its_way.written < bytes.len() {
            match self.stream.write(&bytes[on_its_way.written..]) {
                Ok(written) => on_its_way.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("sending a request"),
            }
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.tcp().as_fd()
    }
}
