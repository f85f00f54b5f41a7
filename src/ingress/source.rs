//! [`Source`]: who may send, where, and how it proves that.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::dialect::{BodyReader, Codeskytz, Dialect, Evolution, Hints};
use crate::signature::{Challenge, Scheme, Secret, Secrets, Verifier, XWebhookSignature};

/// One sender: the path it posts to, how it signs, and how its bodies are read.
///
/// ```
/// use offhook::Source;
/// use offhook::signature::Secret;
///
/// let source = Source::new("codeskytz").secret(Secret::new("your-secret-key").unwrap());
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Source {
    /// Its name in logs and metrics.
    pub name: String,
    /// The path it posts to; `/{session}` may follow.
    pub path: String,
    /// How it signs its requests.
    #[serde(serialize_with = "as_ref")]
    pub scheme: Arc<dyn Scheme>,
    /// How its bodies are read.
    #[serde(serialize_with = "as_ref")]
    pub dialect: Arc<dyn Dialect>,
    /// The secrets it may sign with.
    pub secrets: Vec<Secret>,
    /// Sessions with their own secrets; only those are valid for such a session.
    pub sessions: Vec<(String, Secrets)>,
    /// The token at the end of its path, if it does not sign.
    pub path_token: Option<Secret>,
    /// Whether GET and HEAD of its paths are answered 200, for senders that try a URL before they use it.
    pub probe: bool,
    /// How long it may send nothing before it counts as quiet.
    pub quiet_after: Option<Duration>,
    /// The same for single sessions.
    pub quiet_sessions: Vec<(String, Duration)>,
}

/// Destructures `self`, so that no new field is forgotten.
impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            path,
            scheme,
            dialect,
            secrets,
            sessions,
            path_token,
            probe,
            quiet_after,
            quiet_sessions,
        } = self;
        *name == other.name
            && *path == other.path
            && **scheme == *other.scheme
            && **dialect == *other.dialect
            && *secrets == other.secrets
            && *sessions == other.sessions
            && *path_token == other.path_token
            && *probe == other.probe
            && *quiet_after == other.quiet_after
            && *quiet_sessions == other.quiet_sessions
    }
}

fn as_ref<T: Serialize + ?Sized, S: Serializer>(
    shared: &Arc<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    shared.serialize(serializer)
}

impl Source {
    /// A source that posts to `/webhook`, signs with [`XWebhookSignature`] and speaks [`Codeskytz`].
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            path: "/webhook".to_owned(),
            scheme: Arc::new(XWebhookSignature),
            dialect: Arc::new(Codeskytz),
            secrets: Vec::new(),
            sessions: Vec::new(),
            path_token: None,
            probe: false,
            quiet_after: None,
            quiet_sessions: Vec::new(),
        }
    }

    /// Sets the path it posts to; `path/{session}` is served too.
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets how it signs.
    pub fn scheme(mut self, scheme: impl Scheme) -> Self {
        self.scheme = Arc::new(scheme);
        self
    }

    /// Sets how its bodies are read.
    pub fn dialect(mut self, dialect: impl Dialect) -> Self {
        self.dialect = Arc::new(dialect);
        self
    }

    /// Adds a secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Gives one session its own secrets; only those are valid for it.
    pub fn session(mut self, session: impl Into<String>, secrets: Secrets) -> Self {
        self.sessions.push((session.into(), secrets));
        self
    }

    /// Accepts unsigned requests: every sender that knows the token in the path (at least 16 bytes) is
    /// accepted. The paths are then `path/{token}` and `path/{token}/{session}`.
    pub fn dangerous_unsigned(mut self, path_token: Secret) -> Self {
        self.path_token = Some(path_token);
        self
    }

    /// Answers GET and HEAD of its paths with 200 and an empty body.
    pub fn probe(mut self) -> Self {
        self.probe = true;
        self
    }

    /// Sets how long it may send nothing before it counts as quiet. That is logged, counted, shown in
    /// `/health`, and creates a [`SourceEvent`](crate::SourceEvent) for the handlers that name this
    /// kind.
    pub fn quiet_after(mut self, silence: Duration) -> Self {
        self.quiet_after = Some(silence);
        self
    }

    /// The same for one session, independent of what the others send.
    pub fn session_quiet_after(mut self, session: impl Into<String>, silence: Duration) -> Self {
        self.quiet_sessions.push((session.into(), silence));
        self
    }

    /// The two patterns of its path, without and with a session; they contain `{token}` instead of the
    /// token.
    pub fn patterns(&self) -> [String; 2] {
        let path = &self.path;
        match self.path_token {
            None => [path.clone(), format!("{path}/{{session}}")],
            Some(_) => [
                format!("{path}/{{token}}"),
                format!("{path}/{{token}}/{{session}}"),
            ],
        }
    }

    /// Whether a GET of its paths may be a challenge.
    pub(super) fn has_challenge(&self) -> bool {
        self.path_token.is_none() && self.scheme.challenge("") != Challenge::Never
    }

    /// What to know where the address that its sender signs has another path than it.
    pub(crate) fn other_address(&self) -> Option<String> {
        let mut url = url::Url::parse(self.scheme.signed_address()?).ok()?;
        // It may hold a token.
        url.set_query(None);
        let (name, path) = (&self.name, &self.path);
        let rest = url.path().strip_prefix(path.as_str());
        let is_below = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        (!is_below && self.path_token.is_none()).then(|| {
            format!(
                "sources {name}: public_url is {url}, but its path is {path}; the path of each request is signed, so a \
                 proxy that changes it has every request refused."
            )
        })
    }

    /// How its bodies are read.
    pub(crate) fn reader(&self, max_body: usize) -> BodyReader {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let hints = Hints {
            id_header: owned(self.scheme.id_header()),
            id_pointer: owned(self.scheme.id_pointer()),
            event_header: owned(self.scheme.event_header()),
        };
        BodyReader::new(Arc::clone(&self.dialect), hints, max_body)
    }

    /// The headers, in lower case, without which a request cannot be verified and read.
    pub(super) fn needed_headers(&self) -> Vec<String> {
        let mut needed = self.scheme.claim_headers();
        let hints = [self.scheme.id_header(), self.scheme.event_header()];
        needed.extend(hints.into_iter().flatten().map(str::to_owned));
        needed
    }

    /// Its name, and how its bodies are read.
    pub(crate) fn named_reader(&self, max_body: usize) -> (String, BodyReader) {
        (self.name.clone(), self.reader(max_body))
    }

    pub(crate) fn verifier(&self, reader: BodyReader) -> Verifier {
        let name = self.name.as_str();
        let gives_up = self.dialect.name() == Evolution.name();
        if let Some(token) = &self.path_token {
            return Verifier::dangerous_unsigned(name, token.clone())
                .reader(reader)
                .gives_up(gives_up);
        }
        let scheme = Arc::clone(&self.scheme);
        let mut verifier = Verifier::new(name)
            .scheme(scheme)
            .reader(reader)
            .gives_up(gives_up);
        for secret in &self.secrets {
            verifier = verifier.secret(secret.clone());
        }
        for (session, secrets) in &self.sessions {
            verifier = verifier.session(session.clone(), secrets.clone());
        }
        verifier
    }
}
