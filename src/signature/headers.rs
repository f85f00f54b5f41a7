//! [`Headers`]: a scheme's view of a request's head, independent of the HTTP library.

use actix_http::header::{HeaderMap, HeaderName};

/// Looks up the headers of a request.
pub trait Headers {
    /// The value of the header `name` (lower case).
    fn value<'a>(&'a self, name: &str) -> HeaderValue<'a>;
}

/// The value of a header that must appear exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'a> {
    /// The header is missing.
    Absent,
    /// The header appears once.
    One(&'a [u8]),
    /// The header appears several times, so its value is ambiguous.
    Repeated,
}

impl<'a> HeaderValue<'a> {
    /// Builds this from an iterator over all values of one header.
    pub fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(value), None) => Self::One(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// Names (any case) and values, for use without HTTP.
impl Headers for &[(&str, &str)] {
    fn value<'a>(&'a self, name: &str) -> HeaderValue<'a> {
        let same = self
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        HeaderValue::of(same.map(|(_, value)| value.as_bytes()))
    }
}

impl Headers for HeaderMap {
    fn value<'a>(&'a self, name: &str) -> HeaderValue<'a> {
        // A lookup by text needs a parsed name; the name of the gateway's own scheme is a constant.
        let values = match name == X_WEBHOOK_SIGNATURE.as_str() {
            true => self.get_all(&X_WEBHOOK_SIGNATURE),
            false => self.get_all(name),
        };
        HeaderValue::of(values.map(|value| value.as_bytes()))
    }
}

const X_WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
