//! [`Link`]: one connection for one purpose, made again after a failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connect::{Connector, Role};
use super::session::Session;
use crate::journal::Unavailable;

/// One connection for one purpose, made again when it is needed.
pub(super) struct Link(Arc<Inner>);

struct Inner {
    connector: Arc<Connector>,
    role: Role,
    check: Check,
    state: tokio::sync::Mutex<LinkState>,
}

/// Whether a new connection may be used.
pub(super) type Check =
    Arc<dyn Fn(Arc<Session>) -> BoxFuture<'static, Result<(), Unavailable>> + Send + Sync>;

#[derive(Default)]
struct LinkState {
    session: Option<Arc<Session>>,
    failures: u32,
    /// The next try is not before this.
    retry_at: Option<Instant>,
    why: String,
}

impl Link {
    pub(super) fn new(connector: &Arc<Connector>, role: Role, check: Check) -> Self {
        Self(Arc::new(Inner {
            connector: Arc::clone(connector),
            role,
            check,
            state: tokio::sync::Mutex::default(),
        }))
    }

    /// Returns the open connection, or makes one. After a failure the next try is made when a pause has passed.
    ///
    /// A caller that waits no longer does not break off the connection that is being made: the next one finds it.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Unavailable> {
        let open = self.0.state.try_lock().ok().and_then(|state| state.open());
        if let Some(session) = open {
            return Ok(session);
        }
        let inner = Arc::clone(&self.0);
        let made = self
            .0
            .connector
            .runtime
            .spawn(async move { inner.session().await });
        // It fails only when the journal's thread ends.
        made.await.unwrap_or(Err(Unavailable::Ended))
    }

    /// Waits for the open connection, however long that takes.
    pub(super) async fn session_at_last(&self) -> Arc<Session> {
        loop {
            match self.session().await {
                Ok(session) => return session,
                Err(_) => self.0.connector.clock.sleep(SHORTEST_PAUSE / 2).await,
            }
        }
    }

    /// Closes the connection. The next use makes another one.
    pub(super) async fn end(&self) {
        if let Some(session) = self.0.state.lock().await.session.take() {
            session.end();
        }
    }

    /// Runs one statement that only reads.
    pub(super) async fn read(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        self.session().await?.read(sql, values).await
    }

    /// Runs one statement that may write. Without an answer its outcome is unknown.
    pub(super) async fn call(
        &self,
        sql: &'static str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Unavailable> {
        self.session().await?.call(sql, values).await
    }
}

impl Inner {
    async fn session(&self) -> Result<Arc<Session>, Unavailable> {
        let mut state = self.state.lock().await;
        if let Some(session) = state.open() {
            return Ok(session);
        }
        state.session = None;
        let clock = &self.connector.clock;
        if state
            .retry_at
            .is_some_and(|retry_at| clock.monotonic() < retry_at)
        {
            return Err(Unavailable::Away(state.why.clone()));
        }
        let connected = match self.connector.connect(&self.role).await {
            Ok(session) => (self.check)(Arc::clone(&session)).await.map(|()| session),
            Err(why) => Err(Unavailable::Away(format!(
                "the database cannot be reached: {why}"
            ))),
        };
        match connected {
            Ok(session) => {
                *state = LinkState {
                    session: Some(Arc::clone(&session)),
                    ..LinkState::default()
                };
                Ok(session)
            }
            Err(why) => {
                let longest = (SHORTEST_PAUSE * 2u32.pow(state.failures.min(5))).min(LONGEST_PAUSE);
                let pause = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
                state.failures = state.failures.saturating_add(1);
                state.retry_at = Some(clock.monotonic() + pause);
                state.why = why.to_string();
                Err(why)
            }
        }
    }
}

impl LinkState {
    fn open(&self) -> Option<Arc<Session>> {
        let session = self.session.as_ref();
        session.filter(|session| !session.is_closed()).cloned()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// Pauses between tries to connect.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
