//! [`SubscriptionHeaders`]: the headers that a subscription adds to each attempt, such as the credential that a
//! gateway in front of the subscriber asks for. Their values are never shown.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use crate::signature::Secret;

/// The headers that a subscription adds to each attempt.
///
/// `Debug` and serialized output show only their names. Names that offhook sets itself cannot be used, nor
/// those that belong to a connection. There are at most [`MAX_HEADERS`], with at most [`MAX_HEADER_BYTES`] of
/// names and values.
///
/// ```
/// use offhook::relay::SubscriptionHeaders;
///
/// let headers = SubscriptionHeaders::default().text("X-Api-Key", "a key of ours").unwrap();
/// assert_eq!(headers.names().collect::<Vec<_>>(), ["x-api-key"]);
/// assert!(!format!("{headers:?}").contains("a key of ours"));
///
/// let error = headers.text("Webhook-Id", "1").unwrap_err();
/// assert!(error.to_string().contains("offhook sets it itself"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SubscriptionHeaders(HeaderMap);

impl SubscriptionHeaders {
    /// Adds a header with the value as it is.
    ///
    /// # Errors
    ///
    /// When the name or the value cannot be sent, offhook sets the header itself, it is there already, or there
    /// are too many.
    pub fn text(mut self, name: &str, value: &str) -> Result<Self, HeaderError> {
        let name = self.new_name(name)?;
        self.insert(name, value.as_bytes())?;
        Ok(self)
    }

    /// Adds a header in its form in settings and on the command line: the last word of the value may be
    /// `env:NAME` or `file:PATH`, as in `Bearer env:TOKEN`.
    ///
    /// # Errors
    ///
    /// As [`SubscriptionHeaders::text`], and when the variable or the file cannot be read.
    pub fn resolve(mut self, name: &str, value: &str) -> Result<Self, HeaderError> {
        let name = self.new_name(name)?;
        // An error of a secret says what is wrong with a value too.
        let value = Secret::resolve_header(value).map_err(|error| {
            let problem = error.to_string().replace("the secret", "its value");
            HeaderError::new(name.as_str(), problem)
        })?;
        self.insert(name, &value)?;
        Ok(self)
    }

    fn new_name(&self, name: &str) -> Result<HeaderName, HeaderError> {
        let wrong = |problem: &str| HeaderError::new(name, problem);
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("cannot be the name of a header"))?;
        let text = parsed.as_str();
        let is_own = OWN.contains(&text) || OWN_PREFIXES.iter().any(|own| text.starts_with(own));
        if is_own {
            return Err(wrong("cannot be set: offhook sets it itself"));
        }
        if OF_CONNECTIONS.contains(&text) {
            return Err(wrong("cannot be set: it belongs to the connection"));
        }
        if self.0.contains_key(&parsed) {
            return Err(wrong("is given twice"));
        }
        Ok(parsed)
    }

    fn insert(&mut self, name: HeaderName, value: &[u8]) -> Result<(), HeaderError> {
        let wrong = |problem: String| Err(HeaderError::new(name.as_str(), problem));
        if value.is_empty() {
            return wrong("its value is empty".to_owned());
        }
        let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
        if !value.iter().all(is_visible) || value.trim_ascii().len() < value.len() {
            let text = "its value must be visible ASCII, without white space at its ends";
            return wrong(text.to_owned());
        }
        let length = |name: &HeaderName, value: &[u8]| name.as_str().len() + value.len();
        let before = { self.0.iter() }.map(|(name, value)| length(name, value.as_bytes()));
        if self.0.len() >= MAX_HEADERS {
            return wrong(format!("is one too many: there can be {MAX_HEADERS}"));
        }
        if before.sum::<usize>() + length(&name, value) > MAX_HEADER_BYTES {
            let text =
                format!("is too much: names and values have {MAX_HEADER_BYTES} bytes at most");
            return wrong(text);
        }
        let mut value = HeaderValue::from_bytes(value).expect("visible ASCII is a header's value");
        value.set_sensitive(true);
        self.0.insert(name, value);
        Ok(())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(HeaderName::as_str)
    }

    /// Names and values. The caller must not display the values.
    pub fn expose(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| {
            let value = value.to_str().expect("visible ASCII is a text");
            (name.as_str(), value)
        })
    }

    pub(super) fn map(&self) -> &HeaderMap {
        &self.0
    }
}

/// Shows the names only.
impl fmt::Debug for SubscriptionHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Writes the names only.
impl Serialize for SubscriptionHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

/// Why a subscription cannot have a header. The value is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header {name:?}: {problem}")]
pub struct HeaderError {
    name: String,
    problem: String,
}

impl HeaderError {
    fn new(name: &str, problem: impl Into<String>) -> Self {
        Self {
            name: name.chars().take(LONGEST_SHOWN).collect(),
            problem: problem.into(),
        }
    }
}

/// How many headers a subscription can have.
pub const MAX_HEADERS: usize = 32;

/// The most bytes of their names and values.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// How many characters of a name an error shows.
const LONGEST_SHOWN: usize = 64;

/// What offhook sends itself, with the headers of [`OWN_PREFIXES`].
const OWN: [&str; 7] = [
    "accept",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "user-agent",
    "x-webhook-signature",
];
const OWN_PREFIXES: [&str; 2] = ["offhook-", "webhook-"];

/// What is between two ends of a connection, and not for a subscriber.
const OF_CONNECTIONS: [&str; 11] = [
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn none() -> SubscriptionHeaders {
        SubscriptionHeaders::default()
    }

    fn error(name: &str, value: &str) -> String {
        let error = none().text(name, value).unwrap_err().to_string();
        assert!(!error.contains("hidden"), "{error}");
        error
    }

    #[test]
    fn own_headers_cannot_be_set() {
        let own = OWN.iter().chain(&OF_CONNECTIONS);
        let more = ["Webhook-Id", "webhook-new", "OFFHOOK-anything", "Host"];
        for name in own.copied().chain(more) {
            assert!(error(name, "hidden").contains("cannot be set"), "{name}");
            let upper = name.to_ascii_uppercase();
            assert!(error(&upper, "hidden").contains("cannot be set"), "{name}");
        }
        for name in [
            "Authorization",
            "Cookie",
            "X-Webhook",
            "webhooks",
            "traceparent",
        ] {
            assert!(none().text(name, "v").is_ok(), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let long = "n".repeat(100_000);
        for name in ["", "a b", "a:b", "ü", "a\r\nb", ":path", &long] {
            let error = error(name, "hidden");
            assert!(error.contains("cannot be the name"), "{error}");
            assert!(error.len() < 400, "{error}");
        }
        assert!(error("X-A", "").contains("is empty"));
        for value in [
            "hidden\r\nX: 1",
            "hidden\0",
            "hiddenü",
            " hidden",
            "hidden\t",
            "\u{7f}hidden",
        ] {
            assert!(error("X-A", value).contains("visible ASCII"), "{value:?}");
        }
        let one = none().text("X-A", "hidden").unwrap();
        let twice = one.text("x-a", "hidden").unwrap_err().to_string();
        assert!(twice.contains("is given twice"), "{twice}");
    }

    #[test]
    fn number_and_length_have_limits() {
        let many = (0..MAX_HEADERS).fold(none(), |headers, number| {
            headers.text(&format!("x-{number}"), "v").unwrap()
        });
        let more = many.text("x-more", "v").unwrap_err().to_string();
        assert!(more.contains("there can be 32"), "{more}");
        let fits = "v".repeat(MAX_HEADER_BYTES - 3);
        let full = none().text("x-a", &fits).unwrap();
        let more = full.text("x-b", "v").unwrap_err().to_string();
        assert!(more.contains("8192 bytes"), "{more}");
        assert!(none().text("x-ab", &fits).is_err());
    }

    #[test]
    fn only_resolve_reads_the_environment() {
        let path = std::env::var("PATH").unwrap();
        let value = |headers: SubscriptionHeaders| headers.expose().next().unwrap().1.to_owned();
        let resolved = none().resolve("X-A", "Bearer env:PATH").unwrap();
        assert_eq!(value(resolved), format!("Bearer {path}"));
        let text = none().text("X-A", "env:PATH").unwrap();
        assert_eq!(value(text), "env:PATH");
        let missing = none().resolve("X-A", "env:OFFHOOK_TEST_NO_SUCH_VARIABLE");
        let missing = missing.unwrap_err().to_string();
        assert!(
            missing.contains("OFFHOOK_TEST_NO_SUCH_VARIABLE"),
            "{missing}"
        );
        let empty = none().resolve("X-A", "").unwrap_err().to_string();
        assert_eq!(
            empty,
            "the header \"x-a\": its value is empty, or only white space"
        );
    }

    #[test]
    fn values_are_never_shown() {
        let headers = none().text("X-A", "hidden").unwrap();
        assert_eq!(format!("{headers:?}"), r#"{"x-a"}"#);
        assert_eq!(serde_json::to_string(&headers).unwrap(), r#"["x-a"]"#);
        assert!(!format!("{:?}", headers.map()).contains("hidden"));
    }

    proptest! {
        #[test]
        fn what_is_taken_can_be_sent(name: String, value: String) {
            if let Ok(headers) = none().text(&name, &value) {
                let lower = name.to_ascii_lowercase();
                prop_assert_eq!(headers.expose().collect::<Vec<_>>(), [(&*lower, &*value)]);
                prop_assert!(headers.map()[&lower].is_sensitive());
            }
        }
    }
}
