//! [`LineWriter`]: writes whole lines from many tasks to standard output or a file, without blocking.
//!
//! One thread writes. It takes all waiting lines, writes them with one call, makes them durable if they
//! go to a file, and only then reports to each caller. What must hold: after `Ok` the caller's line is
//! complete in the file; a line that could not be written leaves no partial line behind.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::append::AppendFile;

/// Passes lines to its thread, which ends when the writer is dropped.
#[derive(Debug)]
pub(crate) struct LineWriter {
    lines: mpsc::Sender<Line>,
}

struct Line {
    text: Vec<u8>,
    done: oneshot::Sender<Result<(), Arc<io::Error>>>,
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
    let mut batch = first.text;
    let mut callers = vec![first.done];
    while batch.len() < MAX_BATCH_BYTES {
        let Ok(line) = waiting.try_recv() else { break };
        batch.extend_from_slice(&line.text);
        callers.push(line.done);
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
