//! The journal as the source and as the target of a move to or from another engine, see `journal/moving`.

mod source;
mod target;

use std::sync::Arc;
use std::time::Duration;

pub(in crate::journal) use source::PostgresSource;
pub(in crate::journal) use target::PostgresTarget;
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::{Connector, Role};
use super::options::PostgresOptions;
use super::session::Session;
use crate::clock::Clock;
use crate::journal::Unavailable;
use crate::journal::moving::{MoveError, failed};

/// The one connection of a move. Everything in it may take long.
struct Moving(Arc<Session>);

impl Moving {
    async fn connect(
        options: &PostgresOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<(Arc<Connector>, Self), MoveError> {
        let refused =
            |why: String| MoveError::Refused(format!("the database cannot be used: {why}"));
        let connector = Connector::new(options, Handle::current(), Arc::clone(clock));
        let connector = Arc::new(connector.map_err(|error| refused(error.to_string()))?);
        let session = connector.connect(&Role::Durable).await.map_err(refused)?;
        // The connection stands still while the other journal is read, and all rows are read.
        let settings = "SET idle_in_transaction_session_timeout TO 0; SET enable_seqscan TO on; \
            SET enable_hashjoin TO on; SET enable_mergejoin TO on";
        session.run(settings).await.map_err(refused)?;
        Ok((connector, Self(session)))
    }

    async fn call(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, MoveError> {
        self.0.call_within(LONGEST, sql, values).await.map_err(told)
    }

    async fn run(&self, sql: &str) -> Result<(), MoveError> {
        self.0.run(sql).await.map_err(failed)
    }
}

fn told(error: Unavailable) -> MoveError {
    match error {
        // Whether it was stored is looked up by the next call.
        Unavailable::Unknown(why) => failed(why),
        error => failed(error),
    }
}

/// What one statement may take: sorting all dedup keys, for example.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
