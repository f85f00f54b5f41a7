//! [`Diagnosis`]: why a refused request was refused, as far as the present settings can tell.

use super::cause::Cause;
use super::kept::{Body, Header, Kept};
use super::known::{Known, KnownSource, named};
use crate::signature::{
    Finding, Foreign, Refusal, Secret, Secrets, diagnose, explains, foreign, is_signed,
};

/// What is known of why a request was refused.
#[derive(Debug, Clone)]
pub(super) enum Diagnosis {
    Pending,
    /// Only a body that is kept whole can be looked into.
    Skipped(Vec<Finding>),
    /// What the head alone tells. It proves nothing.
    OfHead(Finding),
    /// What was found with the body and the secrets.
    OfBody(Vec<Finding>),
}

impl Diagnosis {
    pub(super) fn findings(&self) -> &[Finding] {
        match self {
            Self::Pending => &[],
            Self::OfHead(finding) => std::slice::from_ref(finding),
            Self::Skipped(findings) | Self::OfBody(findings) => findings,
        }
    }

    /// Whether it proves that the sender knows a secret.
    pub(super) fn is_explained(&self) -> bool {
        matches!(self, Self::OfBody(findings) if explains(findings))
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Skipped(_) => "skipped",
            Self::OfHead(_) | Self::OfBody(_) => "done",
        }
    }
}

/// The scheme of others whose headers the request carries.
pub(super) fn foreign_of(headers: &[Header], source: Option<&KnownSource>) -> Option<Foreign> {
    let own = source.map(|source| source.scheme.claim_headers());
    let names: Vec<&str> = headers.iter().map(|header| header.name.as_str()).collect();
    foreign(&names, &own.unwrap_or_default())
}

/// What the head alone tells; `None` if the body is to be looked into.
pub(super) fn of_head(
    kept: &Kept,
    error: &'static str,
    known: &[KnownSource],
) -> Option<Diagnosis> {
    let source = named(known, kept.source.as_deref());
    let finding = match kept.cause {
        Cause::Signature | Cause::Malformed if kept.body().is_some() => return None,
        Cause::Signature | Cause::Malformed if matches!(kept.body, Body::Hash(_)) => {
            let why = "the body, or a header or the address that it needs, is not kept, so nothing can be tried";
            return Some(Diagnosis::Skipped(vec![Finding::new("unexplained", why)]));
        }
        Cause::NoSignature if source.is_some_and(|source| source.path_token.is_some()) => {
            Finding::new("path-token", "the token in the path is wrong")
        }
        Cause::Signature | Cause::Malformed | Cause::NoSignature => of_names(kept, source),
        Cause::TooLarge => Finding::new("too-large", error),
        Cause::TooSlow => Finding::new("too-slow", error),
        Cause::Path => return None,
        Cause::Method => {
            let why = format!("{} of the path of a source", kept.method);
            Finding::new("method", why)
        }
    };
    Some(Diagnosis::OfHead(finding))
}

/// What the names of the headers tell.
fn of_names(kept: &Kept, source: Option<&KnownSource>) -> Finding {
    if let Some(foreign) = foreign_of(&kept.headers, source) {
        return other_scheme(&foreign);
    }
    let needed = source.map(|source| source.scheme.claim_headers());
    let needed = needed.unwrap_or_default();
    let count = |name: &String| {
        let same = kept
            .headers
            .iter()
            .filter(|header| header.name.as_str() == name);
        same.count()
    };
    if let Some(name) = needed.iter().find(|name| count(name) > 1) {
        return Finding::new(
            "repeated",
            format!("the header {name} is there several times"),
        );
    }
    match needed.iter().find(|name| count(name) == 0) {
        Some(name) => Finding::new("missing", format!("the header {name} is missing")),
        None => Finding::new("missing", "a header of the signature is missing"),
    }
}

fn other_scheme(foreign: &Foreign) -> Finding {
    let (header, family) = (foreign.header, foreign.family);
    let why = format!("it carries `{header}`: this is the signature of {family}");
    let reason = if foreign.keys.is_some() {
        "other-scheme"
    } else {
        "no-scheme"
    };
    Finding::new(reason, why)
}

/// Looks into the body of a request.
pub(super) fn of_body(kept: &Kept, known: &Known) -> Diagnosis {
    let Some(source) = named(&known.sources, kept.source.as_deref()) else {
        let why = "the settings have no such source now";
        return Diagnosis::OfHead(Finding::new("source-gone", why));
    };
    let findings = look_into(kept, source, &known.sources).into_iter();
    let findings = findings.map(|one| one.without(|text| known.hides(text)));
    Diagnosis::OfBody(findings.collect())
}

fn look_into(kept: &Kept, source: &KnownSource, known: &[KnownSource]) -> Vec<Finding> {
    let Some(body) = kept.body() else {
        return Vec::new();
    };
    if kept.lacks(&source.scheme.claim_headers()) {
        let why =
            "the value of a header that the source needs now is not kept, so nothing can be tried";
        return vec![Finding::new("unexplained", why)];
    }
    let head = kept.head();
    let refusal = match source
        .verify
        .verify_again(&head, kept.session(), body.clone(), kept.at)
    {
        Ok(_) => {
            let why = "the settings that run now accept it";
            return vec![Finding::new("accepted-now", why)];
        }
        Err(Refusal::HiddenSession) => {
            let why =
                "the body cannot be decoded to find its session, whose secrets would verify it";
            return vec![Finding::new("session-hidden", why)];
        }
        Err(refusal) => refusal,
    };
    let signs = |source: &KnownSource, secret: &Secret| {
        is_signed(source.scheme.as_ref(), &head, body, secret, kept.at)
    };
    // First whose secret it is: the mistakes with one secret cost more than one try with each.
    if matches!(refusal, Refusal::Mismatch | Refusal::OwnSecrets)
        && let Some(finding) = other_owner(kept, source, known, refusal, signs)
    {
        return vec![finding];
    }
    let own = source.own_secrets(kept.session());
    let tried = own
        .into_iter()
        .flat_map(Secrets::iter)
        .chain(shared(source));
    // Not with those of other sessions: their holders may not pass for senders of this one.
    let mut first = None;
    for secret in tried.take(MOST_EXPLAINED) {
        let findings = diagnose(source.scheme.as_ref(), &head, body, secret, kept.at);
        if explains(&findings) {
            return findings;
        }
        first.get_or_insert(findings);
    }
    let mut findings = first.unwrap_or_default();
    if let Some(foreign) = foreign_of(&kept.headers, Some(source)) {
        findings.insert(0, other_scheme(&foreign));
    }
    if findings.is_empty() {
        let why = "the settings of now have no secret for it that could be tried";
        findings.push(Finding::new("unexplained", why));
    }
    findings
}

/// Someone else's secret that makes exactly this signature. That is said, and never accepted.
fn other_owner(
    kept: &Kept,
    source: &KnownSource,
    known: &[KnownSource],
    refusal: Refusal,
    signs: impl Fn(&KnownSource, &Secret) -> bool,
) -> Option<Finding> {
    let is_own = refusal == Refusal::OwnSecrets;
    if is_own && shared(source).any(|secret| signs(source, secret)) {
        let why =
            "it is signed with a secret of the source, but its session has secrets of its own";
        return Some(Finding::new("own-secrets", why));
    }
    let mut sessions = source.sessions.iter().take(MOST_TRIED);
    let owner = sessions.find(|(_, own)| own.iter().any(|secret| signs(source, secret)));
    if let Some((owner, _)) = owner {
        let owner = short(owner);
        let why = match kept.shown_session() {
            Some(session) => {
                let session = short(session);
                format!(
                    "the session in the path is {session}, it is signed with the secret of {owner}"
                )
            }
            None => {
                format!("it is signed with the secret of the session {owner}, and is not of it")
            }
        };
        return Some(Finding::new("other-session", why));
    }
    let others = known.iter().filter(|other| other.name != source.name);
    let mut others = others.take(MOST_TRIED);
    let owner = others.find(|other| shared(other).any(|secret| signs(other, secret)))?;
    let (name, path) = (&owner.name, &owner.path);
    let why = format!("it is signed with a secret of the source {name}, whose path is {path}");
    Some(Finding::new("other-source", why))
}

fn shared(source: &KnownSource) -> impl Iterator<Item = &Secret> {
    source.secrets.iter()
}

/// A session's id, as far as it is shown.
fn short(session: &str) -> String {
    session.chars().take(64).collect()
}

/// How many sessions and sources are asked whether it is signed with their secrets.
const MOST_TRIED: usize = 1000;

/// How many secrets are tried with all usual mistakes.
const MOST_EXPLAINED: usize = 16;
