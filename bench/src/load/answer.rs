//! Where an HTTP answer ends, and what it says.

use anyhow::{Context as _, bail};

/// Bytes of answers, until one is whole. Nothing is pipelined, so one is all there ever is.
pub(super) struct AnswerBuffer {
    bytes: Vec<u8>,
    length: usize,
}

/// An answer that is there to its last byte.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The connection ends with it.
    pub(super) close: bool,
}

impl AnswerBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; MOST],
            length: 0,
        }
    }

    /// Where the next bytes go. Empty when the answer is longer than any should be.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.length..]
    }

    pub(super) fn filled(&mut self, length: usize) {
        self.length += length;
    }

    /// The answer, if it is whole now; the buffer is then empty again.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<Answer>> {
        let bytes = &self.bytes[..self.length];
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut answer = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = answer.parse(bytes)? else {
            return Ok(None);
        };
        let body = &bytes[head..];
        let mut length = None;
        let mut close = answer.version == Some(0);
        for header in answer.headers.iter() {
            let name = header.name;
            if name.eq_ignore_ascii_case("content-length") {
                let value = std::str::from_utf8(header.value)?;
                length = Some(value.parse::<usize>().context("Content-Length")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                // The shortest way to see that the last chunk is there.
                length = Some(match body.ends_with(b"0\r\n\r\n") {
                    true => body.len(),
                    false => usize::MAX,
                });
            } else if name.eq_ignore_ascii_case("connection") {
                close = header.value.eq_ignore_ascii_case(b"close");
            } else if name.eq_ignore_ascii_case("offhook-duplicate") {
                bail!("a new event was taken for a duplicate");
            }
        }
        let length = length.context("an answer without a length")?;
        if body.len() < length {
            return Ok(None);
        }
        if answer.code != Some(200) {
            bail!("not a 200: {}", String::from_utf8_lossy(bytes));
        }
        self.length = 0;
        Ok(Some(Answer { close }))
    }
}

/// The longest answer; those of every target are a few hundred bytes.
const MOST: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(buffer: &mut AnswerBuffer, bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
        buffer.room()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
        buffer.take()
    }

    #[test]
    fn an_answer_is_whole_at_its_last_byte() {
        let kept = Answer { close: false };
        let closed = Answer { close: true };
        for (answer, meant) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", &kept),
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", &kept),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                &kept,
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
                &closed,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", &closed),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
                &kept,
            ),
        ] {
            let mut buffer = AnswerBuffer::new();
            // Twice: what was taken leaves nothing behind.
            for _ in 0..2 {
                let (last, before) = answer.as_bytes().split_last().unwrap();
                for byte in before {
                    assert_eq!(fed(&mut buffer, &[*byte]).unwrap(), None, "{answer}");
                }
                assert_eq!(
                    fed(&mut buffer, &[*last]).unwrap().as_ref(),
                    Some(meant),
                    "{answer}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_success_is_an_error() {
        for answer in [
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nOffhook-Duplicate: true\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n",
            "no HTTP\r\n\r\n",
        ] {
            assert!(
                fed(&mut AnswerBuffer::new(), answer.as_bytes()).is_err(),
                "{answer}"
            );
        }
    }
}
