//! `offhook journal`: backs up, checks and saves the files of a journal, by the folder that the settings name.

use std::path::{Path, PathBuf};
#[cfg(feature = "postgres")]
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use offhook::clock::{Clock as _, SystemClock};
use offhook::journal::{self, FilesError, Finding, Verified};
use offhook::settings::JournalSettings;
#[cfg(feature = "postgres")]
use offhook::settings::PostgresSettings;
use serde_json::{Value, json};

use super::output::{self, Failure, Outcome, Verdict, counted};
use super::settings_file::SettingsFile;

/// Back up the journal, check it, or save what can be read of a damaged one
///
/// The journal is the folder `journal.path` of the settings. With the engine `postgres` it is in the database,
/// which has its own backups: verify reads it there.
#[derive(Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true)]
pub(super) struct Journal {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Copy the journal into a new folder, also while the server runs
    #[command(allow_missing_positional = true)]
    Backup(Copied),
    /// Read everything and list what is damaged, also while the server runs; of a database, too
    Verify(Checked),
    /// Save what can be read of a damaged journal into a new folder; stop the server first
    #[command(allow_missing_positional = true)]
    Salvage(Copied),
}

#[derive(Args)]
struct Copied {
    /// The journal's folder, in place of the settings' journal.path
    from: Option<PathBuf>,

    /// The new folder, which can be a journal.path afterwards
    dest: PathBuf,

    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Checked {
    /// The journal's folder, in place of the settings' journal.path
    folder: Option<PathBuf>,

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
            Action::Backup(copied) => {
                let folder = copied.common.folder(copied.from, "nothing is copied")?;
                copied.common.back_up(&folder, &copied.dest)
            }
            Action::Verify(checked) => {
                let Checked { folder, common } = checked;
                #[cfg(feature = "postgres")]
                if folder.is_none()
                    && let Some(settings) = common.database()?
                {
                    return common.verify_database(&settings);
                }
                let folder = common.folder(folder, "nothing is checked")?;
                common.verify(&folder)
            }
            Action::Salvage(copied) => {
                let folder = copied.common.folder(copied.from, "nothing is saved")?;
                copied.common.salvage(&folder, &copied.dest)
            }
        }
    }
}

impl Common {
    fn back_up(&self, folder: &Path, dest: &Path) -> Outcome {
        let (copied, took) = timed(|| journal::backup(folder, dest));
        let copied = copied.map_err(failure)?;
        let text = || {
            let events = counted_events(copied.events, copied.bytes);
            format!("{events} copied to {} in {took:.1?}", dest.display())
        };
        let facts = json!({
            "folder": folder.display().to_string(),
            "dest": dest.display().to_string(),
            "events": copied.events,
            "newest": copied.newest,
            "bytes": copied.bytes,
            "seconds": took.as_secs_f64(),
        });
        self.print(&facts, text)?;
        Ok(Verdict::Yes)
    }

    fn verify(&self, folder: &Path) -> Outcome {
        let (found, took) = timed(|| journal::verify(folder));
        let found = found.map_err(failure)?;
        let place = folder.display().to_string();
        let advice = "restore a backup, or save what can be read: offhook journal salvage DEST";
        self.show(&found, took, ("folder", &place), advice)
    }

    /// The database of the settings, if the journal is in one.
    #[cfg(feature = "postgres")]
    fn database(&self) -> Result<Option<Box<PostgresSettings>>, Failure> {
        let Some(known) = self.file.known()? else {
            return Ok(None);
        };
        let JournalSettings::Postgres(_) = &known.settings.journal else {
            return Ok(None);
        };
        known.check("journal", "nothing is checked")?;
        match known.settings.journal {
            JournalSettings::Postgres(settings) => Ok(Some(settings)),
            _ => Ok(None),
        }
    }

    #[cfg(feature = "postgres")]
    fn verify_database(&self, settings: &PostgresSettings) -> Outcome {
        let options = settings.options().map_err(Failure::failed)?;
        let (found, took) = timed(|| {
            let verified = journal::Postgres::verify(&options, Arc::new(SystemClock));
            actix_rt::System::new().block_on(verified)
        });
        let found = found.map_err(Failure::failed)?;
        let place = format!("the schema {} of the database", settings.schema);
        let advice = "restore a backup of the database";
        self.show(&found, took, ("database", &place), advice)
    }

    /// Shows what was found in a place, and what to do where that is damage.
    fn show(
        &self,
        found: &Verified,
        took: Duration,
        (kind, place): (&str, &str),
        advice: &str,
    ) -> Outcome {
        let text = || {
            let mut lines: Vec<String> = found.damaged.iter().map(|one| one.text.clone()).collect();
            if found.unlisted > 0 {
                lines.push(format!("and {} more", found.unlisted));
            }
            let lost = found
                .lost
                .iter()
                .map(|(first, last)| numbers(*first, *last));
            lines.extend(lost.map(|lost| format!("{lost}: lost before, and noted")));
            let events = counted_events(found.events, found.bytes);
            let read = format!("{events} read from {place} in {took:.1?}");
            lines.push(if found.is_whole() {
                let since = if found.lost.is_empty() { "" } else { " since" };
                let nothing = output::good(&format!("nothing is damaged{since}"));
                format!("{read}; {nothing}")
            } else {
                format!(
                    "{read}; {}: {advice}",
                    output::bad("the journal is damaged")
                )
            });
            lines.join("\n")
        };
        let finding = |one: &Finding| {
            json!({
                "first": one.events.map(|(first, _)| first),
                "last": one.events.map(|(_, last)| last),
                "id": one.id.map(|id| id.to_string()),
                "text": one.text,
            })
        };
        let facts = json!({
            kind: place,
            "events": found.events,
            "newest": found.newest,
            "bytes": found.bytes,
            "damaged": found.damaged.iter().map(finding).collect::<Vec<_>>(),
            "unlisted": found.unlisted,
            "lost": found.lost,
            "seconds": took.as_secs_f64(),
        });
        self.print(&facts, text)?;
        Ok(found.is_whole().into())
    }

    fn salvage(&self, folder: &Path, dest: &Path) -> Outcome {
        let (saved, took) = timed(|| journal::salvage(folder, dest));
        let saved = saved.map_err(failure)?;
        let text = || {
            let lost = saved
                .lost
                .iter()
                .map(|(first, last)| numbers(*first, *last));
            let lost = lost.map(|lost| format!("lost: {lost}"));
            let left_out = saved
                .left_out
                .iter()
                .map(|text| format!("left out: {text}"));
            let mut lines: Vec<String> = lost.chain(left_out).collect();
            let events = counted_events(saved.events, saved.bytes);
            let dest = dest.display();
            lines.push(format!(
                "{events} saved in {dest} in {took:.1?}; set journal.path to it"
            ));
            lines.join("\n")
        };
        let facts = json!({
            "folder": folder.display().to_string(),
            "dest": dest.display().to_string(),
            "events": saved.events,
            "newest": saved.newest,
            "bytes": saved.bytes,
            "lost": saved.lost,
            "left_out": saved.left_out,
            "seconds": took.as_secs_f64(),
        });
        self.print(&facts, text)?;
        Ok(saved.is_complete().into())
    }

    /// The folder of the journal: the one that is named, or that of the settings.
    fn folder(&self, named: Option<PathBuf>, consequence: &str) -> Result<PathBuf, Failure> {
        if let Some(named) = named {
            return Ok(named);
        }
        let instead =
            format!("{consequence}; name the journal's folder, or the settings with --settings");
        let Some(known) = self.file.known()? else {
            let file = self.file.path().display();
            return Err(Failure::usage(format!(
                "there is no {file} here; {instead}"
            )));
        };
        known.check("journal", &instead)?;
        match known.settings.journal {
            // Complete, because a relative one is of the folder in which the server was started.
            JournalSettings::Sqlite(sqlite) => {
                Ok(std::path::absolute(&sqlite.path).unwrap_or(sqlite.path))
            }
            JournalSettings::Postgres(_) => Err(Failure::usage(format!(
                "{}: with journal.engine = \"postgres\" the journal is in the database, which has its own backups; \
                 {consequence}",
                known.file
            ))),
            _ => Err(Failure::usage(format!(
                "{}: with journal.engine = \"none\" there is no journal; {consequence}",
                known.file
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

/// Events by their numbers.
fn numbers(first: u64, last: u64) -> String {
    match last - first {
        0 => format!("event {first}"),
        _ => format!("events {first} to {last}"),
    }
}

fn counted_events(events: u64, bytes: u64) -> String {
    let size = ByteSize(bytes).display().iec();
    format!("{} ({size})", counted(events, "event"))
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
        FilesError::NoJournal(_) | FilesError::Occupied(_) | FilesError::Inside(_) => {
            Failure::usage(error)
        }
        error => Failure::failed(error),
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook journal backup /backups/monday
                                Copy the journal of ./settings.toml, also while the server runs
  offhook journal verify        Read all of it, and list what is damaged
  offhook journal verify /backups/monday
                                The same of a copy
  offhook journal salvage /var/lib/offhook-saved
                                Save what can be read of a damaged journal; stop the server first

A backup is a folder like journal.path itself. To restore it, stop the server, move the old folder
away, and copy the backup to its place. A damaged journal is never changed.

Exit status: 0 done, nothing damaged (what was lost before, and noted, is listed and does not count),
everything saved; 1 it failed, something is damaged, or not everything could be saved; 2 usage.";
