//! [`LineWriter`]: writes whole lines from many tasks to standard output or a file, without blocking.
//!
//! One thread writes. It takes all waiting lines, writes them with one call, makes them durable if they
//! go to a file, and only then reports to each caller. What must hold: after `Ok` the caller's line is
//! complete. A caller that stops waiting takes its line back, unless the thread has begun to write it. So a
//! reader of standard output that has stopped holds up the thread, and neither fills the memory nor holds
//! up anything else.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::append::AppendFile;

/// Passes lines to its thread, which ends when the writer is dropped.
#[derive(Debug)]
pub(crate) struct LineWriter {
    lines: mpsc::Sender<Line>,
}

struct Line {
    text: Text,
    done: oneshot::Sender<Result<(), Arc<io::Error>>>,
}

/// The text of a line, until the thread or its caller takes it.
#[derive(Clone)]
struct Text(Arc<Mutex<Option<Vec<u8>>>>);

impl Text {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Takes the line back when its caller stops waiting.
struct Waiting(Text);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.take();
    }
}

impl LineWriter {
    /// Writes to standard output.
    pub(crate) fn stdout() -> io::Result<Self> {
        Self::start("offhook-stdout", |batch| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(batch)?;
            stdout.flush()
        })
    }

    /// Appends to the file at `path`, and creates it if it is missing.
    pub(crate) fn append(path: &Path) -> io::Result<Self> {
        let mut file = AppendFile::open(path)?;
        Self::start("offhook-lines", move |batch| file.append(batch))
    }

    fn start(
        thread_name: &str,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, mut waiting) = mpsc::channel(MAX_WAITING);
        thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                while let Some(line) = waiting.blocking_recv() {
                    write_batch(line, &mut waiting, &mut write);
                }
            })?;
        Ok(Self { lines })
    }

    /// Writes `text` and a line feed. Returns when they are written.
    pub(crate) async fn write(&self, mut text: Vec<u8>) -> Result<(), Arc<io::Error>> {
        text.push(b'\n');
        let waiting = Waiting(Text(Arc::new(Mutex::new(Some(text)))));
        let text = waiting.0.clone();
        let (done, outcome) = oneshot::channel();
        let gone = || Arc::new(io::Error::other("the thread that writes has ended"));
        let sent = self.lines.send(Line { text, done }).await;
        sent.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

fn write_batch(
    first: Line,
    waiting: &mut mpsc::Receiver<Line>,
    write: &mut impl FnMut(&[u8]) -> io::Result<()>,
) {
    let mut batch = Vec::new();
    let mut callers = Vec::new();
    let mut next = Some(first);
    while let Some(line) = next {
        if let Some(text) = line.text.take() {
            if batch.is_empty() {
                batch = text;
            } else {
                batch.extend_from_slice(&text);
            }
            callers.push(line.done);
        }
        next = if batch.len() < MAX_BATCH_BYTES {
            waiting.try_recv().ok()
        } else {
            None
        };
    }
    if callers.is_empty() {
        return;
    }
    let outcome = write(&batch).map_err(Arc::new);
    for caller in callers {
        // A caller that has stopped waiting needs no answer.
        let _ = caller.send(outcome.clone());
    }
}

/// How many lines may wait for the thread. Above that, callers wait.
const MAX_WAITING: usize = 1024;

/// A batch ends at this many bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A writer that waits for a permit within each batch, and the batches that it has begun.
    fn held_up() -> (LineWriter, Sender<()>, Receiver<Vec<u8>>) {
        let (permit, permits) = channel();
        let (batch, batches) = channel();
        let writer = LineWriter::start("offhook-test", move |lines| {
            batch.send(lines.to_vec()).map_err(io::Error::other)?;
            permits.recv().map_err(io::Error::other)
        });
        (writer.unwrap(), permit, batches)
    }

    /// Begins to wait for a line to be written, and gives up.
    async fn given_up(writer: &LineWriter, text: &str) {
        tokio::select! {
            biased;
            _ = writer.write(text.into()) => panic!("nothing is written yet"),
            () = std::future::ready(()) => {}
        }
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_takes_its_line_back() {
        let (writer, permit, batches) = held_up();
        let first = writer.write("first".into());
        let others = async {
            assert_eq!(batches.recv().unwrap(), b"first\n");
            // More than can wait.
            for _ in 0..MAX_WAITING + 10 {
                given_up(&writer, "given up").await;
            }
            for _ in 0..10 {
                permit.send(()).unwrap();
            }
            writer.write("last".into()).await
        };
        let (first, last) = tokio::join!(first, others);
        assert!(first.is_ok() && last.is_ok());
        let written: Vec<Vec<u8>> = batches.try_iter().collect();
        assert_eq!(written, [b"last\n"]);
    }

    #[tokio::test]
    async fn all_lines_of_a_batch_share_its_failure() {
        let writer = LineWriter::start("offhook-test", |_| Err(io::Error::other("no"))).unwrap();
        let (one, two) = tokio::join!(writer.write("1".into()), writer.write("2".into()));
        for outcome in [one, two] {
            assert_eq!(outcome.unwrap_err().to_string(), "no");
        }
    }
}
