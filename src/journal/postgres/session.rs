//! [`Session`]: an open connection, and what a failed statement on it means.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, Row, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::options::told;
use crate::journal::Unavailable;

/// An open connection. Every use of it is one statement, so several callers may use it at the same time.
pub(super) struct Session {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// Whether the server has sent a warning, for example that it did not wait for its standby. Then nothing more is sent,
    /// and what is under way is in doubt: of several statements it is not said which one is meant.
    warned: Arc<AtomicBool>,
    /// Given up by this side: nothing more may be sent.
    is_ended: AtomicBool,
    /// Reads from the socket, and closes it when it is dropped.
    driver: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What is done with a notification.
pub(super) type Listener = Arc<dyn Fn(&str) + Send + Sync>;

impl Session {
    pub(super) fn new(client: Client, warned: Arc<AtomicBool>, driver: JoinHandle<()>) -> Self {
        Self {
            client,
            statements: Mutex::default(),
            warned,
            is_ended: AtomicBool::new(false),
            driver: Mutex::new(Some(AbortOnDropHandle::new(driver))),
        }
    }

    /// Runs one statement. It is prepared once for each connection.
    async fn query(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let known = self.statements().get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(sql).await?;
                self.statements().insert(sql, statement.clone());
                statement
            }
        };
        self.client.query(&statement, values).await
    }

    /// Runs one statement that may write, and waits at most `longest` for its answer. Without an answer its outcome
    /// is unknown, and the connection is not used any more.
    pub(super) async fn call_within(
        &self,
        longest: Duration,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        if self.is_closed() {
            return Err(Unavailable::Away(
                "the connection to the database has ended".to_owned(),
            ));
        }
        match timeout(longest, self.query(sql, values)).await {
            Ok(Ok(_)) if self.is_warned() => {
                self.end();
                Err(Unavailable::Unknown(WARNED.to_owned()))
            }
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => {
                self.end();
                Err(Unavailable::Unknown(
                    "the database did not answer in time".to_owned(),
                ))
            }
        }
    }

    /// Runs one statement that may write.
    pub(super) async fn call(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        self.call_within(CALL_TIMEOUT, sql, values).await
    }

    /// Runs one statement that only reads.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        self.call(sql, values)
            .await
            .map_err(|failure| match failure {
                // Nothing was written, so nothing is in doubt.
                Unavailable::Unknown(why) => Unavailable::Away(why),
                other => other,
            })
    }

    /// Runs several statements without values.
    pub(super) async fn run(&self, sql: &str) -> Result<(), String> {
        let run = timeout(CALL_TIMEOUT, self.client.batch_execute(sql)).await;
        let run = run.map_err(|_| "the database did not answer in time".to_owned())?;
        run.map_err(|error| told(&error))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_ended.load(Ordering::SeqCst) || self.is_warned() || self.client.is_closed()
    }

    fn is_warned(&self) -> bool {
        self.warned.load(Ordering::SeqCst)
    }

    /// Closes the socket. A statement that runs is not cancelled: cancelled while it waits for a standby, it would
    /// be answered as if the standby had it.
    pub(super) fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
        self.driver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed statement means: an error that the server reports has stored nothing, and one after which the
/// connection is gone may have stored all. (`severity` would be a word of the server's language.)
fn failure(error: &tokio_postgres::Error) -> Unavailable {
    let why = told(error);
    match error.as_db_error() {
        Some(cause) if cause.parsed_severity() == Some(Severity::Error) => {
            match cause.code().code() {
                // Class 53: the server has no room.
                code if code.starts_with("53") => Unavailable::Full(why),
                _ => Unavailable::Away(why),
            }
        }
        _ => Unavailable::Unknown(why),
    }
}

/// Reads from the connection until it ends.
pub(super) async fn drive<S, T>(
    mut connection: Connection<S, T>,
    warned: Arc<AtomicBool>,
    listener: Option<Listener>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let messages = poll_fn(|cx| connection.poll_message(cx));
    let mut messages = std::pin::pin!(messages);
    while let Some(Ok(message)) = messages.next().await {
        match message {
            // It comes before the answer that it belongs to.
            AsyncMessage::Notice(notice) if notice.parsed_severity() == Some(Severity::Warning) => {
                log::warn!("journal: the database warns: {}", notice.message());
                warned.store(true, Ordering::SeqCst);
            }
            AsyncMessage::Notification(told) => {
                if let Some(listener) = &listener {
                    listener(told.payload());
                }
            }
            _ => {}
        }
    }
    if let Some(listener) = &listener {
        // What is told meanwhile is missed, so that it must be asked for.
        listener("");
    }
}

const WARNED: &str = "the database warned about this transaction, see the log";

/// What the longest statement may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
