//! `offhook verify-durability`: is everything that was acknowledged still there after `kill -9`? The crate
//! `offhook-durability` answers that; here are its options, its progress bar and its output.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use offhook_durability::{ClusterPlan, Figures, Plan, verify, verify_cluster};
use tokio::signal::unix::{SignalKind, signal};

use super::output::{self, Failure, Outcome, Verdict, progress_bar};

/// Kill a server under load again and again, and check that it loses nothing
///
/// Starts this program's own server in a temporary folder (set by TMPDIR), sends it signed messages of
/// many conversations, kills it with SIGKILL at random moments, and starts it again on the same folder.
/// Then compares: every acknowledged message must have reached the handler, and those of one
/// conversation in the order they were sent. Other servers on this machine are left alone.
///
/// With --engine postgres it starts a private PostgreSQL server, of the programs that are installed, and several
/// instances on it. Messages are sent to all of them; now and then an instance is killed, or all
/// processes of the database. What was not acknowledged is sent again, to another instance.
///
/// SIGKILL shows that nothing acknowledged is only in the process's memory. It does not show what a
/// power cut does, which depends on the system and the disk; offhook synchronises its file before it
/// answers.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyDurability {
    /// The engine of the journal
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    engine: Engine,

    /// How many instances share the database, 3 by default; with --engine postgres
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    instances: Option<u8>,

    /// The folder of PostgreSQL's programs, in place of those that are installed; with --engine postgres
    #[arg(long, value_name = "FOLDER")]
    postgres_programs: Option<PathBuf>,

    /// How often a server, an instance or the database is killed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,

    /// The longest time that the server is loaded before each kill
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: f64,

    /// Repeat the random choices of an earlier run
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    Sqlite,
    Postgres,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.01..=3600.0).contains(&number) => Ok(number),
        _ => Err("expected seconds, from 0.01 to 3600".to_owned()),
    }
}

impl VerifyDurability {
    pub(super) fn run(self) -> Outcome {
        if self.engine == Engine::Sqlite
            && (self.instances.is_some() || self.postgres_programs.is_some())
        {
            return Err(Failure::usage(
                "--instances and --postgres-programs are for --engine postgres",
            ));
        }
        let figures = actix_rt::System::new().block_on(async {
            let refused = |error| Failure::failed(format!("listening to signals: {error}"));
            let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
            let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
            let mut hangup = signal(SignalKind::hangup()).map_err(refused)?;
            // Dropping the run halfway also stops its server and removes its folder.
            tokio::select! {
                figures = self.verify() => figures,
                _ = interrupt.recv() => Err(Failure::failed(INTERRUPTED)),
                _ = terminate.recv() => Err(Failure::failed(INTERRUPTED)),
                _ = hangup.recv() => Err(Failure::failed(INTERRUPTED)),
            }
        })?;
        if self.json {
            output::print_json(&figures)?;
        } else {
            output::print(&figures.text())?;
        }
        Ok(Verdict::from(figures.durable))
    }

    async fn verify(&self) -> Result<Figures, Failure> {
        let starting = |error| Failure::failed(format!("starting offhook: {error}"));
        let program = std::env::current_exe().map_err(starting)?;
        let (kills, load) = (self.kills, Duration::from_secs_f64(self.seconds));
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..));
        let template = "{bar:40} {pos}/{len} kills  {msg} acknowledged";
        let bar = progress_bar(kills.into(), template);
        let progress = |acknowledged: usize| {
            bar.inc(1);
            bar.set_message(acknowledged.to_string());
        };
        let figures = match self.engine {
            Engine::Sqlite => {
                let plan = Plan {
                    program,
                    kills,
                    load,
                    seed,
                };
                verify(&plan, progress).await
            }
            Engine::Postgres => {
                let plan = ClusterPlan {
                    program,
                    postgres: self.postgres_programs.clone(),
                    instances: self.instances.unwrap_or(3).into(),
                    kills,
                    load,
                    seed,
                };
                Box::pin(verify_cluster(&plan, progress)).await
            }
        };
        bar.finish_and_clear();
        figures.map_err(Failure::failed)
    }
}

const INTERRUPTED: &str = "interrupted; the server was ended and its folder removed";

const EXAMPLES: &str = "\
Examples:
  offhook verify-durability
  offhook verify-durability --kills 100 --seconds 3
  offhook verify-durability --seed 42 --json
  TMPDIR=/var/lib offhook verify-durability      On the disk that will hold the journal
  offhook verify-durability --engine postgres    Three instances on a PostgreSQL of its own

Exit status: 0 durable, 1 not (or it could not be tried), 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long() {
        assert_eq!(seconds("0.3"), Ok(0.3));
        for odd in ["", "0", "-1", "NaN", "inf", "3601", "1s"] {
            assert!(seconds(odd).is_err(), "{odd}");
        }
    }
}
