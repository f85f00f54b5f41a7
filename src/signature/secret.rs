//! [`Secret`]: key material that is never displayed. With it the HMACs that prove a sender, and their
//! encoding in a header.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac as _};
use serde::{Serialize, Serializer};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::{Choice, ConstantTimeEq as _};

use super::file::{MAX_SECRET_FILE, read_regular};
use crate::error::unreadable;

/// The key printed in the gateway's documentation. It is not a secret.
pub const DOCUMENTED_KEY: &[u8] = b"your-secret-key";

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
    /// The usual HMAC with the key mixed in, so that a request does not repeat that work.
    sha256: Mac,
}

impl Secret {
    /// A secret whose key is the bytes of `key`.
    ///
    /// # Errors
    ///
    /// When `key` is empty, or nothing but white space.
    pub fn new(key: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let key = key.as_ref();
        if key.trim_ascii().is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(Arc::new(Inner {
            key: key.to_vec(),
            sha256: Mac::new(Algorithm::Sha256, key),
        })))
    }

    /// Resolves a secret from its form in settings and on the command line: `env:NAME` and `file:PATH` (of
    /// both one final line break is removed), or the text itself.
    ///
    /// # Errors
    ///
    /// When the variable or the file cannot be read, is empty, or ends in more white space: then nothing that
    /// its owner signs elsewhere would match. Only regular files of at most 1 MiB are read.
    pub fn resolve(reference: &str) -> Result<Self, SecretError> {
        if let Some(name) = reference.strip_prefix("env:") {
            let value =
                std::env::var_os(name).ok_or_else(|| SecretError::NoVariable(name.to_owned()))?;
            return Self::trimmed(reference, value.as_encoded_bytes());
        }
        if let Some(path) = reference.strip_prefix("file:") {
            let bytes = read_regular(path.as_ref(), MAX_SECRET_FILE)
                .map_err(|error| SecretError::NoFile(path.to_owned(), error))?;
            return Self::trimmed(reference, &bytes);
        }
        Self::new(reference)
    }

    /// Resolves the value of a header: its last word may be `env:NAME` or `file:PATH`, as in `Bearer env:TOKEN`.
    pub(crate) fn resolve_header(value: &str) -> Result<Vec<u8>, SecretError> {
        let is_whole = value.starts_with("env:") || value.starts_with("file:");
        let word = value.rfind(' ').filter(|_| !is_whole);
        let (before, last) = value.split_at(word.map_or(0, |space| space + 1));
        let last = Self::resolve(last)?;
        Ok([before.as_bytes(), last.expose()].concat())
    }

    fn trimmed(reference: &str, bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = without_final_newline(bytes);
        if bytes.last().is_some_and(u8::is_ascii_whitespace) {
            return Err(SecretError::WhiteSpace(reference.to_owned()));
        }
        Self::new(bytes)
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
pub struct Secrets(pub(super) Vec<Secret>);

impl Secrets {
    /// These secrets, each of which is valid.
    pub fn new(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }

    /// Whether there is no secret, so that nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first secret: the newest one during a rotation.
    pub fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    /// All secrets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Secret> {
        self.0.iter()
    }
}

impl From<Secret> for Secrets {
    fn from(secret: Secret) -> Self {
        Self(vec![secret])
    }
}

impl From<Option<Secret>> for Secrets {
    fn from(secret: Option<Secret>) -> Self {
        Self(Vec::from_iter(secret))
    }
}

impl From<Vec<Secret>> for Secrets {
    fn from(secrets: Vec<Secret>) -> Self {
        Self(secrets)
    }
}

/// Why a secret cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// An empty secret protects nothing, and white space alone is a mistake.
    #[error("the secret is empty, or only white space")]
    Empty,
    /// `env:NAME` names a variable that is not set.
    #[error("the environment variable {0} is not set")]
    NoVariable(String),
    /// `file:PATH` names a file that cannot be read.
    #[error("the file {0} {text}", text = unreadable(Path::new(.0), .1))]
    NoFile(String, std::io::Error),
    /// It ends in white space, apart from one line break.
    #[error("{0} ends in white space (one final line break is allowed); take it out there")]
    WhiteSpace(String),
}

/// The hash of an HMAC ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Algorithm {
    /// `sha1`: only for senders that support nothing better.
    Sha1,
    /// `sha256`
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl Algorithm {
    /// All algorithms, with their names in the settings.
    pub const ALL: [(&'static str, Self); 4] = [
        ("sha1", Self::Sha1),
        ("sha256", Self::Sha256),
        ("sha384", Self::Sha384),
        ("sha512", Self::Sha512),
    ];

    /// The length of a signature, in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// How the bytes of a signature are encoded in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// `hex`: written in lower case, read in either case.
    Hex,
    /// `base64`: written in the standard alphabet with padding, read with or without.
    Base64,
}

impl Encoding {
    /// All encodings, with their names in the settings.
    pub const ALL: [(&'static str, Self); 2] = [("hex", Self::Hex), ("base64", Self::Base64)];

    /// Encodes `bytes`.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => const_hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }

    /// Decodes a text; `None` if it is not in this encoding.
    pub fn decode(self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            // The library would accept the prefix 0x.
            Self::Hex if text.get(1).is_some_and(|x| matches!(x, b'x' | b'X')) => None,
            Self::Hex => const_hex::decode(text).ok(),
            Self::Base64 => LENIENT_BASE64.decode(text).ok(),
        }
    }

    /// Decodes an HMAC; `None` if the text is not one of this algorithm.
    pub(super) fn decode_mac(self, text: &[u8], algorithm: Algorithm) -> Option<Vec<u8>> {
        let mac = self.decode(text)?;
        (mac.len() == algorithm.size()).then_some(mac)
    }
}

/// An HMAC in progress, already initialized with the key.
#[derive(Clone)]
pub(crate) enum Mac {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha384(Box<Hmac<Sha384>>),
    Sha512(Box<Hmac<Sha512>>),
}

impl Mac {
    pub(crate) fn new(algorithm: Algorithm, key: &[u8]) -> Self {
        fn keyed<M: KeyInit>(key: &[u8]) -> M {
            M::new_from_slice(key).expect("HMAC takes a key of any length")
        }
        match algorithm {
            Algorithm::Sha1 => Self::Sha1(keyed(key)),
            Algorithm::Sha256 => Self::Sha256(keyed(key)),
            Algorithm::Sha384 => Self::Sha384(Box::new(keyed(key))),
            Algorithm::Sha512 => Self::Sha512(Box::new(keyed(key))),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(bytes),
            Self::Sha256(mac) => mac.update(bytes),
            Self::Sha384(mac) => mac.update(bytes),
            Self::Sha512(mac) => mac.update(bytes),
        }
    }

    /// Whether one of these signatures is the HMAC; in constant time.
    pub(super) fn matches_one(self, signatures: &[Vec<u8>]) -> bool {
        let is_there = |mac: &[u8]| {
            let right = signatures.iter().fold(Choice::from(0), |right, signature| {
                right | mac.ct_eq(signature)
            });
            right.into()
        };
        match self {
            Self::Sha1(mac) => is_there(&mac.finalize().into_bytes()),
            Self::Sha256(mac) => is_there(&mac.finalize().into_bytes()),
            Self::Sha384(mac) => is_there(&mac.finalize().into_bytes()),
            Self::Sha512(mac) => is_there(&mac.finalize().into_bytes()),
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_final_line_break_is_left_out() {
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
    fn errors_name_the_place_but_not_the_secret() {
        let error = Secret::resolve("env:OFFHOOK_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert!(error.to_string().contains("OFFHOOK_TEST_NO_SUCH_VARIABLE"));
        let error = Secret::resolve("file:/no/such/file").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the file /no/such/file cannot be read")
        );
        for none in ["", " ", "\t \n"] {
            assert!(matches!(Secret::resolve(none), Err(SecretError::Empty)));
        }
    }

    #[test]
    fn hex_is_read_in_any_case() {
        assert_eq!(Encoding::Hex.decode(b"00fFaB"), Some(vec![0, 255, 0xab]));
        for odd in [
            &b"0"[..],
            b"0g",
            b" 00",
            b"0x00",
            b"0X00",
            b"0x",
            "é".as_bytes(),
            b"+1",
        ] {
            assert_eq!(Encoding::Hex.decode(odd), None, "{odd:?}");
        }
    }

    /// Test case 2 of [RFC 4231](https://www.rfc-editor.org/rfc/rfc4231#section-4.3), and for SHA-1 of
    /// [RFC 2202](https://www.rfc-editor.org/rfc/rfc2202#section-3).
    #[test]
    fn the_vectors_of_the_specifications() {
        let table = [
            (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (
                Algorithm::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Algorithm::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ];
        for (algorithm, expected) in table {
            let mut mac = Mac::new(algorithm, b"Jefe");
            mac.update(b"what do ya want for nothing?");
            let signature = mac.finish();
            assert_eq!(signature.len(), algorithm.size());
            assert_eq!(Encoding::Hex.encode(&signature), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(bytes: Vec<u8>) {
            for (_, encoding) in Encoding::ALL {
                prop_assert_eq!(encoding.decode(encoding.encode(&bytes).as_bytes()), Some(bytes.clone()));
            }
        }
    }
}
