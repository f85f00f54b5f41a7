//! [`Verifier`]: one source's scheme and secrets. [`Verified`] is its proof that a body came from a known
//! sender.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::diagnose::failed_header;
use super::room::Held;
use super::scheme::{Claim, Headers, Refusal, Scheme, XWebhookSignature};
use super::secret::{Secret, Secrets};
use crate::dialect::{BodyReader, Dialect, Hints, Odd, Reading, content_encoding, cut};

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
/// secrets. Without any secret every request is refused. Which session a request is of is decided here, and
/// nowhere else:
///
/// 1. The path names a session that has its own secrets: that session, whatever the body says.
/// 2. Otherwise the session that the body names ([`dialect`](Self::dialect) reads it): the body is signed, the
///    path is not. If that session has its own secrets, only those are good. In a body with several events, one
///    that names no session is of none.
/// 3. Otherwise the session of the path, if it names one; but not for a body whose `Content-Encoding` cannot
///    be undone, because it may name another.
///
/// ```
/// use std::sync::Arc;
///
/// use offhook::dialect::Codeskytz;
/// use offhook::signature::{Secret, Secrets, Verifier};
///
/// let own = Secrets::new(vec![Secret::new("the key of session A").unwrap()]);
/// let verifier = Verifier::new("gateway")
///     .secret(Secret::new("the key of all others").unwrap())
///     .session("A", own)
///     .dialect(Arc::new(Codeskytz), 32 * 1024 * 1024);
/// ```
#[derive(Clone)]
pub struct Verifier {
    source: Arc<str>,
    scheme: Arc<dyn Scheme>,
    secrets: Secrets,
    sessions: HashMap<String, Secrets>,
    /// Reads the sessions that a body names.
    reader: Option<BodyReader>,
    /// The headers that are always stored.
    kept: Vec<String>,
    /// The headers that hold a secret.
    hidden: Vec<String>,
    gives_up: bool,
    /// Takes the place of signatures.
    path_token: Option<Secret>,
}

impl Verifier {
    /// A source that signs with [`XWebhookSignature`].
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            source: source.into(),
            scheme: Arc::new(XWebhookSignature),
            secrets: Secrets::default(),
            sessions: HashMap::new(),
            reader: None,
            kept: Vec::new(),
            hidden: Vec::new(),
            gives_up: false,
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
        self.hidden = secret_headers(scheme.as_ref());
        self.scheme = scheme;
        self
    }

    /// Adds a secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.0.push(secret);
        self
    }

    /// Gives a session its own secrets; only those are valid for it. The path names the session, or the
    /// body where [`dialect`](Self::dialect) is set: without that, a request whose path names none is
    /// checked with the source's secrets.
    pub fn session(mut self, session: impl Into<String>, secrets: Secrets) -> Self {
        // Longer names are cut wherever they are read.
        let session = cut(&session.into()).into_owned();
        self.sessions.insert(session, secrets);
        self
    }

    /// Sets how to read the sessions that a body names. A body with a `Content-Encoding` is decoded for
    /// that, to `max_body` bytes at most.
    pub fn dialect(self, dialect: Arc<dyn Dialect>, max_body: usize) -> Self {
        self.reader(BodyReader::new(dialect, Hints::default(), max_body))
    }

    pub(crate) fn reader(mut self, reader: BodyReader) -> Self {
        self.kept.extend(reader.headers().map(str::to_owned));
        self.reader = Some(reader);
        self
    }

    /// The headers that are stored whatever their names, beside those that describe the body.
    pub(super) fn kept_headers(&self) -> &[String] {
        &self.kept
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
        self.check_token(path_token)?;
        if self.path_token.is_some() {
            return Ok(Claimed(None));
        }
        Ok(Claimed(Some(self.scheme.claim(headers, now)?)))
    }

    /// Whether the header `name` (in lower case) holds a secret, which is not stored.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.path_token.is_none() && self.hidden.iter().any(|hidden| hidden == name)
    }

    /// Whether the sender never sends again what was refused.
    pub(super) fn gives_up_when_refused(&self) -> bool {
        self.gives_up || (self.path_token.is_none() && self.scheme.gives_up_when_refused())
    }

    /// The sender never sends again what was refused, whatever its scheme.
    pub(crate) fn gives_up(mut self, gives_up: bool) -> Self {
        self.gives_up = gives_up;
        self
    }

    /// Checks the token in the path, if the source has one.
    pub(super) fn check_token(&self, given: Option<&str>) -> Result<(), Refusal> {
        match (&self.path_token, given) {
            (None, _) => Ok(()),
            (Some(token), Some(given)) if token.is(given.as_bytes()) => Ok(()),
            (Some(_), _) => Err(Refusal::PathToken),
        }
    }

    /// The header that these headers fail at: the one that [`claim`](Self::claim) has looked up last, in lower
    /// case, and what the settings say of its value.
    pub(super) fn failed_header(&self, headers: &dyn Headers, now: Timestamp) -> Option<String> {
        let name = failed_header(self.scheme.as_ref(), headers, now)?;
        let parameters = self.scheme.parameters();
        let of = |key| parameters.iter().find(|(name, _)| *name == key);
        let is_signature = of("header").is_some_and(|(_, text)| text.eq_ignore_ascii_case(&name));
        let prefix = of("prefix").filter(|(_, prefix)| is_signature && !prefix.is_empty());
        Some(match prefix {
            Some((_, prefix)) => format!("{name}, expected to begin with {prefix:?}"),
            None => name,
        })
    }

    /// Verifies the body.
    ///
    /// # Errors
    ///
    /// [`Refusal::Mismatch`] when no secret that is valid for the session produces the signature, or
    /// [`Refusal::OwnSecrets`] if these are the session's own; [`Refusal::HiddenSession`] when it cannot be found out which session that is.
    pub fn verify(&self, claimed: &Claimed, request: Unverified) -> Result<Verified, Refusal> {
        self.prove(claimed, request).map_err(|unproven| unproven.0)
    }

    /// As [`verify`](Self::verify); a request that is refused is given back.
    pub(super) fn prove(
        &self,
        claimed: &Claimed,
        request: Unverified,
    ) -> Result<Verified, Box<Unproven>> {
        match self.judge(claimed, &request) {
            Ok((sender, reading, odd)) => Ok(Verified {
                sender,
                request,
                reading,
                odd,
            }),
            Err(refusal) => Err(Box::new(Unproven(refusal, request))),
        }
    }

    fn judge(
        &self,
        claimed: &Claimed,
        request: &Unverified,
    ) -> Result<(Sender, Option<Reading>, Option<Odd>), Refusal> {
        let proof = Proof {
            verifier: self,
            claim: match (&self.path_token, &claimed.0) {
                (Some(_), None) => None,
                (None, Some(claim)) => Some(claim),
                // The claim comes from another verifier.
                _ => return Err(Refusal::Mismatch),
            },
        };
        let in_path = request.session.as_deref().map(cut);
        let in_path = in_path.as_deref();
        let own = in_path.and_then(|path| self.sessions.get(path));
        let reading = if let Some(own) = own {
            proof.check_own(&request.body, own)?;
            self.read(request)
        } else if self.sessions.is_empty() {
            // First, so that nobody without a secret can have a body decoded.
            proof.check(&request.body, &self.secrets)?;
            self.read(request)
        } else {
            let reading = self.peek(request)?;
            if self.session_of(reading.as_ref()).is_none() {
                proof.check(&request.body, &self.secrets)?;
            }
            // All of them, so that one session's key never speaks for another.
            for session in sessions(reading.as_ref()) {
                match self.sessions.get(session) {
                    Some(own) => proof.check_own(&request.body, own)?,
                    None => proof.check(&request.body, &self.secrets)?,
                }
            }
            // Once more, now that it is worth more.
            self.read(request)
        };
        let named = sessions(reading.as_ref()).next();
        let odd = match (in_path, named) {
            (Some(path), Some(body)) if path != body => Some(Odd::OtherSession {
                path: path.to_owned(),
                body: body.to_owned(),
            }),
            _ => None,
        };
        let is_hidden = reading.as_ref().is_some_and(Reading::is_hidden);
        let session = match named {
            _ if own.is_some() => in_path,
            Some(_) => self.session_of(reading.as_ref()),
            // It may name one; the header that hides it is not signed.
            None if is_hidden => None,
            None => in_path,
        };
        let sender = Sender {
            source: Arc::clone(&self.source),
            session: session.map(str::to_owned),
            is_proven: own.is_some(),
        };
        Ok((sender, reading, odd))
    }

    /// The session of a body, which is also that of its events that name none. `None` if there is such an event
    /// beside others: it may be of any session, so it is of none. A body that is signed with the secrets of the only
    /// session that it names is all of that session.
    fn session_of<'r>(&self, reading: Option<&'r Reading>) -> Option<&'r str> {
        let first = sessions(reading).next()?;
        let is_only = sessions(reading).all(|session| session == first);
        let is_own = is_only && self.sessions.contains_key(first);
        let is_whole = reading.is_some_and(Reading::names_all);
        (is_own || is_whole).then_some(first)
    }

    /// Reads a body of a proven sender.
    fn read(&self, request: &Unverified) -> Option<Reading> {
        let reader = self.reader.as_ref()?;
        Some(reader.read(&request.body, &request.headers))
    }

    fn peek(&self, request: &Unverified) -> Result<Option<Reading>, Refusal> {
        let Some(reader) = &self.reader else {
            return Ok(None);
        };
        let reading = reader.peek(&request.body, &request.headers);
        reading.map(Some).map_err(|_| Refusal::HiddenSession)
    }
}

/// The headers, in lower case, that hold a secret of this scheme.
pub(crate) fn secret_headers(scheme: &dyn Scheme) -> Vec<String> {
    if scheme.sends_secret() {
        scheme.claim_headers()
    } else {
        Vec::new()
    }
}

/// The sessions that a body names.
fn sessions(reading: Option<&Reading>) -> impl Iterator<Item = &str> {
    let events = reading.into_iter().flat_map(|reading| &reading.events);
    events.filter_map(|event| event.session_id())
}

/// A claim to check against secrets.
struct Proof<'a> {
    verifier: &'a Verifier,
    /// `None` for a source that has a path token instead, which was checked with the head.
    claim: Option<&'a Claim>,
}

impl Proof<'_> {
    fn check(&self, body: &[u8], secrets: &Secrets) -> Result<(), Refusal> {
        let Some(claim) = self.claim else {
            return Ok(());
        };
        // Every secret is tried, so that the time does not reveal which one was correct.
        let right = secrets.iter().fold(false, |right, secret| {
            self.verifier.scheme.matches(claim, body, secret) | right
        });
        if right {
            Ok(())
        } else {
            Err(Refusal::Mismatch)
        }
    }

    /// As [`check`](Self::check), with a session's own secrets.
    fn check_own(&self, body: &[u8], own: &Secrets) -> Result<(), Refusal> {
        self.check(body, own).map_err(|_| Refusal::OwnSecrets)
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

    /// Whether reading the body may take long: it is to be decoded, or it is large.
    pub(super) fn is_heavy(&self) -> bool {
        content_encoding(&self.headers).is_some() || self.body.len() > HEAVY
    }
}

/// A request that was refused, and why.
pub(super) struct Unproven(pub(super) Refusal, pub(super) Unverified);

/// Larger bodies are verified and read off the threads that serve connections.
const HEAVY: usize = 256 * 1024;

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
    /// The session of the request, decided as [`Verifier`] says. A body with several events may name others
    /// beside it.
    pub session: Option<String>,
    /// Whether the path names the session and the session's own secrets verified the request. It is then
    /// the session of every event in the body.
    pub is_proven: bool,
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
///     Verified { sender, request, reading: None, odd: None }
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
    reading: Option<Reading>,
    odd: Option<Odd>,
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

    /// The same, without what was read of the body to find its session.
    pub(super) fn without_reading(mut self) -> Self {
        self.reading = None;
        self
    }

    /// The sender, the request that it has sent, what was read of it, and why it is odd.
    pub(crate) fn into_parts(self) -> (Sender, Unverified, Option<Reading>, Option<Odd>) {
        (self.sender, self.request, self.reading, self.odd)
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
    use crate::signature::Generic;

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

    /// A reader for bodies that hold only the names of their sessions.
    #[derive(Debug)]
    struct Names;

    impl Dialect for Names {
        fn name(&self) -> &'static str {
            "names"
        }

        fn events(&self, body: &bytestring::ByteString) -> Vec<crate::Event> {
            let names = body.split(' ').map(|name| {
                let mut event = crate::UnknownEvent::new(crate::UnknownReason::NoName);
                event.session_id = Some(name.to_owned()).filter(|name| !name.is_empty());
                crate::Event::Unknown(event)
            });
            names.collect()
        }
    }

    fn with_own_secrets() -> Verifier {
        Verifier::new("s")
            .secret(secret("shared"))
            .session("A", Secrets::new(vec![secret("key of A")]))
            .session("C", Secrets::new(vec![secret("key of C")]))
            .dialect(Arc::new(Names), 1024)
    }

    #[test]
    fn the_session_is_decided_by_who_proves_it() {
        let own = with_own_secrets();
        let plain = Verifier::new("s")
            .secret(secret("shared"))
            .dialect(Arc::new(Names), 1024);
        let table = [
            // verifier, key, session of the path, body, decided session; `None` if refused
            (&own, "key of A", Some("A"), "A", Some(Some("A"))),
            (&own, "key of A", Some("A"), "B", Some(Some("A"))),
            (&own, "key of A", Some("A"), "C", Some(Some("A"))),
            (&own, "key of A", Some("A"), "", Some(Some("A"))),
            (&own, "shared", Some("A"), "A", None),
            (&own, "shared", Some("A"), "B", None),
            (&own, "key of C", Some("A"), "C", None),
            (&own, "key of A", None, "A", Some(Some("A"))),
            (&own, "key of A", Some("B"), "A", Some(Some("A"))),
            (&own, "shared", None, "A", None),
            (&own, "shared", Some("B"), "A", None),
            (&own, "key of A", None, "B", None),
            (&own, "key of A", Some("B"), "B", None),
            (&own, "shared", None, "B", Some(Some("B"))),
            (&own, "shared", Some("D"), "B", Some(Some("B"))),
            (&own, "shared", Some("B"), "", Some(Some("B"))),
            (&own, "shared", None, "", Some(None)),
            (&own, "key of A", None, "", None),
            // A body of several sessions needs the secrets of each.
            (&own, "shared", None, "B A", None),
            (&own, "shared", None, " A", None),
            (&own, "key of A", None, "A B", None),
            (&own, "key of A", None, "A C", None),
            (&own, "key of A", None, "A A", Some(Some("A"))),
            (&own, "shared", None, "B D", Some(Some("B"))),
            // What names no session beside others is of none, unless the only session's key signs it.
            (&own, "shared", Some("D"), "B ", Some(None)),
            (&own, "shared", None, "B  D", Some(None)),
            (&own, "key of A", Some("D"), "A ", Some(Some("A"))),
            (&own, "key of A", None, " A C", None),
            (&plain, "shared", Some("D"), "B ", Some(None)),
            (&plain, "shared", Some("D"), " B", Some(None)),
            (&plain, "shared", Some("A"), "B", Some(Some("B"))),
            (&plain, "shared", Some("A"), "", Some(Some("A"))),
            (&plain, "shared", None, "B", Some(Some("B"))),
        ];
        for (verifier, key, path, body, decided) in table {
            let sender = judge(verifier, key, path, body);
            let found = sender.as_ref().map(|sender| sender.session.as_deref());
            assert_eq!(found, decided, "{key} {path:?} {body:?}");
            let proven = sender.is_some_and(|sender| sender.is_proven);
            assert_eq!(
                proven,
                decided.is_some() && key == "key of A" && path == Some("A")
            );
        }
    }

    /// Only the log says so; the sender gets the same answer.
    #[test]
    fn own_secrets_are_a_reason_of_their_own() {
        let refusal = |key: &str, path: Option<&str>, body: &str| {
            let now = Timestamp::UNIX_EPOCH;
            let signed = XWebhookSignature.sign(body.as_bytes(), &secret(key), now);
            let headers = [(signed[0].name.as_ref(), signed[0].value.as_str())];
            let verifier = with_own_secrets();
            let claimed = verifier.claim(&&headers[..], None, now).unwrap();
            let mut request = Unverified::new(body.to_owned(), now);
            request.session = path.map(str::to_owned);
            verifier.verify(&claimed, request).unwrap_err()
        };
        for (key, path, body, expected) in [
            ("shared", Some("A"), "B", Refusal::OwnSecrets),
            ("shared", None, "A", Refusal::OwnSecrets),
            ("shared", None, "B A", Refusal::OwnSecrets),
            ("key of A", None, "B", Refusal::Mismatch),
            ("other", None, "", Refusal::Mismatch),
        ] {
            assert_eq!(refusal(key, path, body), expected, "{key} {path:?} {body}");
        }
    }

    #[test]
    fn the_header_that_is_wrong_is_named() {
        let scheme = Generic::new("X-Sig").prefix("v1=");
        let scheme = scheme.template("{timestamp:X-Time}.{body}").unwrap();
        let verifier = Verifier::new("s").scheme(Arc::new(scheme));
        let good = format!("v1={}", "0".repeat(64));
        let table: [(&[(&str, &str)], &str); 4] = [
            (&[], r#"x-sig, expected to begin with "v1=""#),
            (&[("X-Sig", "0")], r#"x-sig, expected to begin with "v1=""#),
            (&[("X-Sig", &good)], "x-time"),
            (&[("X-Sig", &good), ("X-Time", "soon")], "x-time"),
        ];
        for (headers, expected) in table {
            let found = verifier.failed_header(&headers, Timestamp::UNIX_EPOCH);
            assert_eq!(found.as_deref(), Some(expected), "{headers:?}");
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
    fn a_hidden_session_is_refused() {
        let hidden = |verifier: &Verifier, key: &str, path: Option<&str>| {
            let now = Timestamp::UNIX_EPOCH;
            let signed = XWebhookSignature.sign(b"A", &secret(key), now);
            let headers = [(signed[0].name.as_ref(), signed[0].value.as_str())];
            let claimed = verifier.claim(&&headers[..], None, now).unwrap();
            let mut request = Unverified::new("A", now);
            request.session = path.map(str::to_owned);
            request.headers = vec![("content-encoding".into(), "br".into())];
            verifier
                .verify(&claimed, request)
                .map(|verified| verified.sender.session)
        };
        let own = with_own_secrets();
        for path in [None, Some("B")] {
            assert_eq!(hidden(&own, "shared", path), Err(Refusal::HiddenSession));
        }
        // Only where it matters: the key proves the session of this path.
        assert_eq!(
            hidden(&own, "key of A", Some("A")),
            Ok(Some("A".to_owned()))
        );
        let plain = Verifier::new("s")
            .secret(secret("shared"))
            .dialect(Arc::new(Names), 1024);
        // The header is not signed: with it a captured body would be any path's.
        assert_eq!(hidden(&plain, "shared", Some("B")), Ok(None));
    }
}
