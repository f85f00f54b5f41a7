//! `offhook journal`: backs up, checks and saves the files of a journal, by the folder that the settings name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use offhook::clock::{Clock as _, SystemClock};
use offhook::journal::{self, FilesError};
use offhook::settings::JournalSettings;
use serde_json::{Value, json};

use super::SettingsFile;
use super::output::{self, Failure, Outcome, Verdict, counted};

/// Back up the journal, check it, or save what can be read of a damaged one
///
/// The journal is the folder `journal.path` of the settings.
#[derive(Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Copy the journal into a new folder, also while the server runs
    Backup(Copied),
}

#[derive(Args)]
struct Copied {
    /// The new folder, which can be a journal.path afterwards
    dest: PathBuf,

    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    file: SettingsFile,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Journal {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            Action::Backup(to) => to.common.back_up(&to.dest),
        }
    }
}

impl Common {
    fn back_up(&self, dest: &Path) -> Outcome {
        let folder = self.folder("nothing is copied")?;
        let (copied, took) = timed(|| journal::backup(&folder, dest));
        let copied = copied.map_err(failure)?;
        let (events, bytes) = (copied.events, copied.bytes);
        let text = || {
            let size = ByteSize(bytes).display().iec();
            let (events, dest) = (counted(events, "event"), dest.display());
            format!("{events} ({size}) copied to {dest} in {took:.1?}")
        };
        let facts = json!({
            "folder": folder.display().to_string(),
            "dest": dest.display().to_string(),
            "events": events,
            "newest": copied.newest,
            "bytes": bytes,
            "seconds": took.as_secs_f64(),
        });
        self.print(&facts, text)?;
        Ok(Verdict::Yes)
    }

    /// The folder of the journal.
    fn folder(&self, consequence: &str) -> Result<PathBuf, Failure> {
        match self.file.load(consequence)?.journal {
            JournalSettings::Sqlite(sqlite) => Ok(sqlite.path),
            _ => Err(Failure::usage(format!(
                "{}: with journal.engine = \"none\" there is no journal; {consequence}",
                self.file.settings.display()
            ))),
        }
    }

    fn print(&self, facts: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            output::print_json(facts)
        } else {
            output::print(&text())
        }
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = SystemClock.monotonic();
    let done = work();
    (
        done,
        SystemClock.monotonic().saturating_duration_since(start),
    )
}

fn failure(error: FilesError) -> Failure {
    match error {
        FilesError::NoJournal(_) | FilesError::Occupied(_) => Failure::usage(error),
        error => Failure::failed(error),
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook journal backup /backups/monday
                                Copy the journal of ./settings.toml, also while the server runs

A backup is a folder like journal.path itself. To restore it, stop the server, move the old folder
away, and copy the backup to its place.

Exit status: 0 done, 1 it failed, 2 usage.";
