//! Requests to an admin listener: one after the other on a connection that stays open, and a stream that is read
//! and thrown away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A connection to an admin listener.
pub(crate) struct Asks(BufReader<TcpStream>);

impl Asks {
    pub(crate) fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).context("connecting to the admin listener")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONGEST))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The body of the answer, which must be 200.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let length = self
            .ask(path)?
            .with_context(|| format!("{path}: no Content-Length"))?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    /// Reads a stream until `ends`. Returns how many bytes that were.
    pub(crate) fn watch(mut self, path: &str, ends: &AtomicBool) -> anyhow::Result<u64> {
        self.ask(path)?;
        let stream = self.0.get_ref();
        stream.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (mut bytes, mut read) = (vec![0; 64 * 1024], 0);
        while !ends.load(Ordering::Relaxed) {
            match self.0.read(&mut bytes) {
                Ok(0) => bail!("{path} ends"),
                Ok(count) => read += count as u64,
                Err(error) if is_wait(&error) => {}
                Err(error) => return Err(error).context("reading a stream"),
            }
        }
        Ok(read)
    }

    /// Sends a request and reads the head of its answer. Returns its `Content-Length`.
    fn ask(&mut self, path: &str) -> anyhow::Result<Option<usize>> {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut length) = (String::new(), None);
        self.0.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 200 ") {
            bail!("{path}: {}", line.trim_end());
        }
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                return Ok(length);
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse()?);
            }
        }
    }
}

fn is_wait(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut)
}

/// An answer has 30 s.
const LONGEST: Duration = Duration::from_secs(40);
