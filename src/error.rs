//! [`Error`]: why a server did not start, or stopped.

use std::fmt;
use std::net::SocketAddr;

/// Why a server did not start, or stopped.
///
/// `Debug` reads like `Display`, so that a `main` that returns it tells its user what to do.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings have problems; every one is listed.
    #[error("{0}")]
    Settings(#[from] Problems),
    /// An address cannot be listened on.
    #[error("{key} {address}: {error}{hint}")]
    Bind {
        /// The key that holds the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
        /// What to do about it.
        hint: &'static str,
    },
    /// A ready-made handler cannot start.
    #[error("handler {name}: {error}")]
    Handler {
        /// The handler's name.
        name: String,
        /// Why.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing can be relayed to subscribers as it is set.
    #[error("relay: {0}")]
    Relay(Box<dyn std::error::Error + Send + Sync>),
    /// The journal cannot be opened.
    #[error("journal.path: {0}")]
    Journal(Box<dyn std::error::Error + Send + Sync>),
    /// The system refused something the server needs.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
}

impl Error {
    pub(crate) fn journal(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Journal(error.into())
    }

    pub(crate) fn relay(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Relay(error.into())
    }

    pub(crate) fn bind(key: &'static str, address: SocketAddr, error: std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                " (another program listens there; stop it, or pick another port)"
            }
            std::io::ErrorKind::PermissionDenied => {
                " (ports below 1024 need a privilege; pick a higher one)"
            }
            _ => "",
        };
        Self::Bind {
            key,
            address,
            error,
            hint,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: the file and the key, or the environment's variable.
    pub place: String,
    /// What was found there, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// Everything that is wrong, one line each; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn one(problem: Problem) -> Self {
        Self(vec![problem])
    }

    /// At least one.
    pub(crate) fn of(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// All of them, in the order they were found.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(Problem::to_string);
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Problems {}
