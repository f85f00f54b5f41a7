//! `--connect`: how the database is that the settings name.

use offhook::escape_controls;
use offhook::settings::{JournalSettings, PostgresSettings, Settings};
use serde_json::{Value, json};

use super::super::output::{Failure, bad, good, title};

/// How the database is in one respect.
pub(super) struct Seen {
    what: &'static str,
    verdict: &'static str,
    told: String,
}

/// Looks at the database.
pub(super) fn database(settings: &Settings) -> Result<Vec<Seen>, Failure> {
    match &settings.journal {
        JournalSettings::Postgres(postgres) => look(postgres, settings.fingerprint()),
        other => Err(Failure::usage(format!(
            "--connect looks at the database of the engine postgres, and the settings have the engine {}",
            other.name()
        ))),
    }
}

#[cfg(feature = "postgres")]
fn look(settings: &PostgresSettings, fingerprint: String) -> Result<Vec<Seen>, Failure> {
    use offhook::clock::SystemClock;
    use offhook::journal::{Observation, Postgres, Verdict};

    let options = settings.options().map_err(Failure::failed)?;
    let options = options.fingerprint(fingerprint);
    let looked = Postgres::check(&options, std::sync::Arc::new(SystemClock));
    let found = actix_rt::System::new().block_on(looked);
    let seen = |one: Observation| Seen {
        what: one.what,
        verdict: match one.verdict {
            Verdict::Good => GOOD,
            Verdict::Doubtful => "doubtful",
            Verdict::Unfit => UNFIT,
        },
        told: one.told,
    };
    Ok(found.into_iter().map(seen).collect())
}

/// The settings of such an engine were refused before.
#[cfg(not(feature = "postgres"))]
fn look(_: &PostgresSettings, _: String) -> Result<Vec<Seen>, Failure> {
    Ok(Vec::new())
}

impl Seen {
    pub(super) fn is_unfit(&self) -> bool {
        self.verdict == UNFIT
    }

    pub(super) fn told(&self) -> &str {
        &self.told
    }

    pub(super) fn json(&self) -> Value {
        json!({"what": self.what, "verdict": self.verdict, "text": self.told})
    }

    pub(super) fn line(&self) -> String {
        let told = escape_controls(&self.told);
        let told = match self.verdict {
            GOOD => told.into_owned(),
            UNFIT => format!("{} {told}", bad("unfit:")),
            doubtful => format!("{} {told}", title(&format!("{doubtful}:"))),
        };
        format!("  {:<13}  {told}", self.what)
    }
}

/// All of it, as text.
pub(super) fn text(seen: &[Seen]) -> String {
    let is_fit = !seen.iter().any(Seen::is_unfit);
    let all = if is_fit {
        good("can be used")
    } else {
        bad("cannot be used")
    };
    let lines: String = seen.iter().map(|one| format!("\n{}", one.line())).collect();
    format!("database: {all}{lines}\n")
}

const GOOD: &str = "good";
const UNFIT: &str = "unfit";
