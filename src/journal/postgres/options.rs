//! [`PostgresOptions`]: which database, and what all instances agree on. [`PostgresError`]: why a start failed.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::hosts;
use crate::journal::Share;

/// Which database holds the journal, and what all instances that share it agree on.
///
/// ```
/// use offhook::journal::PostgresOptions;
///
/// let options = PostgresOptions::new("postgresql://offhook@127.0.0.1/offhook")?.shares(4);
/// assert!(options.schema("no spaces here").is_err());
/// # Ok::<(), offhook::journal::PostgresError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub(super) config: tokio_postgres::Config,
    pub(super) authorities: Option<PathBuf>,
    /// The certificate that is shown to the database, and its key.
    pub(super) certificate: Option<(PathBuf, PathBuf)>,
    pub(super) schema: String,
    pub(super) shares: Share,
    pub(super) lease: Duration,
    pub(super) append_timeout: Duration,
    pub(super) instance: String,
    pub(super) window: Duration,
    pub(super) window_unkeyed: Duration,
    pub(super) is_replicated: bool,
    pub(super) fingerprint: String,
    /// The format that this version writes, and the oldest one whose versions can read that.
    pub(super) formats: (i32, i32),
}

/// Why the journal in a PostgreSQL database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The URL is not one of a PostgreSQL database.
    #[error(
        "the URL of the database cannot be read: {0}; write postgresql://user:password@host:5432/database"
    )]
    Url(String),
    /// The name cannot be used for a schema.
    #[error(
        "{0:?} cannot be the name of a schema: use 1 to 48 of a-z, 0-9 and _, with a letter first"
    )]
    Schema(String),
    /// A certificate of the database's authority cannot be read, or TLS cannot be set up.
    #[error("TLS to the database cannot be set up: {0}")]
    Tls(String),
    /// No host of the URL can be reached, or none takes writes.
    #[error("the database cannot be used now: {0}")]
    Away(String),
    /// The database, or its journal, is not as it must be.
    #[error("{0}")]
    Unfit(String),
    /// Another instance uses other dedup windows.
    #[error(
        "the instance {0} uses other dedup windows; give all instances the same ones, or stop the others first \
         (one that was killed counts as running for up to twice its lease)"
    )]
    Windows(String),
    /// The operating system starts no thread.
    #[error("no thread can be started for the journal: {0}")]
    Thread(std::io::Error),
}

impl PostgresOptions {
    /// Takes the URL of a database. It may name several hosts; the one that takes writes is used. TLS is required,
    /// with a certificate for the host's name, unless every host is on this machine.
    ///
    /// # Errors
    ///
    /// If the URL cannot be read.
    pub fn new(url: &str) -> Result<Self, PostgresError> {
        // What is wrong is not shown, because it may be a part of the password.
        let unreadable = |why: &str| Err(PostgresError::Url(why.to_owned()));
        let is_url = |prefix| url.starts_with(prefix);
        if url.contains("://") && !is_url("postgresql://") && !is_url("postgres://") {
            return unreadable("it does not begin with postgresql://");
        }
        let Ok(mut config) = url.parse::<tokio_postgres::Config>() else {
            return unreadable("a part of it is not as it must be");
        };
        // The password ends before that, or has begun a host or a database.
        let is_cut = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        if config.get_hosts().iter().any(is_cut)
            || (url.contains("://") && url.matches('@').count() > 1)
        {
            return unreadable("it has more than one @; write @ in a user or password as %40");
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if hosts > 0 && addresses > 0 && hosts != addresses {
            return unreadable("it has another number of hostaddr than of hosts");
        }
        if ![0, 1, hosts.max(addresses)].contains(&config.get_ports().len()) {
            return unreadable("it has another number of ports than of hosts");
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresError::Url("it names no host".to_owned()));
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if !all_local(&config) {
            config.ssl_mode(SslMode::Require);
        } else if config.get_ssl_mode() == SslMode::Prefer {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self {
            config,
            authorities: None,
            certificate: None,
            schema: "offhook".to_owned(),
            shares: 16,
            lease: Duration::from_secs(10),
            append_timeout: Duration::from_secs(5),
            instance: "offhook".to_owned(),
            window: Duration::from_secs(7 * 24 * 3600),
            window_unkeyed: Duration::from_secs(60),
            is_replicated: false,
            fingerprint: String::new(),
            formats: (FORMAT, OLDEST_READER),
        })
    }

    /// Trusts only the authorities in this PEM file, not those of the system.
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }

    /// Shows this certificate to the database: PEM files of the certificate and of its private key.
    pub fn client_certificate(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// Speaks TLS also where every host is on this machine.
    pub fn require_tls(mut self) -> Self {
        self.config.ssl_mode(SslMode::Require);
        self
    }

    /// The hosts with their ports, separated by commas.
    pub(crate) fn hosts(&self) -> String {
        let names = hosts::each(&self.config).into_iter().map(|host| host.name);
        names.collect::<Vec<_>>().join(", ")
    }

    /// The schema that holds the tables. It is created if there is none. Default: `offhook`.
    ///
    /// # Errors
    ///
    /// If the name needs quotes in SQL, or is too long.
    pub fn schema(mut self, name: impl Into<String>) -> Result<Self, PostgresError> {
        self.schema = name.into();
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let starts_well = self.schema.starts_with(|c: char| c.is_ascii_lowercase());
        if starts_well && self.schema.len() <= MAX_NAME && self.schema.chars().all(is_plain) {
            Ok(self)
        } else {
            Err(PostgresError::Schema(self.schema))
        }
    }

    /// The number of shares of dispatch, at least one. It is fixed when the schema is made. Default: 16.
    pub fn shares(mut self, shares: Share) -> Self {
        self.shares = shares.max(1);
        self
    }

    /// How long an instance that has vanished keeps its shares. All instances should have the same; while they differ,
    /// the longer one of two counts between them. Default: 10 s.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// After this time an append without an answer is [unknown](crate::journal::Unavailable::Unknown).
    /// Default: 5 s.
    pub fn append_timeout(mut self, timeout: Duration) -> Self {
        self.append_timeout = timeout;
        self
    }

    /// The name under which others see this instance. Default: `offhook`.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = name.into();
        self
    }

    /// Stores events only while a synchronous standby is connected. Default: no.
    pub fn replicated(mut self, is_replicated: bool) -> Self {
        self.is_replicated = is_replicated;
        self
    }

    /// The settings that this instance is to run, by their fingerprint.
    /// [`Postgres::check`](crate::journal::Postgres::check) compares them with those of the instances that run. Default: none.
    pub fn fingerprint(mut self, settings: impl Into<String>) -> Self {
        self.fingerprint = settings.into();
        self
    }

    /// As if this were the version that writes this format, which no version of an older one can read.
    #[cfg(test)]
    pub(super) fn of_format(mut self, format: i32) -> Self {
        self.formats = (format, format);
        self
    }

    /// The dedup windows, of events with an id and of others. All instances must have the same. Default: 7 days
    /// and 60 s.
    pub fn windows(mut self, keyed: Duration, unkeyed: Duration) -> Self {
        (self.window, self.window_unkeyed) = (keyed, unkeyed);
        self
    }
}

/// What this version writes, once all instances have such a version. Raised when a table changes, or what is in it.
pub(super) const FORMAT: i32 = 1;

/// The oldest format whose versions can read what this version writes.
const OLDEST_READER: i32 = 1;

/// Whether each host is on this machine, so that nobody listens on the way.
fn all_local(config: &tokio_postgres::Config) -> bool {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || { name.parse::<std::net::IpAddr>() }
                .is_ok_and(|ip| ip.is_loopback())
        }
    };
    let addresses = config.get_hostaddrs();
    addresses.iter().all(std::net::IpAddr::is_loopback)
        && (!addresses.is_empty() || config.get_hosts().iter().all(is_local))
}

/// An error of the database with its cause. It never holds the password.
pub(super) fn told(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// How long a host may take until a connection can be used.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A name in PostgreSQL has 63 bytes at most, and a partition's name has more than the schema's.
const MAX_NAME: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_of_this_machine_need_no_tls() {
        let table = [
            ("postgresql://u@127.0.0.1/d", SslMode::Disable),
            ("postgresql://u@localhost:1,[::1]:2/d", SslMode::Disable),
            ("postgresql://u@%2Frun%2Fpostgresql/d", SslMode::Disable),
            (
                "postgresql://u@localhost/d?sslmode=require",
                SslMode::Require,
            ),
            ("postgresql://u@localhost,db.example/d", SslMode::Require),
            (
                "postgresql://u@db.example/d?sslmode=disable",
                SslMode::Require,
            ),
            ("host=localhost hostaddr=192.0.2.1 user=u", SslMode::Require),
        ];
        for (url, expected) in table {
            let options = PostgresOptions::new(url).unwrap();
            assert_eq!(options.config.get_ssl_mode(), expected, "{url}");
        }
        for url in [
            "",
            "mysql://u:s3cret@localhost/d",
            "user=u dbname=d",
            "postgresql://u:p@s3cret@localhost/d",
            "postgresql://u:p@s3/s3cret@localhost/d",
            "host=localhost user=u password='s3cret",
            "host=localhost,127.0.0.1,localhost port=1,2 user=u password=s3cret",
            "host=localhost hostaddr=127.0.0.1,127.0.0.1 user=u password=s3cret",
            "postgresql://u:p@localhost:s3cret/d",
            "postgresql://u:p@localhost/d?s3cret=1",
        ] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert!(matches!(error, PostgresError::Url(_)), "{url}: {error}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_schema_has_a_plain_name() {
        let options = || PostgresOptions::new("postgresql://u@localhost/d").unwrap();
        for name in ["a", "offhook_2", &"a".repeat(48)] {
            assert!(options().schema(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "Offhook",
            "2a",
            "_a",
            "a-b",
            "a\"b",
            "ä",
            &"a".repeat(49),
        ] {
            assert!(options().schema(name).is_err(), "{name}");
        }
    }
}
