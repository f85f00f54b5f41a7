//! Consumer: one of them, with what it holds up, why it fails, and what can be done about it.

use std::collections::BTreeSet;

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::bars::{Row, bars};
use super::parts::{
    Act, Page, ago, beginning, call, count, fact, many, segment, short_name, state as state_of,
    time_in, when, with_query,
};
use super::{subscription, toml};
use crate::Timestamp;
use crate::admin::consumers;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::{AdminState, State};
use crate::clock::{Clock as _, SystemClock};
use crate::relay::RegisteredSubscription;
use crate::telemetry::Window;

/// `GET /ui/consumers/{name}`
pub(super) async fn page(
    state: State,
    role: Role,
    name: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let head = state.head();
    let one = consumers::one(&state, role, &name).await?;
    let word = one["state"].as_str().unwrap_or("unknown");
    let subscription = subscription::find(&state, &name);
    let content = html! {
        div.head {
            h1 { (short_name(&name)) }
            (state_of(word))
            span.end.actions { (actions(&one, subscription.as_ref(), role)) }
        }
        (reasons(&one))
        dl.facts {
            (fact("Name", Some(html! { span.mono { (name) } })))
            (fact("Lag", one["lag"].as_u64().map(|lag| many(lag, "event"))))
            (fact("Oldest waiting", oldest_waiting(&one)))
            (fact("Running", one["in_flight"].as_u64()))
            (fact("Waiting for a retry", one["retrying"].as_u64()))
            (fact("In memory", one["in_memory"].as_u64()))
            (fact("Faults of offhook", one["panics"].as_u64().filter(|count| *count > 0)))
            @if let Some(entry) = &subscription { (subscription::facts(entry)) }
        }
        (over_time(&state, &name, one["lag"].as_u64()))
        (failures(&one["failures"], state.clock.now()))
        (held_up(&one))
        (options(&one["options"]))
        p { a href=(with_query("dead", &[("consumer", Some(&name))])) { "Dead letters of " (short_name(&name)) } }
    };
    let page = Page {
        stream: Some("api/stream?kinds=consumer,state,event,replay".to_owned()),
        after: head,
        ..Page::new(short_name(&name))
    };
    Ok(page.answer(&state, &content).await)
}

/// Events that are handed over again are older than what it has come to.
fn oldest_waiting(one: &Value) -> Option<Markup> {
    let is_again = one["lag"].as_u64().is_some_and(|lag| lag > 0);
    let of_replay = is_again.then(|| html! { span.quiet { "only events of a replay" } });
    time_in(&one["oldest_waiting"], ago).or(of_replay)
}

/// Why it does not hand over, where it does not.
fn reasons(one: &Value) -> Markup {
    let suspended = &one["suspended"];
    html! {
        @if let Some(reason) = one["failing_reason"].as_str() {
            p.note.is-bad { "Failing since " (when(&one["failing_since"])) ": " (reason) }
        }
        @if let Some(reason) = suspended["reason"].as_str() {
            p.note.is-bad { "Suspended " (when(&suspended["since"])) ": " (reason) ". Nothing is lost within retention; resume it when it works again." }
        }
        @if let Some(reason) = one["ended"]["reason"].as_str() {
            p.note { "Ended " (when(&one["ended"]["at"])) ": " (reason) }
        }
    }
}

fn actions(one: &Value, subscription: Option<&RegisteredSubscription>, role: Role) -> Markup {
    let name = one["name"].as_str().unwrap_or_default();
    let (short, path) = (short_name(name), format!("api/consumers/{}", segment(name)));
    let word = one["state"].as_str().unwrap_or_default();
    let waiting = many(one["lag"].as_u64().unwrap_or_default(), "event");
    let resume = Act {
        name: "Resume",
        ask: format!(
            "{waiting} wait for {short}. They are handed over in order, as fast as it takes them."
        ),
        say: format!("Resume {short}"),
        typed: None,
        call: call("POST", format!("{path}/resume"), &json!({})),
        then: None,
        told: None,
    };
    let pause = Act {
        name: "Pause",
        ask: format!(
            "{short} gets nothing until it is resumed. Events wait for it, as long as retention keeps them."
        ),
        say: format!("Pause {short}"),
        call: call("POST", format!("{path}/pause"), &json!({})),
        typed: None,
        then: None,
        told: None,
    };
    let is_stopped = matches!(word, "paused" | "suspended" | "ended" | "inactive");
    html! {
        @if is_stopped { (resume.button(role)) } @else { (pause.button(role)) }
        @if role.may_change() {
            a.button data-panel href=(with_query("ui/replay", &[("consumer", Some(name))])) { "Replay…" }
        }
        (try_now(one, short).button(role))
        @if let Some(entry) = subscription { (subscription::actions(entry, short, role)) }
    }
}

/// Tries what holds up others again, without waiting for its next try.
fn try_now<'a>(one: &Value, short: &str) -> Act<'a> {
    let lists = ["held_up", "sessions"].into_iter();
    let held = lists.flat_map(|key| one[key].as_array().map_or(&[][..], Vec::as_slice));
    let tried = held.filter(|held| !held["next_at"].is_null());
    let events: BTreeSet<&str> = tried.filter_map(|held| held["event"].as_str()).collect();
    let count = many(events.len() as u64, "event");
    let body = json!({ "consumer": one["name"], "ids": events, "expected": events.len() });
    Act {
        name: "Try now",
        ask: format!(
            "{count} that wait for a retry are tried now, with attempts from 1. What waits behind them follows."
        ),
        say: format!("Hand {count} to {short} now"),
        typed: None,
        call: if events.is_empty() {
            Value::Null
        } else {
            call("POST", "api/replay", &body)
        },
        then: None,
        told: None,
    }
}

/// What was delivered and what has failed in the last hour, and how many events waited.
fn over_time(state: &AdminState, name: &str, waiting: Option<u64>) -> Markup {
    let stats = state
        .metrics
        .stats()
        .consumers(Window::Hour, SystemClock.monotonic());
    let found = stats.into_iter().find(|(one, _)| one == name);
    let Some((_, [delivered, failed, dead, lag])) = found else {
        return html! {};
    };
    let row = |name, class, numbers| Row {
        name,
        class,
        numbers,
        now: None,
    };
    let waiting = Row {
        now: waiting,
        ..row("waiting", "soft", &lag)
    };
    html! {
        h2 { "The last hour" }
        div.columns {
            (bars(&[row("delivered", "plain", &delivered), row("failed", "warn", &failed), row("dead", "bad", &dead)]))
            (bars(&[waiting]))
        }
    }
}

/// The newest failures.
fn failures(list: &Value, now: Timestamp) -> Markup {
    let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
        return html! {};
    };
    html! {
        h2 { "Last failures" }
        table {
            caption.unseen { "The newest failures" }
            thead { tr {
                th scope="col" { "Time" } th scope="col" { "Event" } th.number.wide-only scope="col" { "Attempt" }
                th scope="col" { "Outcome" } th.wide-only scope="col" { "Next try" }
            } }
            tbody {
                @for failure in list {
                    @let event = failure["event"].as_str().unwrap_or_default();
                    tr {
                        td { (when(&failure["at"])) }
                        td { a.row.mono href={ "events/" (segment(event)) } { (event.get(..13).unwrap_or(event)) } }
                        td.number.wide-only { (count(&failure["attempt"])) }
                        td { (beginning(failure["outcome"].as_str().unwrap_or_default(), 200)) }
                        td.wide-only { (when(next_try(&failure["next_at"], now))) }
                    }
                }
            }
        }
    }
}

/// When it is tried again; that of an older attempt was then.
fn next_try(at: &Value, now: Timestamp) -> &Value {
    let time = at.as_str().and_then(|at| at.parse::<Timestamp>().ok());
    match time.is_some_and(|time| time >= now) {
        true => at,
        false => &Value::Null,
    }
}

/// The options that it runs with.
fn options(options: &Value) -> Markup {
    let Value::Object(mut fields) = options.clone() else {
        return html! {};
    };
    fields.retain(|_, value| !value.is_null());
    html! {
        h2 { "Options" }
        pre.wrap tabindex="0" { (toml::text(&fields.into())) }
    }
}

/// The conversations and sessions that wait for an event that is tried again.
fn held_up(one: &Value) -> Markup {
    let lists = [
        ("Held-up conversations", "held_up"),
        ("Sessions with a backlog", "sessions"),
    ];
    html! {
        @for (title, key) in lists {
            @if let Some(list) = one[key].as_array().filter(|list| !list.is_empty()) {
                h2 { (title) }
                table {
                    caption.unseen { (title) }
                    thead { tr {
                        th scope="col" { "Whose" } th scope="col" { "First event" } th.number.wide-only scope="col" { "Attempts" }
                        th scope="col" { "Next try" } th.number scope="col" { "Behind it" }
                    } }
                    tbody { @for held in list.iter().take(MOST_HELD) { (held_row(held)) } }
                }
            }
        }
    }
}

fn held_row(held: &Value) -> Markup {
    let event = held["event"].as_str().unwrap_or_default();
    let whose = held["conversation"].as_str().or(held["session"].as_str());
    html! {
        tr {
            th scope="row" { bdi { (beginning(whose.unwrap_or("–"), 100)) } }
            td { a.row.mono href={ "events/" (segment(event)) } { (event.get(..13).unwrap_or(event)) } }
            td.number.wide-only { (count(&held["attempt"])) }
            td { (when(&held["next_at"])) }
            td.number { (count(if held["behind"].is_null() { &held["waiting"] } else { &held["behind"] })) @if held["more_in_journal"] == true { "+" } }
        }
    }
}

const MOST_HELD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_try_is_in_the_future() {
        let now: Timestamp = "2026-11-27T15:07:03Z".parse().unwrap();
        for (at, is_next) in [
            (json!("2026-11-27T15:07:03Z"), true),
            (json!("2026-11-27T15:07:02Z"), false),
            (Value::Null, false),
        ] {
            assert_eq!(!next_try(&at, now).is_null(), is_next, "{at}");
        }
    }

    #[test]
    fn options_are_as_in_the_settings() {
        let shown =
            options(&json!({ "timeout_s": 10.0, "retry": { "attempts": 4 }, "sessions": null }));
        let shown = shown.into_string();
        assert!(
            shown.contains("timeout_s = 10.0") && shown.contains("retry = { attempts = 4 }"),
            "{shown}"
        );
        assert!(!shown.contains("sessions"), "{shown}");
    }
}
