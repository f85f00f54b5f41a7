//! [`Connector`]: how connections are made.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::NoTls;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::hosts::{Host, each};
use super::options::{CONNECT_TIMEOUT, PostgresError, PostgresOptions, told};
use super::session::{Listener, Session, drive};
use crate::clock::Clock;

/// Makes connections to the host that takes writes.
pub(super) struct Connector {
    /// At least one.
    hosts: Vec<Host>,
    /// The one that took writes last.
    last: AtomicUsize,
    tls: Option<MakeRustlsConnect>,
    schema: String,
    settings: String,
    /// Connections live here, whichever runtime asks for them.
    pub(super) runtime: Handle,
    pub(super) clock: Arc<dyn Clock>,
}

/// What a connection is for.
#[derive(Clone)]
pub(super) enum Role {
    /// What it commits is durable.
    Durable,
    /// It listens for notifications, and sends them without waiting for the disk.
    Listener(Listener),
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
        // Sequential scans: a plan is made while a table is empty, and kept. Generic plans: otherwise the probe of the dedup
        // keys is planned anew for each small append, which takes longer than the append.
        let settings = format!(
            "SET search_path TO \"{schema}\", pg_temp; SET lock_timeout TO {lock_timeout}; \
             SET default_transaction_isolation TO 'read committed'; SET statement_timeout TO 0; \
             SET client_min_messages TO warning; SET jit TO off; SET enable_seqscan TO off; SET enable_bitmapscan TO on; \
             SET enable_hashjoin TO off; SET enable_mergejoin TO off; \
             SET plan_cache_mode TO force_generic_plan; SET timezone TO 'UTC'; \
             SET standard_conforming_strings TO on"
        );
        Ok(Self {
            hosts: each(&config),
            last: AtomicUsize::new(0),
            tls,
            schema: schema.clone(),
            settings,
            runtime,
            clock,
        })
    }

    /// Makes a connection to the host that takes writes. Returns why it cannot be made.
    ///
    /// The hosts are tried in turn, beginning with the one that took writes last, and each has its own time: an old
    /// primary that does not answer does not hold up the new one.
    pub(super) async fn connect(self: &Arc<Self>, role: &Role) -> Result<Arc<Session>, String> {
        let (count, last) = (self.hosts.len(), self.last.load(Ordering::Relaxed));
        let mut whys = Vec::new();
        for index in (0..count).map(|further| (last + further) % count) {
            match self.connect_to(index, role).await {
                Ok(session) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(session);
                }
                Err(why) if count == 1 => return Err(why),
                Err(why) => whys.push(format!("{}: {why}", self.hosts[index].name)),
            }
        }
        Err(whys.join("; "))
    }

    async fn connect_to(
        self: &Arc<Self>,
        index: usize,
        role: &Role,
    ) -> Result<Arc<Session>, String> {
        let (connector, role) = (Arc::clone(self), role.clone());
        let longest = { self.hosts[index].config.get_connect_timeout().copied() };
        // On the runtime where the connection lives.
        let connected = self.runtime.spawn(async move {
            let config = &connector.hosts[index].config;
            connector.connect_here(config, &role).await
        });
        let connected = timeout(
            longest.unwrap_or(CONNECT_TIMEOUT),
            AbortOnDropHandle::new(connected),
        );
        let connected = connected.await;
        let connected = connected.map_err(|_| "no answer in time".to_owned())?;
        connected.map_err(|error| error.to_string())?
    }

    async fn connect_here(
        &self,
        config: &tokio_postgres::Config,
        role: &Role,
    ) -> Result<Arc<Session>, String> {
        let warned = Arc::new(AtomicBool::new(false));
        let listener = match role {
            Role::Durable => None,
            Role::Listener(listener) => Some(Arc::clone(listener)),
        };
        let (client, driver) = match &self.tls {
            Some(tls) => {
                let (client, connection) =
                    { config.connect(tls.clone()).await }.map_err(|error| told(&error))?;
                (
                    client,
                    tokio::spawn(drive(connection, Arc::clone(&warned), listener)),
                )
            }
            None => {
                let (client, connection) =
                    { config.connect(NoTls).await }.map_err(|error| told(&error))?;
                (
                    client,
                    tokio::spawn(drive(connection, Arc::clone(&warned), listener)),
                )
            }
        };
        let session = Session::new(client, warned, driver);
        let more = match role {
            Role::Durable => String::new(),
            Role::Listener(_) => format!(
                "; SET synchronous_commit TO off; LISTEN \"{}\"",
                self.schema
            ),
        };
        session.run(&format!("{}{more}", self.settings)).await?;
        Ok(Arc::new(session))
    }
}

impl PostgresOptions {
    /// Reads the certificates and the key that these options name.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read, or is not what it must be.
    pub fn check_tls(&self) -> Result<(), PostgresError> {
        tls(self).map(drop)
    }
}

fn tls(options: &PostgresOptions) -> Result<rustls::ClientConfig, PostgresError> {
    let failed = |error: &dyn std::fmt::Display| PostgresError::Tls(error.to_string());
    // It fails where another part of the process has installed a provider, and that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = rustls::ClientConfig::builder();
    let builder = match &options.authorities {
        None => {
            let verifier =
                rustls_platform_verifier::Verifier::new(Arc::clone(builder.crypto_provider()));
            let verifier = verifier.map_err(|error| failed(&error))?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Some(file) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| unreadable(file, &error))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let Some((certificate, key)) = &options.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let shown = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
    builder
        .with_client_auth_cert(shown, private)
        .map_err(|error| unreadable(certificate, &error))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresError> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(file, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| unreadable(file, &error))?;
    match found.is_empty() {
        true => Err(unreadable(file, &"it holds no certificate in PEM")),
        false => Ok(found),
    }
}

fn unreadable(file: &Path, error: &dyn std::fmt::Display) -> PostgresError {
    PostgresError::Tls(format!("{}: {error}", file.display()))
}

/// How often a silent connection is tested by the system.
const PING: Duration = Duration::from_secs(5);
