//! [`Verifier`]: one source's scheme and secrets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::Held;
use super::session::{Decision, decide};
use super::{
    Claim, Headers, Refusal, Scheme, Secret, Secrets, Sender, Verified, XWebhookSignature,
};

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
    proof: Proof,
    session_of: Option<SessionOf>,
}

#[derive(Clone)]
enum Proof {
    Signature {
        scheme: Arc<dyn Scheme>,
        secrets: Vec<Secret>,
        sessions: HashMap<String, Secrets>,
    },
    PathToken(Secret),
}

/// Finds the session that a body names, given its `Content-Encoding`. Called only when sessions have
/// their own secrets and the path names no session; the result only selects the secrets.
pub type SessionOf = Arc<dyn Fn(&Bytes, Option<&[u8]>) -> Option<String> + Send + Sync>;

impl Verifier {
    /// A source that signs with [`XWebhookSignature`].
    pub fn new(source: impl Into<Arc<str>>) -> Self {
        Self {
            source: source.into(),
            proof: Proof::Signature {
                scheme: Arc::new(XWebhookSignature),
                secrets: Vec::new(),
                sessions: HashMap::new(),
            },
            session_of: None,
        }
    }

    /// A source that does not sign: every sender that knows the token in the path is accepted.
    /// Dangerous, because the token is in the address and nothing protects the body; use it only over
    /// TLS, for senders that cannot sign.
    pub fn dangerous_unsigned(source: impl Into<Arc<str>>, path_token: Secret) -> Self {
        Self {
            source: source.into(),
            proof: Proof::PathToken(path_token),
            session_of: None,
        }
    }

    /// Sets another scheme.
    pub fn scheme(mut self, other: Arc<dyn Scheme>) -> Self {
        if let Proof::Signature { scheme, .. } = &mut self.proof {
            *scheme = other;
        }
        self
    }

    /// Adds a secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        if let Proof::Signature { secrets, .. } = &mut self.proof {
            secrets.push(secret);
        }
        self
    }

    /// Gives a session its own secrets; only those are valid for it.
    pub fn session(mut self, session: impl Into<String>, secrets: Secrets) -> Self {
        if let Proof::Signature { sessions, .. } = &mut self.proof {
            sessions.insert(session.into(), secrets);
        }
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
        match &self.proof {
            Proof::Signature { scheme, .. } => {
                scheme.claim(headers, now).map(|claim| Claimed(Some(claim)))
            }
            Proof::PathToken(token) => match path_token {
                Some(given) if token.is(given.as_bytes()) => Ok(Claimed(None)),
                _ => Err(Refusal::PathToken),
            },
        }
    }

    /// Verifies the body.
    ///
    /// # Errors
    ///
    /// [`Refusal::Mismatch`] when no secret that is valid for the session produces the signature.
    pub fn verify(&self, claimed: &Claimed, mut request: Unverified) -> Result<Verified, Refusal> {
        let session = match (&self.proof, &claimed.0) {
            (Proof::PathToken(_), None) => request.session,
            (
                Proof::Signature {
                    scheme,
                    secrets,
                    sessions,
                },
                Some(claim),
            ) => {
                let path = request.session.take();
                let Decision { session, own } =
                    decide(path, sessions, || self.session_in_body(&request));
                let right = match own {
                    Some(own) => any_matches(scheme.as_ref(), claim, &request.body, own.iter()),
                    None => any_matches(scheme.as_ref(), claim, &request.body, secrets.iter()),
                };
                right.then_some(session).ok_or(Refusal::Mismatch)?
            }
            // The claim comes from another verifier.
            _ => return Err(Refusal::Mismatch),
        };
        Ok(Verified {
            sender: Sender {
                source: Arc::clone(&self.source),
                session,
            },
            received_at: request.received_at,
            headers: request.headers,
            body: request.body,
            held: request.held,
        })
    }

    fn session_in_body(&self, request: &Unverified) -> Option<String> {
        let encoding = request.headers.iter();
        let mut encoding = encoding.filter(|(name, _)| name == "content-encoding");
        let encoding = encoding.next().map(|(_, value)| value.as_ref());
        self.session_of
            .as_ref()
            .and_then(|session_of| session_of(&request.body, encoding))
    }
}

/// Tries every secret, so that the time does not reveal which one was correct.
fn any_matches<'a>(
    scheme: &dyn Scheme,
    claim: &Claim,
    body: &[u8],
    secrets: impl Iterator<Item = &'a Secret>,
) -> bool {
    secrets.fold(false, |found, secret| {
        scheme.matches(claim, body, secret) | found
    })
}

/// The claims of a request's head; [`Verifier::verify`] needs them.
#[derive(Debug, Clone)]
pub struct Claimed(Option<Claim>);

/// A request whose sender is not proven.
pub struct Unverified {
    /// The session that the path names.
    pub session: Option<String>,
    /// When the request was received.
    pub received_at: Timestamp,
    /// The headers to store, names in lower case.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The body as received.
    pub body: Bytes,
    pub(super) held: Option<Held>,
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

/// Shows only names; secrets hide themselves.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Verifier");
        shown.field("source", &self.source);
        match &self.proof {
            Proof::Signature { scheme, .. } => shown.field("scheme", scheme),
            Proof::PathToken(_) => shown.field("unsigned", &true),
        };
        shown.finish_non_exhaustive()
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
    fn a_session_with_its_own_secrets_is_checked_with_those_alone() {
        // The session's name is the whole body.
        let session_of: SessionOf =
            Arc::new(|body, _| Some(String::from_utf8_lossy(body).into_owned()));
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
}
