//! [`Verifier`]: one source's scheme and secrets. [`Verified`] is its proof that a body came from a known
//! sender.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::body::Held;
use super::scheme::{Claim, Headers, Refusal, Scheme, XWebhookSignature};
use super::secret::{Secret, Secrets};

/// Verifies the requests of one source.
///
/// ```
/// use offhook::signature::{Secret, Verifier};
///
/// let secret = Secret::new("your-secret-key").unwrap();
/// let verifier = Verifier::new("codeskytz").secret(secret);
/// ```
///
/// A session with its own secrets is checked only with those; every other session with the source's
/// secrets. Without any secret every request is refused.
#[derive(Clone)]
pub struct Verifier {
    source: Arc<str>,
    scheme: Arc<dyn Scheme>,
    secrets: Secrets,
    sessions: HashMap<String, Secrets>,
    session_of: Option<SessionOf>,
    /// Takes the place of signatures.
    path_token: Option<Secret>,
}

/// Finds the session that a body names, given its `Content-Encoding`. Called only when sessions have
/// their own secrets and the path names no session; the result only selects the secrets.
///
/// A body that cannot be decoded for this is refused: another key than that of its session would verify
/// it otherwise.
pub type SessionOf =
    Arc<dyn Fn(&Bytes, Option<&[u8]>) -> Result<Option<String>, Refusal> + Send + Sync>;

impl Verifier {
    /// A source that signs with [`XWebhookSignature`].
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            source: source.into(),
            scheme: Arc::new(XWebhookSignature),
            secrets: Secrets::default(),
            sessions: HashMap::new(),
            session_of: None,
            path_token: None,
        }
    }

    /// A source that does not sign: every sender that knows the token in the path is accepted.
    /// Dangerous, because the token is in the address and nothing protects the body; use it only over
    /// TLS, for senders that cannot sign.
    pub fn dangerous_unsigned(source: impl Into<Arc<str>>, path_token: Secret) -> Self {
        Self {
            path_token: Some(path_token),
            ..Self::new(source)
        }
    }

    /// Sets another scheme.
    pub fn scheme(mut self, scheme: Arc<dyn Scheme>) -> Self {
        self.scheme = scheme;
        self
    }

    /// Adds a secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.0.push(secret);
        self
    }

    /// Gives a session its own secrets; only those are valid for it. The path names the session, or the
    /// body where [`session_of`](Self::session_of) is set: without that, a request whose path names none
    /// is checked with the source's secrets.
    pub fn session(mut self, session: impl Into<String>, secrets: Secrets) -> Self {
        self.sessions.insert(session.into(), secrets);
        self
    }

    /// Sets how to find the session in a body whose path names none.
    pub fn session_of(mut self, session_of: SessionOf) -> Self {
        self.session_of = Some(session_of);
        self
    }

    /// The source's name.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Checks the request's head, before the body is read.
    ///
    /// # Errors
    ///
    /// See [`Scheme::claim`]; for an unsigned source, when `path_token` is not the token.
    pub fn claim(
        &self,
        headers: &dyn Headers,
        path_token: Option<&str>,
        now: Timestamp,
    ) -> Result<Claimed, Refusal> {
        match (&self.path_token, path_token) {
            (None, _) => Ok(Claimed(Some(self.scheme.claim(headers, now)?))),
            (Some(token), Some(given)) if token.is(given.as_bytes()) => Ok(Claimed(None)),
            (Some(_), _) => Err(Refusal::PathToken),
        }
    }

    /// Verifies the body.
    ///
    /// # Errors
    ///
    /// [`Refusal::Mismatch`] when no secret that is valid for the session produces the signature;
    /// [`Refusal::HiddenSession`] when it cannot be found out which session that is.
    pub fn verify(&self, claimed: &Claimed, mut request: Unverified) -> Result<Verified, Refusal> {
        match (&self.path_token, &claimed.0) {
            (Some(_), None) => {}
            (None, Some(claim)) => {
                request.session = self.decided_session(&mut request)?;
                let own = request.session.as_ref();
                let own = own.and_then(|session| self.sessions.get(session));
                // Every secret is tried, so that the time does not reveal which one was correct.
                let secrets = own.unwrap_or(&self.secrets).iter();
                let right = secrets.fold(false, |right, secret| {
                    self.scheme.matches(claim, &request.body, secret) | right
                });
                if !right {
                    return Err(Refusal::Mismatch);
                }
            }
            // The claim comes from another verifier.
            _ => return Err(Refusal::Mismatch),
        }
        let sender = Sender {
            source: Arc::clone(&self.source),
            session: request.session.take(),
        };
        Ok(Verified { sender, request })
    }

    /// Decides the session of a request; nothing decides it again later.
    ///
    /// 1. If the path names a session, that is the session, whatever the body says.
    /// 2. Otherwise, if any session of the source has its own secrets, the body's session counts: it
    ///    selects the secrets that the signature is checked with.
    /// 3. Otherwise nothing is decided here, and each event of the body has the session that it names.
    fn decided_session(&self, request: &mut Unverified) -> Result<Option<String>, Refusal> {
        let in_path = request.session.take();
        let Some(session_of) = &self.session_of else {
            return Ok(in_path);
        };
        if in_path.is_some() || self.sessions.is_empty() {
            return Ok(in_path);
        }
        let mut headers = request.headers.iter();
        let encoding = headers.find(|(name, _)| name == "content-encoding");
        session_of(&request.body, encoding.map(|(_, value)| value.as_ref()))
    }
}

/// Shows only names; secrets hide themselves.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Verifier");
        shown.field("source", &self.source);
        if self.path_token.is_some() {
            shown.field("unsigned", &true);
        } else {
            shown.field("scheme", &self.scheme);
        }
        shown.finish_non_exhaustive()
    }
}

/// The claims of a request's head; [`Verifier::verify`] needs them.
#[derive(Debug, Clone)]
pub struct Claimed(Option<Claim>);

/// A request whose sender is not proven.
#[non_exhaustive]
pub struct Unverified {
    /// The session that the path names.
    pub session: Option<String>,
    /// When the request was received.
    pub received_at: Timestamp,
    /// The headers to store, names in lower case.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The body as received.
    pub body: Bytes,
    /// The body's share of the in-flight budget; released when the last owner drops it.
    pub(crate) held: Option<Held>,
}

impl Unverified {
    /// A body received at `received_at`, without session and headers.
    pub fn new(body: impl Into<Bytes>, received_at: Timestamp) -> Self {
        Self {
            session: None,
            received_at,
            headers: Vec::new(),
            body: body.into(),
            held: None,
        }
    }
}

/// Shows only the size, because the content is not verified.
impl fmt::Debug for Unverified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// The sender of a request, as far as the request could prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sender {
    /// The source's name.
    pub source: Arc<str>,
    /// The session whose secrets were used: the path's session if the path names one; otherwise, if the
    /// source has sessions with their own secrets, the body's session.
    pub session: Option<String>,
}

/// A body from a known sender.
///
/// Only a [`Verifier`] creates one, after the signature was correct. Unverified bytes therefore cannot
/// reach code that takes a `Verified`; this does not compile:
///
/// ```compile_fail,E0451
/// use offhook::signature::{Sender, Unverified, Verified};
///
/// fn forge(sender: Sender, request: Unverified) -> Verified {
///     Verified { sender, request }
/// }
/// ```
///
/// In any actix `App`, handlers behind [`VerifySignature`](super::VerifySignature) can use it as an
/// extractor:
///
/// ```
/// use actix_web::HttpResponse;
/// use offhook::signature::Verified;
///
/// async fn webhook(verified: Verified) -> HttpResponse {
///     println!("{} bytes from {}", verified.body().len(), verified.sender().source);
///     HttpResponse::Ok().finish()
/// }
/// ```
pub struct Verified {
    sender: Sender,
    request: Unverified,
}

impl Verified {
    /// The sender of the request.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When the request was received.
    pub fn received_at(&self) -> Timestamp {
        self.request.received_at
    }

    /// The body, byte for byte as it was received and signed.
    pub fn body(&self) -> &Bytes {
        &self.request.body
    }

    /// The stored headers, names in lower case.
    pub fn headers(&self) -> &[(Cow<'static, str>, Bytes)] {
        &self.request.headers
    }

    /// The sender, and the request that it has sent. Its session is the sender's.
    pub(crate) fn into_parts(self) -> (Sender, Unverified) {
        (self.sender, self.request)
    }
}

/// Shows the sender and the size, but never the body or the headers.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("sender", &self.sender)
            .field("bytes", &self.request.body.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn judge(verifier: &Verifier, key: &str, session: Option<&str>, body: &str) -> Option<Sender> {
        let now = Timestamp::UNIX_EPOCH;
        let signed = XWebhookSignature.sign(body.as_bytes(), &secret(key), now);
        let headers = [(signed[0].name.as_ref(), signed[0].value.as_str())];
        let claimed = verifier.claim(&&headers[..], None, now).unwrap();
        let mut request = Unverified::new(body.to_owned(), now);
        request.session = session.map(str::to_owned);
        let verified = verifier.verify(&claimed, request);
        verified.ok().map(|verified| verified.sender().clone())
    }

    #[test]
    fn every_secret_of_a_rotation_is_good() {
        let verifier = Verifier::new("s")
            .secret(secret("old"))
            .secret(secret("new"));
        for (key, good) in [("old", true), ("new", true), ("other", false)] {
            assert_eq!(judge(&verifier, key, None, "{}").is_some(), good, "{key}");
        }
    }

    #[test]
    fn without_secrets_everything_is_refused() {
        assert_eq!(judge(&Verifier::new("s"), "any", None, "{}"), None);
    }

    #[test]
    fn own_secrets_of_a_session_replace_the_others() {
        // The session's name is the whole body.
        let session_of: SessionOf =
            Arc::new(|body, _| Ok(Some(String::from_utf8_lossy(body).into_owned())));
        let verifier = Verifier::new("s")
            .secret(secret("shared"))
            .session("A", Secrets::new(vec![secret("key of A")]))
            .session_of(session_of);
        let table = [
            // key, session of the path, body, good
            ("key of A", Some("A"), "A", true),
            ("shared", Some("A"), "A", false),
            ("key of A", Some("B"), "B", false),
            ("shared", Some("B"), "B", true),
            ("key of A", None, "A", true),
            ("shared", None, "A", false),
            ("key of A", None, "B", false),
            ("shared", None, "B", true),
            // The path's session applies, whatever the body names.
            ("key of A", Some("A"), "B", true),
            ("key of A", Some("B"), "A", false),
            ("shared", Some("B"), "A", true),
        ];
        for (key, path, body, good) in table {
            let sender = judge(&verifier, key, path, body);
            assert_eq!(sender.is_some(), good, "{key} {path:?} {body}");
            if let Some(sender) = sender {
                assert_eq!(sender.session.as_deref(), path.or(Some(body)));
            }
        }
    }

    #[test]
    fn an_unsigned_source_wants_its_token() {
        let verifier = Verifier::dangerous_unsigned("s", secret("0123456789abcdef"));
        let none: [(&str, &str); 0] = [];
        let now = Timestamp::UNIX_EPOCH;
        for (token, good) in [
            (Some("0123456789abcdef"), true),
            (Some("0123456789abcdeF"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(verifier.claim(&&none[..], token, now).is_ok(), good);
        }
    }

    #[test]
    fn the_path_decides_then_the_body() {
        let plain = Verifier::new("s").session_of(Arc::new(|body, _| {
            Ok((!body.is_empty()).then(|| String::from_utf8_lossy(body).into_owned()))
        }));
        let own = plain.clone().session("A", Secrets::default());
        let table = [
            // path, body, sessions with secrets, decided
            (Some("A"), "B", &own, Some("A")),
            (Some("B"), "A", &own, Some("B")),
            (None, "A", &own, Some("A")),
            (None, "B", &own, Some("B")),
            (None, "", &own, None),
            // Without such sessions the body is not read.
            (None, "A", &plain, None),
            (Some("A"), "A", &plain, Some("A")),
        ];
        for (path, body, verifier, session) in table {
            let mut request = Unverified::new(body, Timestamp::UNIX_EPOCH);
            request.session = path.map(str::to_owned);
            let decided = verifier.decided_session(&mut request).unwrap();
            assert_eq!(decided.as_deref(), session, "{path:?} {body:?}");
        }
    }

    #[test]
    fn a_hidden_session_is_refused() {
        let verifier = Verifier::new("s")
            .secret(secret("shared"))
            .session_of(Arc::new(|_, _| Err(Refusal::HiddenSession)));
        let own = verifier.clone().session("A", Secrets::default());
        // Only where sessions have their own secrets, and the path names none.
        assert!(judge(&verifier, "shared", None, "{}").is_some());
        assert!(judge(&own, "shared", Some("B"), "{}").is_some());
        assert_eq!(judge(&own, "shared", None, "{}"), None);
    }
}
