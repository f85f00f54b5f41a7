//! [`Target`]: where test events go, and how they are signed: as the options say, and otherwise as a source
//! in the settings.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use offhook::clock::{Clock as _, SystemClock};
use offhook::settings::DOCUMENTED_KEY;
use offhook::signature::{Scheme as _, Secret, XWebhookSignature};
use offhook::{Source, escape_controls};
use url::Url;

use super::super::client::Signed;
use super::super::invocation;
use super::super::output::Failure;
use super::super::settings_file::{Known, scheme};
use super::{SESSION, Send};

/// Where events go, and how they are signed.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    /// The URL without a token.
    pub(super) shown: String,
    /// The source that it is one of, with the name of the settings file.
    pub(super) source: Option<(Source, String)>,
    /// `None` for a source that does not sign.
    secret: Option<Secret>,
    /// The file of the certificate, if the URL is from the settings.
    pub(super) certificate: Option<PathBuf>,
    /// Whether the secret is from the settings.
    pub(super) is_from_settings: bool,
}

impl Target {
    pub(super) fn of(send: &Send) -> Result<Self, Failure> {
        // With both, nothing is left to be read.
        let is_complete = send.url.is_some() && send.secret.is_some();
        let needed = !is_complete || send.source.is_some() || send.file.is_named();
        let known = if needed { send.file.known()? } else { None };
        let Some(known) = known else {
            return Self::without_settings(send);
        };
        let index = chosen(send, &known)?;
        let source = index.map(|index| known.settings.sources[index].clone());
        let (url, shown) = match (&send.url, &source) {
            (Some(url), _) => (url.clone(), url.to_string()),
            (None, Some(source)) => address(source, &known)?,
            (None, None) => return Err(no_source(&known)),
        };
        let keys = index.map(|index| format!("sources[{index}]"));
        let mut is_from_settings = false;
        let secret = match (&send.secret, &source, keys) {
            (Some(secret), ..) => Some(secret.clone()),
            (None, Some(source), Some(keys)) => {
                known.check(&keys, GIVE_SECRET)?;
                is_from_settings = true;
                secret_of(source)
            }
            _ => Some(documented()),
        };
        let tls = known.settings.server.tls.as_ref();
        let tls = tls.filter(|_| send.url.is_none());
        Ok(Self {
            url,
            shown,
            source: source.map(|source| (source, known.file)),
            secret,
            certificate: tls.map(|tls| tls.certificate.clone()),
            is_from_settings,
        })
    }

    fn without_settings(send: &Send) -> Result<Self, Failure> {
        if send.source.is_some() {
            return Err(Failure::usage(
                "--source: there is no settings.toml in this folder; give the file with --settings",
            ));
        }
        let default = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 5000));
            url_of("http", address, "/webhook")
        };
        let url = send.url.clone().map_or_else(default, Ok)?;
        Ok(Self {
            shown: url.to_string(),
            url,
            source: None,
            certificate: None,
            secret: Some(send.secret.clone().unwrap_or_else(documented)),
            is_from_settings: false,
        })
    }

    /// Signs a body as the source does; by default as the gateway does.
    pub(super) fn sign(&self, body: impl Into<bytes::Bytes>) -> Signed {
        let (body, now) = (body.into(), SystemClock.now());
        let headers = match (&self.secret, &self.source) {
            (None, _) => Vec::new(),
            (Some(secret), Some((source, _))) => {
                let path = self.url.path();
                let target = { self.url.query() }
                    .map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
                source.scheme.sign_at(&target, &body, secret, now)
            }
            (Some(secret), None) => XWebhookSignature.sign(&body, secret, now),
        };
        Signed { body, headers }
    }

    /// What to do after an answer that is not a success.
    pub(super) fn advice(&self, status: u16) -> String {
        let text = match (status, &self.source) {
            (300..=399, _) => {
                "The receiver is elsewhere; redirects are not followed, so give its own URL."
            }
            (401 | 403, Some((source, file))) if self.is_from_settings => &format!(
                "The receiver does not take what {file} says of the source {}: was the file changed since \
                 the receiver's start? Give another secret with --secret.",
                escape_controls(&source.name)
            ),
            (401 | 403, _) => &format!(
                "The receiver has another secret: give it with --secret. `{} verify` says what is wrong \
                 with a signature.",
                invocation()
            ),
            (404 | 405, _) => "No source has this path: is it the `path` of one in the settings?",
            (408, _) => "The body did not arrive in time.",
            (413, _) => "The body is longer than the receiver's max_body.",
            (429, _) => "The receiver is busy; try again, with fewer events at a time.",
            (503, _) => &format!(
                "The receiver is busy, stops, or cannot store: `{} health` and its log say which. Try again, with \
                 fewer events at a time if it is busy.",
                invocation()
            ),
            (500..=599, _) => "A handler failed: the receiver's log says why.",
            _ => "The receiver refuses it; its log may say why.",
        };
        text.to_owned()
    }

    /// What to do when there is no answer. `is_given` says that the URL is from the command line.
    pub(super) fn advice_unreached(&self, error: &str, is_given: bool) -> String {
        let program = invocation();
        let url = match &self.source {
            _ if is_given => "",
            Some((_, file)) => {
                &format!(" The URL is made of server.bind and the source's path in {file}.")
            }
            None => " That is the default URL, as there is no settings.toml in this folder.",
        };
        if error == "connection refused" {
            format!("Is the receiver running? `{program} serve` starts one.{url}")
        } else {
            format!("Is the URL right, and the receiver running?{url}")
        }
    }
}

/// The index of the source to send as: the named one, the one whose path the URL has, or the first.
fn chosen(send: &Send, known: &Known) -> Result<Option<usize>, Failure> {
    let sources = &known.settings.sources;
    if let Some(name) = &send.source {
        let found = sources.iter().position(|source| source.name == *name);
        return found.map(Some).ok_or_else(|| {
            let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
            let (file, names) = (&known.file, names.join(", "));
            Failure::usage(format!(
                "--source: there is no source {name:?} in {file}; there are: {names}"
            ))
        });
    }
    let Some(url) = &send.url else {
        return Ok((!sources.is_empty()).then_some(0));
    };
    let of_path = |source: &Source| {
        let rest = url.path().strip_prefix(source.path.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let fitting = sources.iter().enumerate();
    let fitting = fitting.filter(|(_, source)| of_path(source));
    let longest = fitting.max_by_key(|(_, source)| source.path.len());
    Ok(longest.map(|(index, _)| index))
}

/// The URL of a source, and the same without its token.
fn address(source: &Source, known: &Known) -> Result<(Url, String), Failure> {
    let server = &known.settings.server;
    let address = known.address("server.bind", server.bind, GIVE_URL)?;
    let scheme = scheme(server.tls.as_ref());
    let [pattern, _] = source.patterns();
    let path = match &source.path_token {
        None => pattern.clone(),
        Some(token) => {
            let token = String::from_utf8_lossy(token.expose());
            pattern.replace("{token}", &token)
        }
    };
    Ok((
        url_of(scheme, address, &path)?,
        format!("{scheme}://{address}{pattern}"),
    ))
}

fn url_of(scheme: &str, address: SocketAddr, path: &str) -> Result<Url, Failure> {
    Url::parse(&format!("{scheme}://{address}{path}")).map_err(Failure::failed)
}

fn no_source(known: &Known) -> Failure {
    // The problem says more, if there is one.
    let problem = known.check("sources", GIVE_URL).err();
    problem.unwrap_or_else(|| Failure::failed(format!("{}: there is no source", known.file)))
}

/// The secret that the source signs a test event with: the session's own, or its first.
fn secret_of(source: &Source) -> Option<Secret> {
    if source.path_token.is_some() {
        return None;
    }
    let mut sessions = source.sessions.iter();
    let own = sessions.find(|(session, _)| session == SESSION);
    let own = own.and_then(|(_, secrets)| secrets.iter().next());
    own.or(source.secrets.first()).cloned()
}

/// The key that the gateway's documentation prints.
fn documented() -> Secret {
    Secret::new(DOCUMENTED_KEY).expect("the documented key is not empty")
}

const GIVE_URL: &str = "Give the receiver's URL: `offhook send URL`.";

const GIVE_SECRET: &str = "Give the secret with --secret or in OFFHOOK_SECRET.";
