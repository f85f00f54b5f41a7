//! Creates the schema, adds to one of an older version, and checks that the database is fit for a journal.

use std::sync::Arc;

use uuid::Uuid;

use super::check;
use super::connect::{Connector, Role};
use super::facts::{Observation, Verdict};
use super::options::{PostgresError, PostgresOptions};
use super::session::Session;
use crate::journal::Share;

/// What an instance must know of the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Which log it is. A copy of the database has the same one.
    pub(super) log_id: Uuid,
    pub(super) shares: Share,
    /// The newest format that this version reads.
    pub(super) reads: i32,
}

/// Checks the database, and creates the schema. Several instances may do so at the same time. `now` is the time to use;
/// `None` for the database's.
pub(super) async fn prepare(
    connector: &Arc<Connector>,
    options: &PostgresOptions,
    now: Option<i64>,
) -> Result<Known, PostgresError> {
    let session = connector
        .connect(&Role::Durable)
        .await
        .map_err(PostgresError::Away)?;
    check_server(connector, &session, options).await?;
    create(&session, options, now).await?;
    let known = known(&session, options).await;
    session.end();
    known
}

/// Refuses a database in which an acknowledged body could be lost, or instances would not hear of each other.
async fn check_server(
    connector: &Arc<Connector>,
    session: &Session,
    options: &PostgresOptions,
) -> Result<(), PostgresError> {
    let mut observations = check::server(session, options, connector.clock.as_ref()).await;
    observations.push(check::hears(connector, session, options).await);
    for observation in observations {
        match observation.verdict {
            Verdict::Good => {}
            Verdict::Doubtful => log::warn!("journal: {}", observation.told),
            Verdict::Unfit => return Err(PostgresError::Unfit(observation.told)),
        }
    }
    Ok(())
}

/// Creates the schema if it is not there. Afterwards it is whole: everything happens in one transaction.
async fn create(
    session: &Session,
    options: &PostgresOptions,
    now: Option<i64>,
) -> Result<(), PostgresError> {
    let (schema, shares) = (&options.schema, options.shares);
    let (window, unkeyed) = (millis(options.window), millis(options.window_unkeyed));
    let span = claim_span(window.max(unkeyed));
    let log_id = Uuid::now_v7();
    let (format, oldest) = options.formats;
    // A second instance waits here, and finds the tables. The lock does not need the schema.
    let begin = format!(
        "BEGIN; SET LOCAL lock_timeout TO 0; SELECT pg_advisory_xact_lock(hashtext('{schema}'), 2)"
    );
    run(session, &begin).await?;
    let created = async {
        if is_there(session, schema).await? {
            return add_functions(session, options).await;
        }
        // Not IF NOT EXISTS, which asks for the right to create one also where it exists.
        let found = session.read(HAS_SCHEMA, &[&schema]).await;
        if !found.map_err(|error| unfit(&error.to_string()))?[0].get::<_, bool>(0) {
            run(session, &format!("CREATE SCHEMA \"{schema}\"")).await?;
        }
        run(session, TABLES).await?;
        run(session, FUNCTIONS).await?;
        let now = now.map_or_else(|| "NULL".to_owned(), |now| now.to_string());
        let rows = format!(
            "INSERT INTO meta (format, oldest_reader, log_id, shares, dedup_window, dedup_window_unkeyed, claim_span) \
             VALUES ({format}, {oldest}, '{log_id}', {shares}, {window}, {unkeyed}, {span}); \
             INSERT INTO share (no) SELECT generate_series(0, {shares}); SELECT make_claims_1({now})"
        );
        run(session, &rows).await
    };
    let created: Result<(), PostgresError> = created.await;
    let end = if created.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    run(session, end).await.and(created)
}

/// Makes the functions that the version has not made that created the schema. None is replaced: instances of that version
/// go on with theirs.
async fn add_functions(session: &Session, options: &PostgresOptions) -> Result<(), PostgresError> {
    let read = session.read(FOUND, &[&options.formats.0]).await;
    let found = read.map_err(|error| unfit(&error.to_string()))?;
    let Some(found) = found.first().map(|row| row.get::<_, Vec<String>>(0)) else {
        // It belongs to a newer version, which is found out next.
        return Ok(());
    };
    for rest in FUNCTIONS.split(CREATE_FUNCTION).skip(1) {
        let name = rest.split('(').next().unwrap_or_default();
        if !found.iter().any(|one| one == name) {
            run(session, &format!("{CREATE_FUNCTION}{rest}")).await?;
        }
    }
    Ok(())
}

pub(super) async fn is_there(session: &Session, schema: &str) -> Result<bool, PostgresError> {
    let sql = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'meta')";
    let rows = session.read(sql, &[&schema]).await;
    Ok(rows.map_err(|error| unfit(&error.to_string()))?[0].get(0))
}

/// Reads what the schema was made with.
async fn known(session: &Session, options: &PostgresOptions) -> Result<Known, PostgresError> {
    let sql = "SELECT format, oldest_reader, log_id, shares FROM meta";
    let rows = session
        .read(sql, &[])
        .await
        .map_err(|error| unfit(&error.to_string()))?;
    let row = rows
        .first()
        .ok_or_else(|| unfit("the table meta is empty"))?;
    let (format, oldest, shares): (i32, i32, i32) = (row.get(0), row.get(1), row.get(3));
    for observation in [
        of_format(format, oldest, options.formats.0),
        of_shares(shares, options),
    ] {
        if observation.verdict == Verdict::Unfit {
            return Err(PostgresError::Unfit(observation.told));
        }
    }
    Ok(Known {
        log_id: row.get(2),
        shares: options.shares,
        reads: options.formats.0,
    })
}

/// `own` is the newest format that this instance reads.
pub(super) fn of_format(format: i32, oldest: i32, own: i32) -> Observation {
    if oldest > own {
        let told = format!(
            "a newer version of offhook has written the journal (format {format}); this one reads up to format {own}: \
             install the newer version"
        );
        return Observation::new("journal", Verdict::Unfit, told);
    }
    Observation::new("journal", Verdict::Good, format!("format {format}"))
}

pub(super) fn of_shares(shares: i32, options: &PostgresOptions) -> Observation {
    if shares != i32::from(options.shares) {
        let told = format!(
            "the journal was made with {shares} shares, and this instance wants {}; the number cannot be changed: \
             set it to {shares}",
            options.shares
        );
        return Observation::new("shares", Verdict::Unfit, told);
    }
    Observation::new("shares", Verdict::Good, format!("{shares}"))
}

async fn run(session: &Session, sql: &str) -> Result<(), PostgresError> {
    session.run(sql).await.map_err(|error| unfit(&error))
}

fn unfit(error: &str) -> PostgresError {
    PostgresError::Unfit(format!(
        "the journal's tables cannot be created or read: {error}; the user needs the right to create a schema, or \
         a schema of that name that it owns"
    ))
}

/// A duration in milliseconds, as the database has it.
pub(super) fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A bucket of dedup keys is half of the longest window, and at least a minute. Shorter ones would be dropped sooner, but each
/// append looks for its keys in all of them.
pub(super) fn claim_span(window: i64) -> i64 {
    (window / 2).max(60_000)
}

const HAS_SCHEMA: &str = "SELECT to_regnamespace($1) IS NOT NULL";
/// The functions of the schema, unless a newer version has changed it.
const FOUND: &str = "SELECT ARRAY(SELECT proname::text FROM pg_proc \
    WHERE pronamespace = to_regnamespace(current_schema()::text)) FROM meta WHERE oldest_reader <= $1";
const CREATE_FUNCTION: &str = "CREATE FUNCTION ";
const TABLES: &str = include_str!("schema.sql");
const FUNCTIONS: &str = include_str!("functions.sql");
