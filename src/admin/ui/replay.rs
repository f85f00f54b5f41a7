//! What a replay would hand over to each consumer, before it is asked for. The button asks for what is shown, and
//! for nothing else.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use super::parts::{
    Act, ago, call, fact, fragment, many, number, short_name, size, time, with_query,
};
use crate::admin::error::ApiError;
use crate::admin::plans::Plan;
use crate::admin::preview::Preview;
use crate::admin::replay::{ReplayRequest, Shown, shown};
use crate::admin::role::Role;
use crate::admin::state::State;
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
    rate: Option<u32>,
}

/// `GET /ui/replay`
pub(super) async fn form(
    state: State,
    role: Role,
    query: web::Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    role.check_change()?;
    let asked = query.into_inner();
    let consumers = state.pipeline()?.consumers();
    let names: Vec<&str> = consumers.iter().map(ConsumerControls::name).collect();
    let request = asked.request();
    let found = shown(&state, &request).await?;
    let count = many(found.matched as u64, "event");
    let receiver = asked.consumer.as_deref().map_or_else(
        || format!("all {} consumers", names.len()),
        |name| short_name(name).to_owned(),
    );
    let body = json!({ "plan": found.plan, "expected": found.matched });
    Ok(fragment(html! {
        form method="dialog" data-method="POST" data-path="api/replay" data-body=(body) data-preview=(asked.address())
            data-done={ "The replay of " (count) " has begun." } {
            h2 { "Replay " (count) " to " (receiver) }
            @if asked.ids.is_none() { p.quiet { (of_filter(&found.plan)) } }
            (what(&found))
            label { "To"
                select name="consumer" {
                    option value="" { "all " (names.len()) " consumers" }
                    @for name in names { option value=(name) selected[asked.consumer.as_deref() == Some(name)] { (short_name(name)) } }
                }
            }
            label { "Events a second (empty = as fast as it can)"
                input name="rate" type="number" min="1" max="1000000" value=[asked.rate];
            }
            p.quiet { "Attempts start again at 1. Receivers see the header offhook-replay, and the same ids as before." }
            output role="alert" {}
            div.end {
                button type="button" data-close { "Cancel" }
                @if found.matched > 0 { button.go type="submit" { "Replay " (count) " to " (receiver) } }
            }
        }
    }))
}

impl Asked {
    fn request(&self) -> ReplayRequest {
        let ids = self.ids.as_ref().map(|ids| {
            let ids = ids.split(',').filter(|id| !id.is_empty());
            ids.map(str::to_owned).collect()
        });
        ReplayRequest {
            consumer: self.consumer.clone(),
            session: self.session.clone(),
            event: self.event.clone(),
            ids,
            from: self.from.clone(),
            to: self.to.clone(),
            rate: self.rate,
            ..ReplayRequest::default()
        }
    }

    /// Where the same events are shown for another consumer or rate.
    fn address(&self) -> String {
        let pairs = [
            ("ids", &self.ids),
            ("session", &self.session),
            ("event", &self.event),
            ("from", &self.from),
            ("to", &self.to),
        ];
        with_query(
            "ui/replay",
            &pairs.map(|(name, value)| (name, value.as_deref())),
        )
    }
}

/// Which events, in words.
fn of_filter(plan: &Plan) -> Markup {
    let [from, to] = [plan.from, plan.to].map(|at| at.map(|at| at.to_string()));
    let pairs = [
        ("session", plan.session.as_deref()),
        ("event", plan.event.as_deref()),
        ("from", from.as_deref()),
        ("to", to.as_deref()),
    ];
    let asked = pairs[..3].iter();
    let words = asked.filter_map(|(name, value)| Some(format!("{name} {}", (*value)?)));
    let words: Vec<String> = words.collect();
    html! {
        @if words.is_empty() { "Every event that is kept" } @else { "Every event of " (words.join(", ")) }
        @if let Some(to) = plan.to { " up to " (time(to)) }
        ", oldest first. " a href=(with_query("events", &pairs)) { "Show them" }
    }
}

/// What would be handed over, and which consumers get it.
fn what(found: &Shown) -> Markup {
    let preview = &found.preview;
    let received = match (preview.oldest, preview.newest) {
        (Some(oldest), Some(newest)) if oldest != newest => {
            Some(html! { (time(oldest)) " to " (time(newest)) })
        }
        (oldest, _) => oldest.map(time),
    };
    let takes = preview.takes_s.map(|seconds| many(seconds, "second"));
    html! {
        dl.facts {
            (fact("Received", received))
            (fact("Size", Some(size(preview.bytes))))
            (fact("Conversations", preview.conversations.map(|count| number(count as u64))))
            (fact("Now", Some(state_of(preview)).filter(|_| found.matched > 0)))
            (fact("Takes", takes))
            @for one in &preview.by_consumer {
                (fact(short_name(&one.name), Some(format!("wants {}", many(one.would_get, "event")))))
            }
            (fact("And", Some(preview.more_consumers).filter(|more| *more > 0).map(|more| many(more as u64, "more consumer"))))
            (fact("Good until", Some(ago(found.expires_at))))
        }
    }
}

fn state_of(preview: &Preview) -> String {
    let counts = [
        (preview.done, "done"),
        (preview.pending, "pending"),
        (preview.dead, "dead"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let words: Vec<String> = counts
        .map(|(count, word)| format!("{} {word}", number(*count)))
        .collect();
    words.join(", ")
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
        call: call("DELETE", format!("api/replays/{id}"), &json!(null)),
        then: None,
        told: None,
    };
    act.button(role)
}

fn left(one: &Value) -> u64 {
    let number = |key: &str| one[key].as_u64().unwrap_or_default();
    number("matched").saturating_sub(number("handed_over"))
}
