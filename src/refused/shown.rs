//! Refused requests as the admin API shows them: [`Listed`] in a list, [`Details`] one of them. [`Group`]: how many
//! have the same reason.

use std::collections::HashMap;

use actix_http::header::{CONTENT_ENCODING, HeaderValue};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::cause::Cause;
use super::diagnosis::foreign_of;
use super::kept::{Body, Kept};
use super::known::{Known, KnownSource, named};
use super::pool::Entry;
use crate::Timestamp;
use crate::signature::{Finding, suggestion};

/// A refused request in a list.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    #[serde(flatten)]
    shown: Shown,
    /// What is kept of its body.
    body: &'static str,
}

impl Listed {
    pub(super) fn new(entry: &Entry, known: &Known) -> Self {
        Self {
            shown: Shown::new(entry, known),
            body: kept(&entry.kept.body),
        }
    }

    pub(crate) fn id(&self) -> Uuid {
        self.shown.id
    }
}

fn kept(body: &Body) -> &'static str {
    match body {
        Body::Whole(_) => "whole",
        Body::Hash(_) => "hash",
        Body::Unread => "unread",
    }
}

/// What is shown of a request everywhere.
#[derive(Debug, Serialize)]
struct Shown {
    id: Uuid,
    at: Timestamp,
    source: Option<String>,
    session: Option<String>,
    path: String,
    method: String,
    peer: Option<String>,
    user_agent: Option<String>,
    status: u16,
    cause: Cause,
    reason: Option<&'static str>,
    why: Option<String>,
    advice: Option<&'static str>,
    explained: bool,
    bytes: Option<u64>,
    diagnosis: &'static str,
    /// For a path that no source has: how often it was asked for, and when last.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_at: Option<Timestamp>,
}

impl Shown {
    fn new(entry: &Entry, known: &Known) -> Self {
        let kept = &entry.kept;
        // It may be a secret only since the settings have changed.
        let unless_hidden = |text: &str| match known.hides(text.as_bytes()) {
            true => "…".to_owned(),
            false => text.to_owned(),
        };
        let first = entry.diagnosis.findings().first();
        let counted = kept.is_misdirected().then_some(entry);
        Self {
            id: kept.id,
            at: kept.at,
            source: kept.source.as_deref().map(str::to_owned),
            session: kept.shown_session().map(unless_hidden),
            path: kept.path.clone(),
            method: kept.method.clone(),
            peer: kept.peer.clone(),
            user_agent: kept.shown("user-agent").as_deref().map(unless_hidden),
            status: kept.status,
            cause: kept.cause,
            reason: entry.reason(),
            why: first.map(|finding| finding.why.clone().into_owned()),
            advice: first.map(|finding| finding.advice),
            explained: entry.diagnosis.is_explained(),
            bytes: kept.bytes,
            diagnosis: entry.diagnosis.name(),
            count: counted.map(|entry| entry.count),
            last_at: counted.map(|entry| entry.last_at),
        }
    }
}

/// Refused requests of one source with the same reason.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    source: Option<String>,
    pub(crate) reason: Option<&'static str>,
    /// Of the newest.
    why: Option<String>,
    pub(crate) explained: bool,
    pub(crate) count: u64,
    /// How many of them have their bodies, and can be verified again.
    whole: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Group {
    /// The groups of these requests, the explained ones first, then the largest.
    pub(super) fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Self> {
        let mut groups: HashMap<_, Self> = HashMap::new();
        for entry in entries {
            let source = entry.kept.source.as_deref();
            let explained = entry.diagnosis.is_explained();
            let first = entry.diagnosis.findings().first();
            let key = (source, entry.reason(), explained);
            let group = groups.entry(key).or_insert_with(|| Self {
                source: source.map(str::to_owned),
                reason: entry.reason(),
                why: None,
                explained,
                count: 0,
                whole: 0,
                first: entry.kept.at,
                last: entry.last_at,
            });
            group.count += entry.count;
            group.whole += u64::from(entry.kept.body().is_some());
            group.first = group.first.min(entry.kept.at);
            group.last = group.last.max(entry.last_at);
            group.why = first.map(|finding| finding.why.clone().into_owned());
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        let rank = |group: &Self| (!group.explained, std::cmp::Reverse(group.count));
        groups.sort_by(|one, other| {
            let names = |group: &Self| (group.source.clone(), group.reason);
            (rank(one), names(one)).cmp(&(rank(other), names(other)))
        });
        groups
    }
}

/// A refused request with all that is known of it.
#[derive(Debug, Serialize)]
pub(crate) struct Details {
    #[serde(flatten)]
    shown: Shown,
    /// What is kept of its body.
    kept: &'static str,
    findings: Vec<Finding>,
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<String>,
    /// The body without credentials. `None` if it is not kept, or if nothing tells what is to be hidden in it: its source is
    /// gone, or its encoding cannot be undone.
    #[serde(skip)]
    pub(crate) content: Option<Bytes>,
}

impl Details {
    pub(super) fn new(entry: &Entry, known: &Known) -> Self {
        let kept = &entry.kept;
        let source = named(&known.sources, kept.source.as_deref());
        let headers = kept.headers.iter().map(|header| {
            let value = header.value.as_ref();
            let value = value.filter(|value| header.is_shown && !known.hides(value));
            let value = value.map_or("…".into(), |value| String::from_utf8_lossy(value));
            (header.name.to_string(), value.into_owned())
        });
        let findings = entry.diagnosis.findings().to_vec();
        let suggestion = source.and_then(|source| {
            let foreign = foreign_of(&kept.headers, Some(source));
            let scheme = source.scheme.as_ref();
            suggestion(
                &source.name,
                &source.path,
                scheme,
                foreign.as_ref(),
                &findings,
            )
        });
        Self {
            shown: Shown::new(entry, known),
            kept: self::kept(&kept.body),
            headers: headers.collect(),
            sha256: match &kept.body {
                Body::Hash(hash) => hash.clone(),
                Body::Whole(_) | Body::Unread => None,
            },
            suggestion,
            content: source.and_then(|source| body(kept, source)),
            findings,
        }
    }
}

/// The body as it is shown.
fn body(kept: &Kept, source: &KnownSource) -> Option<Bytes> {
    let headers = kept.headers();
    let encoding = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    let shown = source.reader.shown_as_sent(kept.body()?, encoding, false);
    shown.map(|(body, _)| body)
}
