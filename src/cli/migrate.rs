//! `offhook migrate`: moves a journal between the engines `sqlite` and `postgres`.

use std::path::{Path, PathBuf};

use clap::Args;
use offhook::settings::JournalSettings;

use super::output::{Failure, Outcome};
use super::settings_file::SettingsFile;

/// Move the journal from one engine to another: from sqlite to postgres, or back
///
/// Takes two settings files; their [journal] sections say what is moved and where to. Stop the server, or all
/// instances, first. Events keep their numbers and ids, duplicates are recognised as before, and no
/// consumer gets again what it has settled; retries, dead letters, pauses, replays and subscriptions move too. The
/// search index is made again, so the attempts of earlier events are not in it.
///
/// The old journal is not changed, and the new one is in use only when everything is there and was counted. If
/// the command is interrupted, the same command goes on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Migrate {
    /// The settings of the old journal
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// The settings of the new one
    #[arg(long, value_name = "FILE")]
    to: PathBuf,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub(super) fn run(self) -> Outcome {
        let (from, to) = (journal_of(&self.from)?, journal_of(&self.to)?);
        carry_out(&from, &to, self.json)
    }
}

/// The `[journal]` of a settings file; nothing else in it needs to be right.
fn journal_of(path: &Path) -> Result<JournalSettings, Failure> {
    let known = SettingsFile::at(path.to_owned()).known()?;
    let missing = || Failure::usage(format!("there is no {}", path.display()));
    let known = known.ok_or_else(missing)?;
    known.check("journal", "nothing is moved")?;
    Ok(known.settings.journal)
}

#[cfg(feature = "postgres")]
fn carry_out(from: &JournalSettings, to: &JournalSettings, is_json: bool) -> Outcome {
    use offhook::journal::{MoveError, MoveStep};
    use serde_json::json;

    use super::output::{self, Verdict, counted, good, note, progress_bar};

    let bar = progress_bar(0, "{bar:40} {pos}/{len} events  {msg}");
    let mut told = |step| match step {
        MoveStep::Resumed(at) => note(&format!(
            "goes on after event {at}, where it was interrupted"
        )),
        MoveStep::Events(at, of) => {
            bar.set_length(of);
            bar.set_position(at);
        }
        MoveStep::DedupKeys(count) => bar.set_message(format!("{count} dedup keys")),
        MoveStep::Rest => bar.set_message("progress, dead letters, subscriptions"),
        _ => {}
    };
    let moved = actix_rt::System::new().block_on(offhook::migrate(from, to, &mut told));
    bar.finish_and_clear();
    let moved = moved.map_err(|error| match error {
        MoveError::Refused(_) => Failure::failed(format!("{error}; nothing was moved")),
        error => Failure::failed(error),
    })?;
    let counts = moved.counts;
    if is_json {
        output::print_json(&json!({
            "events": counts.events,
            "first": moved.first,
            "last": moved.last,
            "deleted_events": counts.deletions,
            "dedup_keys": moved.dedup_keys,
            "consumers": counts.consumers,
            "paused_consumers": counts.paused,
            "dead_letters": counts.dead_letters,
            "documents": counts.documents,
            "resumed_at": moved.resumed_at,
        }))?;
        return Ok(Verdict::Yes);
    }
    let events = match counts.events {
        0 => "no events".to_owned(),
        count => format!(
            "{} ({} to {})",
            counted(count, "event"),
            moved.first,
            moved.last
        ),
    };
    let lines = [
        format!("{events}, {} of them deleted", counts.deletions),
        counted(moved.dedup_keys, "dedup key"),
        format!(
            "{}, {} of them paused",
            counted(counts.consumers, "consumer"),
            counts.paused
        ),
        counted(counts.dead_letters, "dead letter"),
        counted(counts.documents, "subscription"),
    ];
    output::print(&format!(
        "{} from {} to {}; both were counted and hold:\n  {}\nStart offhook with the new settings. The old journal is as it \
         was: do not start offhook on it again, and remove it when the new one is right.",
        good("moved"),
        from.name(),
        to.name(),
        lines.join("\n  ")
    ))?;
    Ok(Verdict::Yes)
}

/// This build has only one engine with a journal.
#[cfg(not(feature = "postgres"))]
fn carry_out(_: &JournalSettings, _: &JournalSettings, _: bool) -> Outcome {
    Err(Failure::usage(
        "the engine postgres is not part of this build: build with the feature `postgres`",
    ))
}

const EXAMPLES: &str = "\
Examples:
  offhook migrate --from settings.toml --to cluster.toml
                                From the folder of the one to the database of the other
  offhook migrate --from cluster.toml --to settings.toml
                                Back

Exit status: 0 moved, 1 not moved (the old journal is as it was), 2 usage.";
