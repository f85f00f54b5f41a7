//! [`Link`]: one connection for one purpose, made again after a failure. [`Connector`]: how connections are made.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::poll_fn;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::options::{PostgresError, PostgresOptions, told};
use crate::clock::Clock;
use crate::journal::Unavailable;

/// Makes connections to the host that takes writes.
pub(super) struct Connector {
    config: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    schema: String,
    settings: String,
    /// Connections live here, whichever runtime asks for them.
    runtime: Handle,
    clock: Arc<dyn Clock>,
}

/// An open connection. Every use of it is one statement, so several callers may use it at the same time.
pub(super) struct Session {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// Whether the server has sent a warning, for example that it did not wait for its standby.
    warned: Arc<AtomicBool>,
    /// Given up by this side: nothing more may be sent.
    is_ended: AtomicBool,
    /// Reads from the socket, and closes it when it is dropped.
    driver: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// What is done with a notification.
pub(super) type Listener = Arc<dyn Fn(&str) + Send + Sync>;

/// One connection for one purpose, made again when it is needed.
pub(super) struct Link {
    connector: Arc<Connector>,
    role: Role,
    check: Check,
    state: tokio::sync::Mutex<LinkState>,
}

/// Whether a new connection may be used.
pub(super) type Check = Arc<
    dyn Fn(Arc<Session>) -> futures_util::future::BoxFuture<'static, Result<(), Unavailable>>
        + Send
        + Sync,
>;

/// What a connection is for.
#[derive(Clone)]
pub(super) enum Role {
    /// What it commits is durable.
    Durable,
    /// It listens for notifications, and sends them without waiting for the disk.
    Listener(Listener),
}

#[derive(Default)]
struct LinkState {
    session: Option<Arc<Session>>,
    failures: u32,
    /// The next try is not before this.
    retry_at: Option<Instant>,
    why: String,
}

impl Connector {
    pub(super) fn new(
        options: &PostgresOptions,
        runtime: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PostgresError> {
        let mut config = options.config.clone();
        config.application_name(format!("offhook {}", options.instance));
        config
            .keepalives_idle(PING)
            .keepalives_interval(PING)
            .keepalives_retries(2);
        config.tcp_user_timeout(2 * PING);
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(tls(options)?)),
        };
        let lock_timeout = options.append_timeout.as_millis() * 4 / 5;
        let schema = &options.schema;
        // Sequential scans: a plan is made while a table is empty, and kept.
        let settings = format!(
            "SET search_path TO \"{schema}\", pg_temp; SET lock_timeout TO {lock_timeout}; \
             SET default_transaction_isolation TO 'read committed'; SET statement_timeout TO 0; \
             SET client_min_messages TO warning; SET jit TO off; SET enable_seqscan TO off; \
             SET enable_hashjoin TO off; SET enable_mergejoin TO off; SET timezone TO 'UTC'; \
             SET standard_conforming_strings TO on"
        );
        Ok(Self {
            config,
            tls,
            schema: schema.clone(),
            settings,
            runtime,
            clock,
        })
    }

    /// Makes a connection. Returns why it cannot be made.
    pub(super) async fn connect(self: &Arc<Self>, role: &Role) -> Result<Arc<Session>, String> {
        let (connector, role) = (Arc::clone(self), role.clone());
        // On the runtime where the connection lives.
        let connected = self
            .runtime
            .spawn(async move { connector.connect_here(&role).await });
        let connected = timeout(HANDSHAKE_TIMEOUT, AbortOnDropHandle::new(connected)).await;
        let connected = connected.map_err(|_| "no answer in time".to_owned())?;
        connected.map_err(|error| error.to_string())?
    }

    async fn connect_here(&self, role: &Role) -> Result<Arc<Session>, String> {
        let warned = Arc::new(AtomicBool::new(false));
        let listener = match role {
            Role::Durable => None,
            Role::Listener(listener) => Some(Arc::clone(listener)),
        };
        let (client, driver) = match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    { self.config.connect(tls.clone()).await }.map_err(|error| told(&error))?;
                (
                    client,
                    tokio::spawn(drive(connection, Arc::clone(&warned), listener)),
                )
            }
            None => {
                let (client, connection) = self
                    .config
                    .connect(NoTls)
                    .await
                    .map_err(|error| told(&error))?;
                (
                    client,
                    tokio::spawn(drive(connection, Arc::clone(&warned), listener)),
                )
            }
        };
        let session = Session {
            client,
            statements: Mutex::default(),
            warned,
            is_ended: AtomicBool::new(false),
            driver: Mutex::new(Some(AbortOnDropHandle::new(driver))),
        };
        let more = match role {
            Role::Durable => String::new(),
            Role::Listener(_) => format!("; SET synchronous_commit TO off; LISTEN {}", self.schema),
        };
        session.run(&format!("{}{more}", self.settings)).await?;
        Ok(Arc::new(session))
    }
}

impl Session {
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
            Ok(Ok(_)) if self.was_warned() => {
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
        self.is_ended.load(Ordering::SeqCst) || self.client.is_closed()
    }

    /// Whether a warning came since the last call.
    pub(super) fn was_warned(&self) -> bool {
        self.warned.swap(false, Ordering::SeqCst)
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

impl Link {
    pub(super) fn new(connector: &Arc<Connector>, role: Role, check: Check) -> Self {
        Self {
            connector: Arc::clone(connector),
            role,
            check,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// Returns the open connection, or makes one. After a failure the next try is made when a pause has passed.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Unavailable> {
        let mut state = self.state.lock().await;
        if let Some(session) = state
            .session
            .as_ref()
            .filter(|session| !session.is_closed())
        {
            return Ok(Arc::clone(session));
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

    /// Waits for the open connection, however long that takes.
    pub(super) async fn session_at_last(&self) -> Arc<Session> {
        loop {
            match self.session().await {
                Ok(session) => return session,
                Err(_) => self.connector.clock.sleep(SHORTEST_PAUSE / 2).await,
            }
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

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// What a failed statement means: an error that the server reports has stored nothing, and one after which the
/// connection is gone may have stored all.
fn failure(error: &tokio_postgres::Error) -> Unavailable {
    let why = told(error);
    match error.as_db_error() {
        Some(cause) if cause.severity() == "ERROR" => match cause.code().code() {
            // Class 53: the server has no room.
            code if code.starts_with("53") => Unavailable::Full(why),
            _ => Unavailable::Away(why),
        },
        _ => Unavailable::Unknown(why),
    }
}

/// Reads from the connection until it ends.
async fn drive<S, T>(
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
            AsyncMessage::Notice(notice) if notice.severity() == "WARNING" => {
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

fn tls(options: &PostgresOptions) -> Result<rustls::ClientConfig, PostgresError> {
    use rustls_platform_verifier::ConfigVerifierExt as _;

    let failed = |error: &dyn std::fmt::Display| PostgresError::Tls(error.to_string());
    // It fails where another part of the process has installed a provider, and that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Some(file) = &options.authorities else {
        return rustls::ClientConfig::with_platform_verifier().map_err(|error| failed(&error));
    };
    let unreadable =
        |error: &dyn std::fmt::Display| failed(&format!("{}: {error}", file.display()));
    let mut roots = rustls::RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    Ok(config.with_no_client_auth())
}

const WARNED: &str = "the database warned about this transaction, see the log";

/// What the longest statement may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What a host may take until a connection can be used.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a silent connection is tested by the system.
const PING: Duration = Duration::from_secs(5);

/// Pauses between tries to connect.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
