//! [`Postgres::check`]: looks at a database as a start does, and tells all of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::check::{hears, server};
use super::connect::{Connector, Role};
use super::facts::{Observation, Verdict};
use super::journal::Postgres;
use super::options::PostgresOptions;
use super::schema::{is_there, millis, of_format, of_shares};
use super::session::Session;
use crate::clock::Clock;

impl Postgres {
    /// Looks at a database as a start does, and at all of it: nothing is created or changed.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use offhook::clock::SystemClock;
    /// use offhook::journal::{Postgres, PostgresOptions, Verdict};
    ///
    /// # async fn check() -> Result<(), offhook::journal::PostgresError> {
    /// let options = PostgresOptions::new("postgresql://offhook@127.0.0.1/offhook")?;
    /// for observation in Postgres::check(&options, Arc::new(SystemClock)).await {
    ///     if observation.verdict != Verdict::Good {
    ///         eprintln!("{}: {}", observation.what, observation.told);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn check(options: &PostgresOptions, clock: Arc<dyn Clock>) -> Vec<Observation> {
        let unfit = |why: String| Observation::new("connection", Verdict::Unfit, why);
        let connector = match Connector::new(options, Handle::current(), Arc::clone(&clock)) {
            Ok(connector) => Arc::new(connector),
            Err(why) => return vec![unfit(why.to_string())],
        };
        let session = match connector.connect(&Role::Durable).await {
            Ok(session) => session,
            Err(why) => return vec![unfit(format!("the database cannot be used: {why}"))],
        };
        let mut observations = server(&session, options, clock.as_ref()).await;
        observations.push(hears(&connector, &session, options).await);
        observations.extend(journal(&session, options).await);
        session.end();
        observations
    }
}

/// Looks at the journal that the database holds, if it does.
async fn journal(session: &Session, options: &PostgresOptions) -> Vec<Observation> {
    let schema = &options.schema;
    match is_there(session, schema).await {
        Err(why) => return vec![Observation::new("journal", Verdict::Unfit, why.to_string())],
        Ok(false) => {
            let told = format!("the schema {schema} is made at the first start");
            return vec![Observation::new("journal", Verdict::Good, told)];
        }
        Ok(true) => {}
    }
    let rows = match session.read(JOURNAL, &[]).await {
        Ok(rows) => rows,
        Err(why) => {
            let told = format!("the journal cannot be read: {why}");
            return vec![Observation::new("journal", Verdict::Unfit, told)];
        }
    };
    let Some(row) = rows.first() else {
        let told = "the table meta is empty";
        return vec![Observation::new("journal", Verdict::Unfit, told)];
    };
    let (format, oldest, shares): (i32, i32, i32) = (row.get(0), row.get(1), row.get(2));
    vec![
        of_format(format, oldest, options.formats.0),
        of_shares(shares, options),
        of_windows((row.get(3), row.get(4)), row.get(5), options),
    ]
    .into_iter()
    .chain(instances(session, options).await)
    .collect()
}

/// Compares what these options say with what the instances have that run.
async fn instances(session: &Session, options: &PostgresOptions) -> Vec<Observation> {
    let rows = match session.read(INSTANCES, &[]).await {
        Ok(rows) => rows,
        Err(why) => {
            let told = format!("they cannot be read: {why}");
            return vec![Observation::new("instances", Verdict::Unfit, told)];
        }
    };
    if rows.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
    let running = format!("running: {}", names.join(", "));
    let leases = rows.iter().map(|row| (row.get(0), row.get(1)));
    let settings = rows.iter().map(|row| (row.get(0), row.get(2)));
    vec![
        Observation::new("instances", Verdict::Good, running),
        of_leases(&leases.collect::<Vec<_>>(), millis(options.lease)),
        of_settings(&settings.collect::<Vec<_>>(), &options.fingerprint),
    ]
}

fn of_leases(all: &[(&str, i64)], own: i64) -> Observation {
    let shown = |lease: i64| humantime::format_duration(Duration::from_millis(lease as u64));
    match all.iter().find(|(_, lease)| *lease != own) {
        None => Observation::new("lease", Verdict::Good, shown(own).to_string()),
        Some((name, lease)) => {
            let told = format!(
                "{name} runs with a lease of {}, and this instance would with {}: all should have the same one; between \
                 two the longer one counts",
                shown(*lease),
                shown(own)
            );
            Observation::new("lease", Verdict::Doubtful, told)
        }
    }
}

/// One that has not said yet what it runs is not counted.
fn of_settings(all: &[(&str, &str)], own: &str) -> Observation {
    let mut said = all.iter().filter(|(_, settings)| !settings.is_empty());
    match said.find(|(_, settings)| *settings != own) {
        Some((name, settings)) if !own.is_empty() => {
            let told = format!(
                "{name} runs {settings}, and this instance would run {own}: what a consumer does depends on which of them \
                 has its share"
            );
            Observation::new("settings", Verdict::Doubtful, told)
        }
        _ => Observation::new("settings", Verdict::Good, "they are not known to differ"),
    }
}

fn of_windows(stored: (i64, i64), living: i64, options: &PostgresOptions) -> Observation {
    let own = (millis(options.window), millis(options.window_unkeyed));
    let shown = |(keyed, unkeyed): (i64, i64)| {
        let one = |millis: i64| humantime::format_duration(Duration::from_millis(millis as u64));
        format!("{} and {}", one(keyed), one(unkeyed))
    };
    let (verdict, told) = match (stored == own, living) {
        (true, _) => (Verdict::Good, shown(own)),
        (false, 0) => (
            Verdict::Doubtful,
            format!(
                "the journal has the dedup windows {}; the start changes them to {}",
                shown(stored),
                shown(own)
            ),
        ),
        (false, _) => (
            Verdict::Unfit,
            format!(
                "the instances that run use the dedup windows {}, and this one would use {}: give all instances the \
                 same ones, or stop the others first",
                shown(stored),
                shown(own)
            ),
        ),
    };
    Observation::new("dedup windows", verdict, told)
}

const JOURNAL: &str = "SELECT format, oldest_reader, shares, dedup_window, dedup_window_unkeyed, \
    (SELECT count(*) FROM instance) FROM meta";
const INSTANCES: &str = "SELECT name, lease, settings FROM instance ORDER BY name, id";
