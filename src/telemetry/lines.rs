//! [`LineQueue`]: lines on their way to standard error.
//!
//! One thread writes them. A caller only copies its line into a buffer, so a pipe or a terminal that is
//! not read holds up that thread and nothing else. A line that does not fit is dropped and counted, and
//! a line of its own says how many were dropped as soon as writing goes on.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that wait for the thread that writes them.
#[derive(Debug)]
pub(super) struct LineQueue {
    waiting: Mutex<Waiting>,
    /// Wakes the thread that writes.
    filled: Condvar,
    /// Wakes those that wait until everything is written.
    emptied: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    /// Whole lines.
    lines: Vec<u8>,
    /// How many did not fit since the thread has taken some.
    dropped: u64,
    is_writing: bool,
}

impl LineQueue {
    pub(super) const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                lines: Vec::new(),
                dropped: 0,
                is_writing: false,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds whole lines, or drops them if there is no room. Of a text that is longer than [`MAX_TEXT`] only its
    /// beginning is added. Never waits for the output.
    pub(super) fn push(&self, lines: &[u8]) {
        let (lines, end) = cut(lines);
        let mut waiting = self.lock();
        let was_empty = waiting.is_empty();
        if waiting.lines.len() + lines.len() + end.len() > MAX_BYTES {
            let dropped = count(lines) + count(end.as_bytes());
            waiting.dropped += dropped;
            self.dropped.fetch_add(dropped, Ordering::Relaxed);
        } else {
            waiting.lines.extend_from_slice(lines);
            waiting.lines.extend_from_slice(end.as_bytes());
        }
        drop(waiting);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// How many lines were dropped so far: for want of room, or because they could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but not longer than `limit`. Returns whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let is_left = |waiting: &mut Waiting| waiting.is_writing || !waiting.is_empty();
        let waited = self
            .emptied
            .wait_timeout_while(self.lock(), limit, is_left)
            .unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    /// Writes all lines, forever. `note` makes the line that says how many lines were dropped.
    pub(super) fn write_to(&self, out: &mut impl Write, note: impl Fn(u64) -> String) -> ! {
        let (mut lines, mut unreported) = (Vec::new(), 0);
        loop {
            unreported += self.take(&mut lines);
            let lost = write(out, &lines);
            self.dropped.fetch_add(lost, Ordering::Relaxed);
            unreported += lost;
            if unreported > 0 && write(out, note(unreported).as_bytes()) == 0 {
                unreported = 0;
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits for lines and takes them. Returns how many were dropped behind them.
    fn take(&self, lines: &mut Vec<u8>) -> u64 {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        if waiting.is_empty() {
            self.emptied.notify_all();
        }
        let mut waiting = self
            .filled
            .wait_while(waiting, |waiting| waiting.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        std::mem::swap(&mut waiting.lines, lines);
        std::mem::take(&mut waiting.dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No panic can leave a line half-added.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

/// The beginning of a text that is too long, and the end of its last line.
fn cut(lines: &[u8]) -> (&[u8], String) {
    if lines.len() <= MAX_TEXT {
        return (lines, String::new());
    }
    // No letter of UTF-8 is cut in two.
    let is_inside = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    let inside = lines[..=MAX_TEXT].iter().rev().take_while(is_inside);
    let (kept, rest) = lines.split_at(MAX_TEXT - inside.count());
    (kept, format!("… ({} more bytes)\n", rest.len()))
}

/// Writes lines. Returns how many could not be written, or not completely.
fn write(out: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => break,
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Another process has set the terminal or the pipe to answer that instead of waiting.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(PAUSE),
            Err(_) => break,
        }
    }
    // A failure of the flush tells nothing about single lines.
    let _: io::Result<()> = out.flush();
    count(lines)
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// How many bytes wait at most. As many again may be with the thread that writes.
const MAX_BYTES: usize = 512 * 1024;

/// The longest text that is added as a whole, such as a panic with its backtrace.
const MAX_TEXT: usize = 64 * 1024;

/// How much memory stays allocated between two writes.
const KEPT_BYTES: usize = 16 * 1024;

/// How long to wait before the next try to write to what answers that it would block.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// Takes a write only when it is told how it ends.
    struct Output {
        told: Receiver<io::Result<()>>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.told.recv() {
                Ok(Err(error)) => return Err(error),
                Ok(Ok(())) => {}
                // The test is over.
                Err(_) => loop {
                    std::thread::park();
                },
            }
            let text = str::from_utf8(bytes).unwrap();
            self.written.lock().unwrap().push_str(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Told = SyncSender<io::Result<()>>;

    fn started() -> (Arc<LineQueue>, Told, Arc<Mutex<String>>) {
        let queue = Arc::new(LineQueue::new());
        let (tell, told) = sync_channel(100);
        let written = Arc::default();
        let mut output = Output {
            told,
            written: Arc::clone(&written),
        };
        let writing = Arc::clone(&queue);
        std::thread::spawn(move || writing.write_to(&mut output, |lines| format!("-{lines}\n")));
        (queue, tell, written)
    }

    const LIMIT: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(10);

    #[test]
    fn what_does_not_fit_is_dropped_and_told() {
        let (queue, tell, written) = started();
        queue.push(b"first\n");
        // The thread waits for the output, and everything else is pushed at once.
        assert!(!queue.flush(SHORT));
        let long = [b"x".repeat(999), b"\n".to_vec()].concat();
        let fitting = MAX_BYTES / 1000;
        for _ in 0..fitting + 7 {
            queue.push(&long);
        }
        assert_eq!(queue.dropped(), 7);
        for _ in 0..3 {
            tell.send(Ok(())).unwrap();
        }
        assert!(queue.flush(LIMIT));
        let text = written.lock().unwrap().clone();
        assert_eq!(text.lines().count(), 1 + fitting + 1);
        assert!(text.starts_with("first\n") && text.ends_with("x\n-7\n"));
    }

    /// A program's own errors and panics can be of any length.
    #[test]
    fn a_long_text_is_cut_and_not_lost() {
        let (queue, tell, written) = started();
        for _ in 0..2 {
            tell.send(Ok(())).unwrap();
        }
        // The cut is at a letter of two bytes: once before it, once within it.
        for before in ["x", ""] {
            queue.push(format!("{before}{}\n", "é".repeat(MAX_BYTES)).as_bytes());
            assert!(queue.flush(LIMIT));
            let text = std::mem::take(&mut *written.lock().unwrap());
            let (kept, end) = text.split_once('…').unwrap();
            let letters = kept.strip_prefix(before).unwrap();
            let kept_bytes = MAX_TEXT - before.len();
            assert_eq!(letters, "é".repeat(kept_bytes / 2));
            let rest = 2 * MAX_BYTES + 1 - letters.len();
            assert_eq!(end, format!(" ({rest} more bytes)\n"));
        }
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_closed_output_is_told_when_it_works_again() {
        let (queue, tell, written) = started();
        let broken = || Err(ErrorKind::BrokenPipe.into());
        // The lines, and the line that would say how many were dropped.
        for _ in 0..2 {
            tell.send(broken()).unwrap();
        }
        queue.push(b"a\nb\n");
        assert!(queue.flush(LIMIT));
        assert_eq!(queue.dropped(), 2);
        tell.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        for _ in 0..2 {
            tell.send(Ok(())).unwrap();
        }
        queue.push(b"c\n");
        assert!(queue.flush(LIMIT));
        assert_eq!(*written.lock().unwrap(), "c\n-2\n");
        assert_eq!(queue.dropped(), 2);
    }
}
