//! What a replay would hand over to each consumer, before it is asked for.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::parts::{Act, call, fragment, many, short_name, with_query};
use crate::admin::error::ApiError;
use crate::admin::replay::{ReplayRequest, matching};
use crate::admin::role::Role;
use crate::admin::state::{AdminState, State};
use crate::dispatch::ConsumerControls;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The events, with commas; otherwise all that match.
    ids: Option<String>,
    consumer: Option<String>,
    session: Option<String>,
    event: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// `GET /ui/replay`
pub(super) async fn form(
    state: State,
    role: Role,
    query: web::Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    if !role.may_change() {
        return Err(ApiError::forbidden_role("the viewer's token may only read"));
    }
    let asked = query.into_inner();
    let consumers = state.pipeline()?.consumers();
    let names: Vec<&str> = consumers.iter().map(ConsumerControls::name).collect();
    let form = match &asked.ids {
        Some(ids) => of_ids(ids, &names)?,
        None => of_filter(&state, &asked, &names).await?,
    };
    Ok(fragment(form))
}

/// The events that were selected.
fn of_ids(ids: &str, names: &[&str]) -> Result<Markup, ApiError> {
    let ids: Vec<&str> = ids.split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() || ids.len() > MOST_IDS {
        return Err(ApiError::bad_request(format!(
            "ids: expected 1 to {MOST_IDS} ids of events"
        )));
    }
    let count = many(ids.len() as u64, "event");
    Ok(html! {
        form method="dialog" data-method="POST" data-path="api/events/{id}/replay" data-ids=(ids.join(" "))
            data-done={ (count) " handed over again" } {
            h2 { "Replay " (count) }
            (to(names, None))
            (buttons(&count))
        }
    })
}

/// All events that match.
async fn of_filter(state: &AdminState, asked: &Asked, names: &[&str]) -> Result<Markup, ApiError> {
    let request = ReplayRequest {
        session: asked.session.clone(),
        event: asked.event.clone(),
        from: asked.from.clone(),
        to: asked.to.clone(),
        ..ReplayRequest::default()
    };
    let (_, events) = matching(state, &request).await?;
    let count = many(events.len() as u64, "event");
    let asked_for = [
        ("session", &asked.session),
        ("event", &asked.event),
        ("from", &asked.from),
        ("to", &asked.to),
    ];
    let pairs = asked_for.map(|(name, value)| (name, value.as_deref()));
    let what = pairs
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
    let what: Vec<String> = what.collect();
    let matching = with_query("events", &pairs);
    Ok(html! {
        form method="dialog" data-method="POST" data-path="api/replay" data-done={ "The replay of " (count) " has begun." } {
            h2 { "Replay " (count) }
            p.quiet {
                @if what.is_empty() { "Every event that is kept" } @else { "Every event of " (what.join(", ")) }
                ", oldest first. " a href=(matching) { "Show them" }
            }
            @for (name, value) in pairs { @if let Some(value) = value { input type="hidden" name=(name) value=(value); } }
            (to(names, asked.consumer.as_deref()))
            label { "Events a second (empty = as fast as it can)" input name="rate" type="number" min="1" max="1000000"; }
            @if events.is_empty() {
                div.end { button type="button" data-close { "Close" } }
            } @else { (buttons(&count)) }
        }
    })
}

/// Which consumer gets them.
fn to(names: &[&str], chosen: Option<&str>) -> Markup {
    html! {
        label { "To"
            select name="consumer" {
                @if chosen.is_none() { option value="" { "all " (names.len()) " consumers" } }
                @for name in names { option value=(name) selected[chosen == Some(name)] { (short_name(name)) } }
            }
        }
        p.quiet { "Attempts start again at 1. Receivers see the header offhook-replay, and the same ids as before." }
    }
}

fn buttons(count: &str) -> Markup {
    html! {
        output role="alert" {}
        div.end {
            button type="button" data-close { "Cancel" }
            button.go type="submit" data-label={ "Replay " (count) " to {to}" } { "Replay " (count) }
        }
    }
}

/// The button that cancels a replay that runs.
pub(super) fn cancel(one: &Value, role: Role) -> Markup {
    let (id, left) = (one["id"].as_str().unwrap_or_default(), left(one));
    let act = Act {
        name: "Cancel",
        ask: format!(
            "{} that are not handed over yet are left out.",
            many(left, "event")
        ),
        say: format!("Cancel {}", many(left, "event")),
        typed: None,
        calls: vec![call("DELETE", format!("api/replays/{id}"), &json!(null))],
        then: None,
    };
    act.button(role)
}

fn left(one: &Value) -> u64 {
    let number = |key: &str| one[key].as_u64().unwrap_or_default();
    number("matched").saturating_sub(number("handed_over"))
}

/// So many events can be replayed one by one.
const MOST_IDS: usize = 100;
