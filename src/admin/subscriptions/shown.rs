//! Subscriptions as the API shows them. Secrets are never shown.

use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;

use crate::EventKind;
use crate::dispatch::Suspended;
use crate::relay::{RegisteredSubscription, Registry, Subscription};

/// One subscription, without its session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownSubscription<'a> {
    name: &'a str,
    webhook_url: &'a str,
    events: Vec<&'static str>,
    has_secret: bool,
    active: bool,
    created_at: String,
    updated_at: String,
    // What follows is left out where it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    defined_in_settings: bool,
}

/// One of the subscriptions of all sessions.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListedSubscription<'a> {
    session_id: &'a str,
    #[serde(flatten)]
    webhook: ShownSubscription<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeAnswer<'a> {
    success: bool,
    session_id: &'a str,
    webhook: ShownSubscription<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'a str>,
}

/// The answer to a change: the subscription as it is now.
pub(super) async fn answer(
    mut response: HttpResponseBuilder,
    registry: &Registry,
    entry: &RegisteredSubscription,
    warning: Option<&str>,
) -> HttpResponse {
    let suspended = registry.suspended(std::slice::from_ref(entry)).await.pop();
    response.json(ChangeAnswer {
        success: true,
        session_id: entry.subscription.key.session(),
        webhook: ShownSubscription::new(entry, suspended.flatten().as_ref()),
        warning,
    })
}

impl<'a> ListedSubscription<'a> {
    pub(super) fn new(entry: &'a RegisteredSubscription, suspended: Option<&'a Suspended>) -> Self {
        Self {
            session_id: entry.subscription.key.session(),
            webhook: ShownSubscription::new(entry, suspended),
        }
    }
}

impl<'a> ShownSubscription<'a> {
    pub(super) fn new(entry: &'a RegisteredSubscription, suspended: Option<&'a Suspended>) -> Self {
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
        Self {
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
}
