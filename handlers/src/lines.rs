//! [`LineWriter`]: whole lines to standard output or a file, from many tasks, without blocking any.
//!
//! One thread writes. It takes every line that waits, writes them with one call, makes them durable
//! where they go to a file, and only then reports to each caller. What must hold: a caller that was
//! told `Ok` finds its line whole in the file; a line that could not be written leaves no half of
//! itself behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Hands lines to its thread; the thread ends with the writer.
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

    /// Appends to the file at `path`, which is created where it is missing.
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

    /// Writes `text` and a line feed; returns when that is done.
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
        // A caller that stopped waiting needs no answer.
        let _ = caller.send(outcome.clone());
    }
}

struct AppendFile {
    file: File,
    /// The end of the last whole batch is unknown: begin the next one on a line of its own.
    torn: bool,
}

impl AppendFile {
    fn open(path: &Path) -> io::Result<Self> {
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut torn = false;
        if file.metadata()?.is_file() {
            if is_new && let Some(folder) = path.parent() {
                // The file's name is durable when its folder is.
                let folder = if folder.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    folder
                };
                File::open(folder)?.sync_all()?;
            }
            // A crash may have left half a line at the end.
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                torn = last != *b"\n";
            }
        }
        Ok(Self { file, torn })
    }

    fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        let outcome = self.write_durably(batch);
        match &outcome {
            Ok(()) => self.torn = false,
            // Cut the half-written batch off; where even that fails, the next one starts a line.
            Err(_) => self.torn |= self.file.set_len(before).is_err(),
        }
        outcome
    }

    fn write_durably(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        self.file.write_all(batch)?;
        // Pipes and terminals cannot be synchronised; what is written to them has arrived.
        if self.file.metadata()?.is_file() {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

/// Lines that wait for the thread; past it callers wait to hand theirs over.
const MAX_WAITING: usize = 1024;

/// A batch is closed when it holds this many bytes.
const MAX_BATCH_BYTES: usize = 1024 * 1024;
