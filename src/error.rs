//! [`Error`]: why a server did not start, or why it stopped.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::{fmt, io};

/// Why a server did not start, or why it stopped.
///
/// `Debug` prints the same text as `Display`, so that returning it from `main` shows a readable message.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings are invalid; every problem is listed.
    #[error("{0}")]
    Settings(#[from] Problems),
    /// The server cannot listen on an address.
    #[error("{key} {address}: {error}{hint}")]
    Bind {
        /// The key that holds the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        error: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A ready-made handler cannot start.
    #[error("handler {name}: {error}")]
    Handler {
        /// The handler's name.
        name: String,
        /// The cause.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The relay cannot start with these settings.
    #[error("relay: {0}")]
    Relay(Box<dyn std::error::Error + Send + Sync>),
    /// The journal cannot be opened.
    #[error("journal.path: {0}")]
    Journal(Box<dyn std::error::Error + Send + Sync>),
    /// The database of the journal cannot be used.
    #[cfg(feature = "postgres")]
    #[error("the journal of journal.url: {0}")]
    Database(Box<crate::journal::PostgresError>),
    /// The journal can store nothing more, because its thread has panicked. What was acknowledged is
    /// stored.
    #[error(
        "the journal's thread has panicked, and nothing can be stored any more; what was acknowledged is stored: start offhook again, and report the panic that stands above in the log"
    )]
    JournalBroken,
    /// A second SIGINT or SIGTERM has ended the server before its work was finished.
    #[error("stopped by a second {name}, with work unfinished; what was acknowledged is stored")]
    Interrupted {
        /// The signal's name.
        name: &'static str,
        /// The signal's number. The exit status of a program that a signal ends is 128 more.
        number: i32,
    },
    /// A system call failed.
    #[error("{what}: {error}")]
    Io {
        /// What the server tried to do.
        what: &'static str,
        /// The system's error.
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

/// Why a file of the settings cannot be read: where it was looked for, and whose it is if that is the reason.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> String {
    let mut text = format!("cannot be read: {error}");
    if path.is_relative()
        && let Ok(folder) = std::env::current_dir()
    {
        text += &format!(" (looked from {})", folder.display());
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        let user = rustix::process::geteuid().as_raw();
        text += &match path.metadata() {
            Ok(file) => format!(
                "; offhook runs as user {user}, and the file is of user {} and group {} with mode {:04o}",
                file.uid(),
                file.gid(),
                file.mode() & 0o7777
            ),
            Err(_) => format!("; offhook runs as user {user}, and may not enter the file's folder"),
        };
    }
    text
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where it is: the file and the key, or the environment variable.
    pub place: String,
    /// The key, such as `sources[0].name`, also where an environment variable sets it. Empty for a problem
    /// of the whole file, or of a variable that sets no key.
    pub keys: String,
    /// What was found, and what is allowed.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// All problems of the settings, one per line; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// One problem.
    pub(crate) fn at(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self(vec![Problem {
            place: place.into(),
            keys: String::new(),
            text: text.into(),
        }])
    }

    /// Returns `Ok` if there is no problem.
    pub(crate) fn none_of(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(Self(problems))
    }

    /// All problems in the order they were found.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_of_another_user_is_named_with_its_mode() {
        let file = std::env::temp_dir().join(format!("offhook-unreadable-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = unreadable(&file, &denied);
        std::fs::remove_file(&file).unwrap();
        let user = rustix::process::geteuid().as_raw();
        let begin = format!(
            "cannot be read: permission denied; offhook runs as user {user}, and the file is of user {user} "
        );
        assert!(
            text.starts_with(&begin) && text.ends_with(" with mode 0600"),
            "{text}"
        );
        let gone = unreadable(Path::new("no such file"), &io::ErrorKind::NotFound.into());
        let folder = std::env::current_dir().unwrap();
        let end = format!("(looked from {})", folder.display());
        assert!(gone.ends_with(&end), "{gone}");
    }
}
