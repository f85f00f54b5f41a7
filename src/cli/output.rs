//! What is printed, where, and with which exit status the program ends.
//!
//! A reader that goes away (`offhook check | head -1`) is no error: what it does not want is not
//! written.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use offhook::escape_controls;
use serde::Serialize;

/// The answer to what was asked.
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

/// Why there is no answer, said on standard error.
#[derive(Debug)]
pub(super) struct Failure {
    status: u8,
    message: String,
}

impl Failure {
    /// It was tried, and failed: exit status 1.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status: 1, message }
    }

    /// It cannot be tried as it was asked for: exit status 2.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status: 2, message }
    }
}

pub(super) type Outcome = Result<Verdict, Failure>;

pub(super) fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(failure) => {
            note(&format!("{} {}", bad("error:"), failure.message));
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
    let text = serde_json::to_string(value);
    print(&text.map_err(|error| Failure::failed(error.to_string()))?)
}

/// Prints bytes as they are to standard output, colours left out where it is no terminal.
pub(super) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints `text` and a line break to standard error. `eprintln!` would panic where nobody reads it.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// How to see what did not fit on the page that was printed.
pub(super) fn note_older(next: Option<&str>) {
    if let Some(next) = next {
        note(&format!(
            "There are older ones: --before {}",
            escape_controls(next)
        ));
    }
}

/// Text for good news; coloured on a terminal.
pub(super) fn good(text: &str) -> String {
    styled(text, AnsiColor::Green.on_default().bold())
}

/// Text for bad news; coloured on a terminal.
pub(super) fn bad(text: &str) -> String {
    styled(text, AnsiColor::Red.on_default().bold())
}

/// A title; bold on a terminal.
pub(super) fn title(text: &str) -> String {
    styled(text, Style::new().bold())
}

fn styled(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}
