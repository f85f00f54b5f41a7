//! The engine `postgres`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::kinds::{
    checked, duration, duration_or_none, file_path, one_of, secret, size, some, text, whole,
    write_path,
};
use super::super::spot::{Spot, keys};
use crate::signature::Secret;

/// Settings of the engine `postgres`. All instances that share a database have the same ones, but for
/// [`instance`](Self::instance) and [`path`](Self::path).
///
/// ```
/// use offhook::settings::{JournalSettings, PostgresSettings};
/// use offhook::signature::Secret;
///
/// let url = Secret::new("postgresql://offhook:password@db.example/offhook")?;
/// let mut postgres = PostgresSettings::new(url);
/// postgres.shares = 4;
/// let journal = JournalSettings::Postgres(Box::new(postgres));
/// # Ok::<(), offhook::signature::SecretError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// The URL of the database. With several hosts, the one that takes writes is used. Required.
    pub url: Secret,
    /// How TLS is spoken with the database. Default: as the system trusts, and none on this machine alone.
    pub tls: Option<DatabaseTls>,
    /// The schema that holds the tables; it is created if there is none. Default: `offhook`.
    pub schema: String,
    /// On which disks an event is before it is answered. Default: that of the primary.
    pub durability: Durability,
    /// The number of shares of dispatch. It is fixed when the schema is made. Default: 16.
    pub shares: u16,
    /// How long an instance that has vanished keeps its shares. Default: 10 s.
    pub lease: Duration,
    /// After this time an append without an answer is answered 503. Default: 5 s.
    pub append_timeout: Duration,
    /// The name under which others see this instance; empty for the name of the host. Default: empty.
    pub instance: String,
    /// The folder of the index, which is built again if it is missing. Default: `data`.
    #[serde(serialize_with = "write_path")]
    pub path: PathBuf,
    /// How long events are retained. Default: 7 days.
    pub retention: Duration,
    /// The limit for the stored bodies in the database, in bytes: the oldest events are removed. Default: no limit.
    pub retention_size: Option<u64>,
    /// The dedup window: how long another event with the same id is a duplicate; 0 for never. Default: 7
    /// days.
    pub dedup_window: Duration,
    /// The same for events without an id, which are compared by their bytes. Default: 60 s.
    pub dedup_window_unkeyed: Duration,
}

/// `journal.tls`: how TLS is spoken with the database. Its certificate is always verified, with the name of the
/// host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DatabaseTls {
    /// A PEM file with the authorities of the database. Default: those that the system trusts.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate that is shown to the database. Needs `key` too. Default: none.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the certificate's private key. Default: none.
    pub key: Option<PathBuf>,
}

/// `journal.durability`: on which disks an event is before it is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Durability {
    /// On that of the primary. What a fail-over keeps is up to the database.
    #[default]
    Primary,
    /// On that of a synchronous standby too. Without one, events are answered 503.
    Replicated,
}

keys!(PostgresSettings {
    url: secret => "the database's URL: \"env:NAME\", \"file:PATH\", or the URL itself",
    tls: some(database_tls),
    schema: text,
    durability: one_of(&[
        ("primary", Durability::Primary),
        ("replicated", Durability::Replicated),
    ]),
    shares: whole(1..=256),
    lease: checked(
        duration,
        |lease| (SHORTEST_LEASE..=LONGEST_LEASE).contains(lease),
        "is not from 4s to 60s",
    ),
    append_timeout: checked(
        duration,
        |timeout| *timeout >= SHORTEST_APPEND_TIMEOUT,
        "is less than 2s",
    ),
    instance: checked(
        text,
        |name| name.len() <= MAX_INSTANCE && name.chars().all(|c| c.is_ascii_graphic()),
        "is no name; expected at most 48 visible ASCII characters without spaces",
    ),
    path: file_path,
    retention: duration,
    retention_size: some(size),
    dedup_window: duration_or_none,
    dedup_window_unkeyed: duration_or_none,
});

keys!(DatabaseTls {
    ca: some(file_path),
    certificate: some(file_path),
    key: some(file_path),
});

fn database_tls(spot: &Spot<'_>) -> Option<DatabaseTls> {
    spot.table(|table| table.over(DatabaseTls::default()))
}

impl PostgresSettings {
    /// Stores events in the database at `url`, with defaults for the rest.
    pub fn new(url: Secret) -> Self {
        let week = Duration::from_secs(7 * 24 * 3600);
        Self {
            url,
            tls: None,
            schema: "offhook".to_owned(),
            durability: Durability::default(),
            shares: 16,
            lease: Duration::from_secs(10),
            append_timeout: Duration::from_secs(5),
            instance: String::new(),
            path: "data".into(),
            retention: week,
            retention_size: None,
            dedup_window: week,
            dedup_window_unkeyed: Duration::from_secs(60),
        }
    }

    /// The name under which others see this instance.
    pub fn instance_name(&self) -> String {
        if !self.instance.is_empty() {
            return self.instance.clone();
        }
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let plain = host.chars().filter(char::is_ascii_graphic);
        plain.take(MAX_INSTANCE).collect()
    }

    /// The hosts of the database, with their ports, without anything that may be secret.
    #[cfg(feature = "postgres")]
    pub(crate) fn hosts(&self) -> String {
        let options = self.options();
        options.map_or_else(
            |_| "a URL that cannot be read".to_owned(),
            |one| one.hosts(),
        )
    }

    /// The hosts of the database; this build cannot read its URL.
    #[cfg(not(feature = "postgres"))]
    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) fn hosts(&self) -> String {
        "the database".to_owned()
    }

    /// What an answer of 200 means.
    pub(super) fn promise(&self) -> String {
        let (hosts, instance) = (self.hosts(), self.instance_name());
        let (disks, rest) = match self.durability {
            Durability::Primary => (
                "the disk of the primary",
                "what a fail-over keeps is your database's promise",
            ),
            Durability::Replicated => (
                "the disks of the primary and of a synchronous standby",
                "without such a standby it is answered 503",
            ),
        };
        format!(
            "postgres: an event is on {disks} of the database ({hosts}, schema {}) before it is answered 200; {rest}; this \
             instance is {instance}",
            self.schema
        )
    }

    /// The key that is wrong, and why; only what can be seen without the database.
    #[cfg(feature = "postgres")]
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        use crate::journal::PostgresError;

        if let Some(tls) = &self.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            let text = "needs both certificate and key, or neither";
            return Some(("tls", text.to_owned()));
        }
        let error = self.options().err()?;
        let key = match error {
            PostgresError::Schema(_) => "schema",
            _ => "url",
        };
        Some((key, error.to_string()))
    }

    /// This build has no such engine.
    #[cfg(not(feature = "postgres"))]
    #[allow(clippy::unused_self)] // as with the feature
    pub(crate) fn problem(&self) -> Option<(&'static str, String)> {
        let text = "the engine postgres is not part of this build: build with the feature `postgres`, \
                    or set journal.engine = \"sqlite\"";
        Some(("engine", text.to_owned()))
    }

    /// The options of the journal.
    ///
    /// # Errors
    ///
    /// When the URL or the name of the schema cannot be used.
    #[cfg(feature = "postgres")]
    pub fn options(
        &self,
    ) -> Result<crate::journal::PostgresOptions, crate::journal::PostgresError> {
        use crate::journal::{PostgresError, PostgresOptions};

        let url = std::str::from_utf8(self.url.expose());
        let url = url.map_err(|_| PostgresError::Url("it is not UTF-8".to_owned()))?;
        let mut options = PostgresOptions::new(url)?
            .schema(self.schema.clone())?
            .shares(self.shares)
            .lease(self.lease)
            .append_timeout(self.append_timeout)
            .instance(self.instance_name())
            .windows(self.dedup_window, self.dedup_window_unkeyed)
            .replicated(self.durability == Durability::Replicated);
        if let Some(tls) = &self.tls {
            options = options.require_tls();
            if let Some(ca) = &tls.ca {
                options = options.authorities(ca);
            }
            if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
                options = options.client_certificate(certificate, key);
            }
        }
        Ok(options)
    }
}

/// Without a URL, which is required.
impl Default for PostgresSettings {
    fn default() -> Self {
        Self::new(Secret::new("-").expect("it is not empty"))
    }
}

const SHORTEST_LEASE: Duration = Duration::from_secs(4);
const LONGEST_LEASE: Duration = Duration::from_secs(60);
const SHORTEST_APPEND_TIMEOUT: Duration = Duration::from_secs(2);

/// It is part of `application_name`, which has 63 bytes at most.
const MAX_INSTANCE: usize = 48;
