//! [`Gateway`]: the address of a gateway and the form of its requests.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::api::{Api, Request};
use super::mask::Mask;
use super::{GatewayError, Shape};
use crate::signature::Secret;

/// The address of a gateway, the form of its requests, and the headers that authorize us.
///
/// `Debug` shows only the names of the headers.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    pub(super) base: Url,
    shape: Shape,
    /// Their values are marked as sensitive.
    pub(super) headers: HeaderMap,
}

impl Gateway {
    /// A gateway whose API begins at `url`. Default shape: that of the documentation.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Url`] if it is not an http or https URL, or has a password, a query or a
    /// fragment.
    pub fn new(url: &str) -> Result<Self, GatewayError> {
        let base = parse(url, "https://gateway.example")?;
        if base.query().is_some() || base.fragment().is_some() {
            let text = "a gateway's URL ends with its path: no ? and no #";
            return Err(GatewayError::Url(text.to_owned()));
        }
        Ok(Self {
            base,
            shape: Shape::default(),
            headers: HeaderMap::new(),
        })
    }

    /// Sets the shape of its requests.
    #[must_use]
    pub const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sends a header with every request, such as `Authorization`. The last word of `value` may be
    /// `env:NAME` or `file:PATH`, as in `Bearer env:TOKEN`. The value is never shown.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Header`] if the name or the value cannot be sent, the header belongs to HTTP
    /// itself or is already set, or the value cannot be read.
    pub fn header(self, name: &str, value: &str) -> Result<Self, GatewayError> {
        let wrong = |problem: &str| GatewayError::Header {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let value = Secret::resolve_header(value).map_err(|error| wrong(&error.to_string()))?;
        self.add(name, &value)
    }

    fn add(mut self, name: &str, value: &[u8]) -> Result<Self, GatewayError> {
        let wrong = |problem: &str| GatewayError::Header {
            name: name.to_owned(),
            problem: problem.to_owned(),
        };
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("that cannot be a header's name"))?;
        if OWN.contains(&parsed.as_str()) {
            return Err(wrong("is set by the client itself"));
        }
        if self.headers.len() >= MAX_HEADERS {
            return Err(wrong("there are 32 headers already"));
        }
        let mut value = HeaderValue::from_bytes(value)
            .map_err(|_| wrong("the value is no line of visible characters"))?;
        value.set_sensitive(true);
        match self.headers.insert(parsed, value) {
            None => Ok(self),
            Some(_) => Err(wrong("is given twice")),
        }
    }

    /// The URL, without a password.
    pub fn url(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The shape of its requests.
    pub const fn in_shape(&self) -> Shape {
        self.shape
    }

    /// The names of the headers that are sent.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.headers.keys().map(HeaderName::as_str)
    }

    /// Its host and port, the default for its name.
    pub(crate) fn host(&self) -> &str {
        self.base.authority()
    }

    /// A session as requests and webhook URLs name it.
    pub(crate) fn session<'a>(&self, session: &'a str) -> Result<&'a str, GatewayError> {
        let length = session.chars().count();
        // These are path steps even when they are escaped.
        let step = matches!(session, "." | "..");
        if step || !(1..=256).contains(&length) || session.chars().any(char::is_control) {
            return Err(GatewayError::Session(session.chars().take(256).collect()));
        }
        Ok(session)
    }

    pub(super) fn api(&self) -> &'static dyn Api {
        self.shape.api()
    }

    /// The URL of a request: as it is called, and as it may be shown.
    pub(super) fn address(&self, request: &Request) -> (Url, String) {
        let mut url = self.base.clone();
        let mut path = url.path_segments_mut().expect("an http URL has a path");
        path.pop_if_empty().extend(&request.path);
        drop(path);
        let shown = url.to_string();
        (url, shown)
    }

    /// What must not be shown of its answers.
    pub(super) fn mask(&self) -> Mask {
        let mut mask = Mask::default();
        for value in self.headers.values().map(HeaderValue::as_bytes) {
            let value = String::from_utf8_lossy(value);
            mask.add(&value);
            mask.add(value.rsplit(' ').next().unwrap_or_default());
        }
        mask
    }
}

/// Parses an http or https URL without a password. The error does not show a URL that may hold one.
pub(super) fn parse(text: &str, example: &str) -> Result<Url, GatewayError> {
    let expected = |found: &str| GatewayError::Url(format!("{found}; expected {example}"));
    let odd = |c: char| c.is_control() || c.is_whitespace();
    let url = Url::parse(text).map_err(|error| expected(&error.to_string()))?;
    if text.contains(odd) {
        return Err(expected("there is white space in the URL"));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(expected(&format!("found the scheme {:?}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let text = "there is a user or a password in the URL; a header is the place for them";
        return Err(expected(text));
    }
    Ok(url)
}

/// The headers that the client sets itself.
const OWN: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];
const MAX_HEADERS: usize = 32;

#[cfg(test)]
mod tests;
