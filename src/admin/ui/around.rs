//! What is around an event: for which consumers it waits, its duplicates, and its neighbours in its session.

use std::cmp::Reverse;
use std::time::Duration;

use maud::{Markup, html};

use super::parts::{
    beginning, consumer_link, many, short_name, state as state_of, time, with_query,
};
use super::rows;
use crate::admin::consumers;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::AdminState;
use crate::index::{EventEntry, EventFilter};

/// Why an event is not settled: the consumers that have still to get it, and what each does meanwhile.
pub(super) async fn waits(state: &AdminState, event: &EventEntry) -> Result<Markup, ApiError> {
    let Some(position) = event.in_journal() else {
        return Ok(html! {});
    };
    let mut waiting = Vec::new();
    for consumer in state.pipeline()?.consumers() {
        let shares = consumer.events().await;
        let is_open = shares.iter().any(|share| {
            !share.progress.is_settled(position) || share.replaying.contains(position)
        });
        if is_open || (shares.is_empty() && !consumer.is_up()) {
            let is_tried = shares.iter().any(|share| share.retrying.contains(position));
            waiting.push((consumer.name().to_owned(), is_tried));
        }
    }
    if waiting.is_empty() {
        return Ok(html! {});
    }
    let all = consumers::all(state).await?;
    Ok(html! {
        h2 { "Waits for" }
        ul {
            @for (name, is_tried) in waiting.iter().take(MOST_SHOWN) {
                @let one = all.iter().find(|one| one["name"] == name.as_str());
                @let word = one.and_then(|one| one["state"].as_str()).unwrap_or("unknown");
                @let lag = one.and_then(|one| one["lag"].as_u64()).unwrap_or_default();
                li {
                    (consumer_link(name)) " " (state_of(word)) ": "
                    @match (word, is_tried) {
                        (_, true) => "it has failed, and is tried again",
                        ("paused" | "suspended" | "inactive" | "ended", _) => { (short_name(name)) " gets nothing until it is resumed" },
                        ("restarting", _) => "it starts again after a fault of offhook",
                        _ => { "it has " (many(lag, "event")) " to get, and this one waits for its turn in its conversation" },
                    }
                }
            }
        }
    })
}

/// Later events that are the same, and the events before and after it in its session.
pub(super) async fn others(
    state: &AdminState,
    role: Role,
    event: &EventEntry,
) -> Result<Markup, ApiError> {
    let search = state.search()?;
    let filter = || EventFilter {
        session: event.session.clone(),
        ..EventFilter::default()
    };
    let mut same: Vec<EventEntry> = Vec::new();
    for within in WITHIN {
        let later = EventFilter {
            from: Some(event.at),
            to: within.map(|within| event.at + within),
            ..filter()
        };
        let found = search.newest(later, MOST_LOOKED_AT).await?;
        let is_all = found.len() < MOST_LOOKED_AT;
        let of_it = |other: &EventEntry| other.duplicate_of == Some(event.id);
        same.extend(found.into_iter().filter(of_it));
        if is_all {
            break;
        }
    }
    same.sort_by_key(|other| Reverse(other.id));
    same.dedup_by_key(|other| other.id);
    same.truncate(MOST_SHOWN);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    if event.session.is_some() {
        let older = EventFilter {
            before: Some(event.id),
            ..filter()
        };
        before = search.newest(older, EACH_SIDE).await?;
        let newer = EventFilter {
            after: event.in_journal(),
            from: event.is_duplicate.then_some(event.at),
            ..filter()
        };
        let found = search.positions(newer, EACH_SIDE).await?;
        after = search.by_positions(found).await?;
    }
    let around = before.iter().rev().chain([event]).chain(&after);
    let mut neighbours = Vec::new();
    for one in around {
        let text = match role.sees_bodies() {
            true => rows::text(state.pipeline()?, one).await,
            false => None,
        };
        neighbours.push((one, text));
    }
    let session = event.session.as_deref();
    Ok(html! {
        @if !same.is_empty() {
            h2 { "The same again" }
            (list(same.iter().map(|one| (one, None))))
        }
        @if !before.is_empty() || !after.is_empty() {
            h2 { "Around it in " a href=(with_query("events", &[("session", session)])) { "its session" } }
            (list(neighbours.into_iter()))
        }
    })
}

fn list<'a>(events: impl Iterator<Item = (&'a EventEntry, Option<String>)>) -> Markup {
    html! {
        ul.plain {
            @for (event, text) in events {
                @let name = event.name.as_deref().unwrap_or(event.kind.as_str());
                li { a href={ "events/" (event.id) } { (time(event.at)) } " " bdi { (beginning(name, 64)) } @if let Some(text) = text { " " span.quiet { bdi { (beginning(&text, 60)) } } } @if event.is_duplicate { " " small { "duplicate" } } }
            }
        }
    }
}

const MOST_SHOWN: usize = 20;

/// So many events before it are shown, and as many after it.
const EACH_SIDE: usize = 3;

/// Duplicates are found among so many newest events of the session, and where there are more of them, among as many
/// newest ones of shorter times after it: most duplicates come soon.
const MOST_LOOKED_AT: usize = 500;
const WITHIN: [Option<Duration>; 4] = [
    None,
    Some(Duration::from_secs(24 * 3600)),
    Some(Duration::from_secs(3600)),
    Some(Duration::from_secs(60)),
];
