//! [`Gateway`]: the address of a gateway, its kind, and what authorizes us there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::api::{Api, Key, Request};
use super::mask::{MASKED, Mask};
use super::{GatewayError, Kind, Shape};
use crate::signature::Secret;

/// The address of a gateway, its kind, and the key or the headers that authorize us.
///
/// `Debug` shows only the names of the headers.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    pub(super) base: Url,
    kind: Kind,
    shape: Shape,
    /// Their values are marked as sensitive.
    pub(super) headers: HeaderMap,
    /// A key that stands in the path.
    token: Option<Secret>,
}

impl Gateway {
    /// A gateway of the documented kind whose API begins at `url`. Default shape: that of the documentation.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Url`] if it is not an http or https URL, or has a password, a query or a
    /// fragment.
    pub fn new(url: &str) -> Result<Self, GatewayError> {
        Self::of(Kind::default(), url)
    }

    /// A gateway of this kind whose API begins at `url`.
    ///
    /// ```
    /// use offhook::gateway::{Gateway, Kind};
    ///
    /// let waha = Gateway::of(Kind::Waha, "http://10.0.0.5:3000")?.api_key("a-key")?;
    /// assert_eq!(waha.header_names().collect::<Vec<_>>(), ["x-api-key"]);
    /// # Ok::<(), offhook::gateway::GatewayError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Gateway::new`].
    pub fn of(kind: Kind, url: &str) -> Result<Self, GatewayError> {
        let base = parse(url, "https://gateway.example")?;
        if base.query().is_some() || base.fragment().is_some() {
            let text = "a gateway's URL ends with its path: no ? and no #";
            return Err(GatewayError::Url(text.to_owned()));
        }
        Ok(Self {
            base,
            kind,
            shape: Shape::default(),
            headers: HeaderMap::new(),
            token: None,
        })
    }

    /// Sets the shape of its requests. Other kinds than [`Kind::Codeskytz`] have only one.
    #[must_use]
    pub const fn shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    /// Sets what authorizes us, as gateways of this kind take it: a header `X-API-Key`, `user:password`, the token
    /// of a bot. `key` may be `env:NAME` or `file:PATH`. It is never shown.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Key`] if it cannot be a key of this kind, and as [`Gateway::header`].
    pub fn api_key(mut self, key: &str) -> Result<Self, GatewayError> {
        let wrong = |problem: String| GatewayError::Key(problem);
        let secret =
            Secret::resolve(key).map_err(|error| wrong(format!("cannot be read: {error}")))?;
        match self.api().key() {
            Key::Header(name, before) => {
                let value = [before.as_bytes(), secret.expose()].concat();
                self.add(name, &value)
            }
            Key::Basic if secret.expose().contains(&b':') => {
                let value = format!("Basic {}", STANDARD.encode(secret.expose()));
                self.add(AUTHORIZATION.as_str(), value.as_bytes())
            }
            Key::Basic => Err(wrong("is not of the form user:password".to_owned())),
            Key::Path if is_bot_token(secret.expose()) => {
                self.token = Some(secret);
                Ok(self)
            }
            Key::Path => Err(wrong("is no token of a bot, such as 123456:ABC".to_owned())),
        }
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

    /// Its kind.
    pub const fn kind(&self) -> Kind {
        self.kind
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

    /// A session as requests and webhook URLs name it; empty for a kind without sessions.
    pub(crate) fn session<'a>(&self, session: &'a str) -> Result<&'a str, GatewayError> {
        if !self.api().has_sessions() {
            return Ok("");
        }
        let length = session.chars().count();
        // These are path steps even when they are escaped.
        let step = matches!(session, "." | "..");
        if step || !(1..=256).contains(&length) || session.chars().any(char::is_control) {
            return Err(GatewayError::Session(session.chars().take(256).collect()));
        }
        Ok(session)
    }

    pub(super) fn api(&self) -> &'static dyn Api {
        self.kind.api(self.shape)
    }

    /// Checks that there is a key if every request needs one.
    pub(super) fn check_key(&self) -> Result<(), GatewayError> {
        let Some(what) = self.api().needed_key() else {
            return Ok(());
        };
        let has_one = match self.api().key() {
            Key::Header(name, _) => self.headers.contains_key(name),
            Key::Basic => self.headers.contains_key(AUTHORIZATION),
            Key::Path => self.token.is_some(),
        };
        let missing = || GatewayError::Key(format!("is missing; it is {what}"));
        has_one.then_some(()).ok_or_else(missing)
    }

    /// Whether anything authorizes us.
    pub fn is_authorized(&self) -> bool {
        self.token.is_some() || !self.headers.is_empty()
    }

    /// The URL of a request: as it is called, and as it may be shown.
    pub(super) fn address(&self, request: &Request) -> (Url, String) {
        let at = |token: Option<&str>| {
            let mut url = self.base.clone();
            let mut path = url.path_segments_mut().expect("an http URL has a path");
            path.pop_if_empty();
            path.extend(token.map(|token| format!("bot{token}")));
            path.extend(&request.path);
            drop(path);
            url.set_query(request.query);
            url
        };
        let token = self.token.as_ref();
        let token = token.map(|token| String::from_utf8_lossy(token.expose()));
        let shown = at(token.as_ref().map(|_| MASKED)).into();
        (at(token.as_deref()), shown)
    }

    /// What must not be shown of its answers.
    pub(super) fn mask(&self) -> Mask {
        let mut mask = Mask::default();
        let token = self.token.as_ref().map(Secret::expose);
        let values = self.headers.values().map(HeaderValue::as_bytes);
        for value in values.chain(token) {
            let value = String::from_utf8_lossy(value);
            mask.add(&value);
            mask.add(value.rsplit(' ').next().unwrap_or_default());
        }
        mask
    }
}

/// Whether it can be a bot's token, which stands in a path.
fn is_bot_token(key: &[u8]) -> bool {
    let Some(colon) = key.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (id, rest) = key.split_at(colon);
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let is_id = !id.is_empty() && id.iter().all(u8::is_ascii_digit);
    is_id && rest.len() > 1 && rest[1..].iter().all(is_plain)
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
