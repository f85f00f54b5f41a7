//! [`Secret`]: key material that is never displayed.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq as _;

use super::encoding::{Algorithm, Mac};

/// A shared secret.
///
/// Its text appears nowhere: not in `Debug`, errors or serialized output. Cloning is cheap, and secrets
/// are compared in constant time.
///
/// ```
/// let secret = offhook::signature::Secret::new("your-secret-key").unwrap();
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// ```
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    key: Vec<u8>,
    // The state of the usual algorithm after the key is mixed in, so that a request does not repeat that
    // work.
    sha256: Mac,
}

impl Secret {
    /// A secret whose key is the bytes of `key`.
    ///
    /// # Errors
    ///
    /// When `key` is empty.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let key = key.as_ref();
        match key.is_empty() {
            true => Err(SecretError::Empty),
            false => Ok(Self(Arc::new(Inner {
                key: key.to_vec(),
                sha256: Mac::new(Algorithm::Sha256, key),
            }))),
        }
    }

    /// Resolves a secret from its form in settings and on the command line: `env:NAME`, `file:PATH` (one
    /// final line break is removed), or the text itself.
    ///
    /// # Errors
    ///
    /// When the variable or the file cannot be read, or is empty.
    pub fn resolve(reference: &str) -> Result<Self, SecretError> {
        if let Some(name) = reference.strip_prefix("env:") {
            let value = std::env::var_os(name).ok_or_else(|| SecretError::NoVariable {
                name: name.to_owned(),
            })?;
            return Self::new(value.as_encoded_bytes());
        }
        if let Some(path) = reference.strip_prefix("file:") {
            let bytes = std::fs::read(path).map_err(|error| SecretError::NoFile {
                path: path.to_owned(),
                error,
            })?;
            return Self::new(without_final_newline(&bytes));
        }
        Self::new(reference)
    }

    /// Whether the secret's text is `other`; in constant time for texts of the same length.
    pub fn is(&self, other: &[u8]) -> bool {
        self.0.key.ct_eq(other).into()
    }

    /// The secret itself. The caller must not display it.
    pub fn expose(&self) -> &[u8] {
        &self.0.key
    }

    pub(super) fn mac(&self, algorithm: Algorithm) -> Mac {
        match algorithm {
            Algorithm::Sha256 => self.0.sha256.clone(),
            other => Mac::new(other, &self.0.key),
        }
    }
}

fn without_final_newline(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Writes `…`, so that a type that holds a secret can derive `Serialize`.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.expose())
    }
}

impl Eq for Secret {}

/// The secrets of one sender: several during a rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// These secrets, each of which is valid.
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    /// Whether there is no secret, so that nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All secrets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Secret> {
        self.0.iter()
    }
}

/// Why a secret cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// An empty secret protects nothing.
    #[error("the secret is empty")]
    Empty,
    /// `env:NAME` names a variable that is not set.
    #[error("the environment variable {name} is not set")]
    NoVariable {
        /// The variable.
        name: String,
    },
    /// `file:PATH` names a file that cannot be read.
    #[error("the file {path} cannot be read: {error}")]
    NoFile {
        /// The file.
        path: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_final_line_break_of_a_file_is_left_out() {
        let table: [(&[u8], &[u8]); 5] = [
            (b"s", b"s"),
            (b"s\n", b"s"),
            (b"s\r\n", b"s"),
            (b"s\n\n", b"s\n"),
            (b" s \n", b" s "),
        ];
        for (file, key) in table {
            assert_eq!(without_final_newline(file), key);
        }
    }

    #[test]
    fn secrets_compare_but_are_not_written() {
        let secret = |text: &str| Secret::new(text).unwrap();
        assert_eq!(secret("hidden"), secret("hidden"));
        assert_ne!(secret("hidden"), secret("hidde"));
        let secrets = Secrets::new(vec![secret("hidden")]);
        assert_eq!(serde_json::to_string(&secrets).unwrap(), r#"["…"]"#);
    }

    #[test]
    fn what_cannot_be_resolved_says_where_but_not_what() {
        let error = Secret::resolve("env:OFFHOOK_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.to_string().contains("OFFHOOK_TEST_NO_SUCH_VARIABLE"));
        let error = Secret::resolve("file:/no/such/file").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the file /no/such/file cannot be read")
        );
        assert!(matches!(Secret::resolve(""), Err(SecretError::Empty)));
    }
}
