//! Subscriptions as they are shown: their secrets never.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use crate::EventKind;
use crate::dispatch::Suspended;
use crate::relay::{Entry, Registry, Subscription};

/// One subscription as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Webhook<'a> {
    name: &'a str,
    webhook_url: &'a str,
    events: Vec<&'static str>,
    has_secret: bool,
    active: bool,
    created_at: String,
    updated_at: String,
    /// Only there where it says something.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    defined_in_settings: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    success: bool,
    session_id: &'a str,
    webhook: Webhook<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed<'a> {
    pub(super) session_id: &'a str,
    #[serde(flatten)]
    pub(super) webhook: Webhook<'a>,
}

pub(super) async fn told(
    mut response: HttpResponseBuilder,
    registry: &Registry,
    entry: &Entry,
    warning: Option<&str>,
) -> HttpResponse {
    let suspended = registry.suspended(std::slice::from_ref(entry)).await.pop();
    response.json(Answer {
        success: true,
        session_id: entry.subscription.key.session(),
        webhook: shown(entry, suspended.flatten().as_ref()),
        warning,
    })
}

pub(super) fn shown<'a>(entry: &'a Entry, suspended: Option<&'a Suspended>) -> Webhook<'a> {
    let Subscription {
        key,
        url,
        events,
        secret,
        active,
        ended,
        created_at,
        updated_at,
    } = &entry.subscription;
    Webhook {
        name: key.name(),
        webhook_url: url.as_str(),
        events: match events {
            None => vec!["*"],
            Some(kinds) => kinds.iter().copied().map(EventKind::as_str).collect(),
        },
        has_secret: secret.is_some(),
        active: *active,
        created_at: created_at.to_string(),
        updated_at: updated_at.to_string(),
        ended_at: ended.as_ref().map(|ended| ended.at.to_string()),
        ended_reason: ended.as_ref().map(|ended| ended.reason.as_str()),
        suspended_at: suspended.map(|suspended| suspended.since.to_string()),
        suspended_reason: suspended.map(|suspended| suspended.reason.as_str()),
        defined_in_settings: entry.is_defined(),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde gives it so
fn is_false(value: &bool) -> bool {
    !value
}
