//! What the log of this process was told.

use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Begins to listen to errors. Other tests are heard too.
pub(super) fn listen() {
    // It fails if another test has begun before.
    let _ = log::set_logger(&LINES);
    log::set_max_level(LevelFilter::Error);
}

/// Whether a line holds this text.
pub(super) fn was_told(text: &str) -> bool {
    let lines = LINES.0.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().any(|line| line.contains(text))
}
