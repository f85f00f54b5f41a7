//! What commands print, and the program's exit status.
//!
//! If the reader closes the pipe (`offhook check | head -1`), that is not an error, and the rest is not
//! written.

use std::fmt::{self, Display};
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offhook::{escape_controls, escape_controls_in_json};
use serde::Serialize;

/// The answer to the command's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Exit status 0.
    Yes,
    /// Exit status 1.
    No,
}

impl From<bool> for Verdict {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Why there is no answer. It is printed to standard error.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// It was tried and failed: exit status 1.
    pub(super) fn failed(message: impl Display) -> Self {
        let message = message.to_string();
        Self { status: 1, message }
    }

    /// It has an exit status of its own.
    pub(super) fn with_status(status: u8, message: impl Display) -> Self {
        let message = message.to_string();
        Self { status, message }
    }

    /// It cannot be tried with these options: exit status 2.
    pub(super) fn usage(message: impl Display) -> Self {
        let message = message.to_string();
        Self { status: 2, message }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

pub(super) type Outcome = Result<Verdict, Failure>;

pub(super) fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(failure) => {
            offhook::logging::print_error(&format!("{} {}", bad("error:"), failure.message));
            ExitCode::from(failure.status)
        }
    }
}

/// Prints `text` and a line break to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(format!("{text}\n").as_bytes())
}

/// Prints one line of JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value).map_err(Failure::failed)?;
    print(&escape_controls_in_json(&json))
}

/// Prints bytes unchanged to standard output, without colours if it is not a terminal.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    try_write(bytes).map(drop)
}

/// As [`write`]. Returns whether anybody still reads it.
pub(super) fn try_write(bytes: &[u8]) -> Result<bool, Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
        Ok(()) => Ok(true),
    }
}

/// Prints `text` and a line break to standard error; of a server behind its log, so that a standard error
/// that is not read does not hold it up. `eprintln!` would panic if standard error is closed.
pub(super) fn note(text: &str) {
    offhook::logging::print(text);
}

/// A progress bar on standard error, if that is a terminal.
pub(super) fn progress_bar(count: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `1 event` or `3 events`.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// A line with a name and its value, in columns.
pub(super) fn fact(name: &str, value: &str) -> String {
    format!(
        "{}  {}",
        title(&format!("{name:<12}")),
        escape_controls(value)
    )
}

/// Formats good news; coloured on a terminal.
pub(super) fn good(text: &str) -> String {
    styled(text, AnsiColor::Green.on_default().bold())
}

/// Formats bad news; coloured on a terminal.
pub(super) fn bad(text: &str) -> String {
    styled(text, AnsiColor::Red.on_default().bold())
}

/// Formats a title; bold on a terminal.
pub(super) fn title(text: &str) -> String {
    styled(text, Style::new().bold())
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_json_means_the_same() {
        let json = "{\"a\": \"é\u{9b}\u{7f}\u{202e}\\n\"}";
        let shown = escape_controls_in_json(json);
        assert_eq!(shown, r#"{"a": "é\u009b\u007f\u202e\n"}"#);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(json), read(&shown));
    }
}
