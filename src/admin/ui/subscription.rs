//! What a consumer that is a subscription has beside others: where it sends, a test, and forms to add or change one.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::parts::{Act, call, fact, fragment, segment, short_name, with_query};
use crate::EventKind;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::{AdminState, State};
use crate::relay::{RegisteredSubscription, without_tokens};

/// The subscription with this consumer's name.
pub(super) fn find(state: &AdminState, name: &str) -> Option<RegisteredSubscription> {
    let all = state.registry.as_ref()?.list(None);
    all.into_iter()
        .find(|entry| entry.subscription.key.consumer() == name)
}

pub(super) fn facts(entry: &RegisteredSubscription) -> Markup {
    let subscription = &entry.subscription;
    let kinds = subscription.events.as_ref().map(|kinds| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        names.join(", ")
    });
    let headers: Vec<&str> = subscription.headers.names().collect();
    html! {
        (fact("URL", Some(html! { span.mono { (without_tokens(&subscription.url)) } })))
        (fact("Session", Some(subscription.key.session())))
        (fact("Events", Some(kinds.unwrap_or_else(|| "all".to_owned()))))
        (fact("Secrets", Some(subscription.secrets.iter().len())))
        (fact("Headers", Some(headers.join(", ")).filter(|names| !names.is_empty())))
        (fact("Defined", Some(if entry.is_defined() { "in settings.toml" } else { "over the API" })))
    }
}

/// The buttons: a test, and for one that was made over the API a change and a removal.
pub(super) fn actions(entry: &RegisteredSubscription, short: &str, role: Role) -> Markup {
    let key = &entry.subscription.key;
    let name = key.consumer();
    html! {
        (test(entry, short).button(role))
        @if !entry.is_defined() && role.may_change() {
            a.button data-panel href=(with_query("ui/subscription", &[("consumer", Some(&name))])) { "Edit…" }
        }
        @if !entry.is_defined() { (remove(entry, short).button(role)) }
    }
}

/// Sends a test to the subscriber.
fn test<'a>(entry: &RegisteredSubscription, short: &str) -> Act<'a> {
    let key = &entry.subscription.key;
    let (session, name) = (segment(key.session()), segment(key.name()));
    let path = format!("api/subscriptions/{session}/{name}/test");
    Act {
        name: "Send a test",
        ask: format!(
            "One POST to {}, {}, with the header offhook-test. It is not stored and not tried again.",
            without_tokens(&entry.subscription.url),
            match entry.subscription.secrets.is_empty() {
                true => "not signed, because it has no secret",
                false => "signed as an event is",
            }
        ),
        say: format!("Send 1 test to {short}"),
        typed: None,
        call: call("POST", path, &json!({})),
        then: None,
        told: Some([POSTED, POSTED]),
    }
}

/// Removes a subscription that was made over the API.
fn remove<'a>(entry: &RegisteredSubscription, short: &str) -> Act<'a> {
    Act {
        name: "Remove",
        ask: format!(
            "{short} is removed, with how far it had come. What waits for it is not sent."
        ),
        say: format!("Remove {short}"),
        typed: None,
        call: call("DELETE", address(entry), &Value::Null),
        then: Some("consumers"),
        told: None,
    }
}

/// Where the subscription is changed.
fn address(entry: &RegisteredSubscription) -> String {
    let key = &entry.subscription.key;
    let path = format!("sessions/{}/webhook", segment(key.session()));
    with_query(&path, &[("name", Some(key.name()))])
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormQuery {
    /// The one to change; otherwise one is added.
    consumer: Option<String>,
}

/// `GET /ui/subscription`: the form that adds one, or changes one.
pub(super) async fn form(
    state: State,
    role: Role,
    query: web::Query<FormQuery>,
) -> Result<HttpResponse, ApiError> {
    role.check_change()?;
    let Some(name) = &query.consumer else {
        return Ok(fragment(add()));
    };
    let entry = find(&state, name).ok_or_else(|| {
        ApiError::not_found(format!("there is no subscription {}", short_name(name)))
    })?;
    Ok(fragment(edit(&entry)))
}

fn add() -> Markup {
    html! {
        form method="dialog" data-method="POST" data-path="sessions/{session}/webhook" data-create data-done="The subscription is added." {
            h2 { "Add subscription" }
            label { "Name" input name="name" placeholder="default" autocomplete="off" maxlength="64"; }
            (url(""))
            label { "Session (* = all)" input name="session" value="*" required autocomplete="off"; }
            label { "Secret that signs them: the text itself, not env: or file:" input name="secret" type="password" autocomplete="new-password"; }
            (events(|_| false))
            p.quiet { "It starts from now. One that replaces another goes on where that was." }
            (buttons("Add subscription"))
        }
    }
}

fn edit(entry: &RegisteredSubscription) -> Markup {
    let subscription = &entry.subscription;
    let kinds = subscription.events.as_ref();
    html! {
        form method="dialog" data-method="PATCH" data-path=(address(entry)) data-done="The subscription is changed." {
            h2 { "Change " (short_name(&subscription.key.consumer())) }
            (url(subscription.url.as_str()))
            label { "New secret (empty = as it is)" input name="secret" type="password" autocomplete="new-password"; }
            (events(|kind| kinds.is_some_and(|kinds| kinds.contains(&kind))))
            p.quiet { "It goes on where it is, with the next attempt." }
            (buttons("Change"))
        }
    }
}

fn url(value: &str) -> Markup {
    html! {
        label { "URL that events are POSTed to"
            input name="webhookUrl" type="url" required placeholder="https://crm.example/webhook" value=(value) autocomplete="off";
        }
    }
}

fn events(is_chosen: impl Fn(EventKind) -> bool) -> Markup {
    html! {
        fieldset {
            legend.quiet { "Events (none ticked = all)" }
            @for kind in EventKind::RECEIVED {
                label.box { input type="checkbox" name="events[]" value=(kind.as_str()) checked[is_chosen(kind)]; (kind.as_str()) }
            }
        }
    }
}

fn buttons(name: &str) -> Markup {
    html! {
        output role="alert" {}
        div.end {
            button type="button" data-close { "Cancel" }
            button.go type="submit" { (name) }
        }
    }
}

const POSTED: &str = "{verdict} ({resolved}, {took_ms} ms): {meaning}\n{body_excerpt}";
