//! [`Postgres::verify`]: reads all of a journal, and says what in it is not what was written.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::connect::{Connector, Role};
use super::facts::Verdict;
use super::journal::Postgres;
use super::options::{FORMAT, PostgresError, PostgresOptions};
use super::reading::{MOST_BODIES, blocks_over};
use super::schema::{is_there, of_format};
use super::session::Session;
use super::sql::number;
use crate::EventId;
use crate::clock::Clock;
use crate::journal::{Finding, Missing, Seq, Unavailable, Verified};

impl Postgres {
    /// Reads every body of a journal, also while instances use it, and compares it with its checksum; and looks
    /// whether numbers are missing. Changes nothing. What is beside the log, such as progress, has no checksums
    /// but those of the server (`data_checksums`).
    ///
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use offhook::clock::SystemClock;
    /// use offhook::journal::{Postgres, PostgresOptions};
    ///
    /// # async fn verify() -> Result<(), offhook::journal::PostgresError> {
    /// let options = PostgresOptions::new("postgresql://offhook@127.0.0.1/offhook")?;
    /// for finding in Postgres::verify(&options, Arc::new(SystemClock)).await?.damaged {
    ///     println!("{}", finding.text);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the database cannot be read, or holds no journal of this version. Damage is no error.
    pub async fn verify(
        options: &PostgresOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Verified, PostgresError> {
        let connector = Arc::new(Connector::new(options, Handle::current(), clock)?);
        let session = connector
            .connect(&Role::Durable)
            .await
            .map_err(PostgresError::Away)?;
        let found = read_all(&session, &options.schema).await;
        session.end();
        found
    }
}

async fn read_all(session: &Session, schema: &str) -> Result<Verified, PostgresError> {
    if !is_there(session, schema).await? {
        let why = format!("the schema {schema} holds no journal");
        return Err(PostgresError::Unfit(why));
    }
    let rows = session.read(META, &[]).await.map_err(away)?;
    let row = rows
        .first()
        .ok_or_else(|| PostgresError::Unfit("the table meta is empty".to_owned()))?;
    let format = of_format(row.get(0), row.get(1), FORMAT);
    if format.verdict == Verdict::Unfit {
        return Err(PostgresError::Unfit(format.told));
    }
    let mut found = Verified {
        bytes: number(row, 3),
        ..Verified::default()
    };
    let mut gaps: Vec<(Seq, Seq)> = Vec::new();
    found.newest = number(row, 2) - 1;
    loop {
        let read = blocks_over(session, found.newest, MOST_BODIES, 1).await;
        let blocks = read.map_err(away)?;
        if blocks.is_empty() {
            break;
        }
        for block in blocks {
            for record in block.records {
                if record.seq > found.newest + 1 {
                    gaps.push((found.newest + 1, record.seq - 1));
                }
                found.newest = record.seq;
                match record.missing {
                    None => found.events += 1,
                    Some(Missing::Deleted(_)) => {}
                    Some(Missing::Damaged) => {
                        let id = record.received.id;
                        let id = (!id.is_nil()).then(|| EventId::new(id, 1));
                        add(
                            &mut found,
                            (record.seq, record.seq),
                            id,
                            "is not what was written",
                        );
                    }
                }
            }
            found.newest = found.newest.max(block.witness.last);
        }
    }
    // Retention may have removed them meanwhile.
    let rows = session.read(META, &[]).await.map_err(away)?;
    let oldest = rows.first().map_or(0, |row| number(row, 2));
    for (first, last) in gaps.into_iter().filter(|(_, last)| *last >= oldest) {
        add(&mut found, (first.max(oldest), last), None, "missing");
    }
    Ok(found)
}

fn add(found: &mut Verified, events: (Seq, Seq), id: Option<EventId>, what: &str) {
    if found.damaged.len() >= MOST {
        found.unlisted += 1;
        return;
    }
    let numbers = match events {
        (first, last) if first == last => format!("event {first}"),
        (first, last) => format!("events {first} to {last}"),
    };
    let named = id.map_or(String::new(), |id| format!(" ({id})"));
    found.damaged.push(Finding {
        events: Some(events),
        id,
        text: format!("{numbers}{named}: {what}"),
    });
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn away(why: Unavailable) -> PostgresError {
    PostgresError::Away(why.to_string())
}

const META: &str =
    "SELECT format, oldest_reader, first_seq, pg_total_relation_size('block') FROM meta";

/// So many findings are listed.
const MOST: usize = 10_000;
