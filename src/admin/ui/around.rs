//! What is around an event: for which consumers it waits, its duplicates, and its neighbours in its session.

use maud::{Markup, html};

use super::parts::{
    beginning, consumer_link, many, short_name, state as state_of, time, with_query,
};
use crate::admin::consumers;
use crate::admin::error::ApiError;
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
pub(super) async fn others(state: &AdminState, event: &EventEntry) -> Result<Markup, ApiError> {
    let search = state.search()?;
    let filter = || EventFilter {
        session: event.session.clone(),
        ..EventFilter::default()
    };
    let later = EventFilter {
        kind: Some(event.kind),
        from: Some(event.at),
        ..filter()
    };
    let same = search.newest(later, MOST_LOOKED_AT).await?;
    let same = same
        .iter()
        .filter(|other| other.duplicate_of == Some(event.id));
    let same: Vec<&EventEntry> = same.take(MOST_SHOWN).collect();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    if event.session.is_some() {
        let older = EventFilter {
            before: Some(event.id),
            ..filter()
        };
        before = search.newest(older, EACH_SIDE).await?;
        let newer = EventFilter {
            from: Some(event.at),
            ..filter()
        };
        let found = search.positions(newer, 2 * EACH_SIDE).await?;
        after = search.by_positions(found).await?;
        after.retain(|other| other.id > event.id);
        after.truncate(EACH_SIDE);
    }
    let session = event.session.as_deref();
    Ok(html! {
        @if !same.is_empty() {
            h2 { "The same again" }
            (list(same.into_iter()))
        }
        @if !before.is_empty() || !after.is_empty() {
            h2 { "Around it in " a href=(with_query("events", &[("session", session)])) { "its session" } }
            (list(before.iter().rev().chain([event]).chain(&after)))
        }
    })
}

fn list<'a>(events: impl Iterator<Item = &'a EventEntry>) -> Markup {
    html! {
        ul.plain {
            @for event in events {
                @let name = event.name.as_deref().unwrap_or(event.kind.as_str());
                li { a href={ "events/" (event.id) } { (time(event.at)) } " " bdi { (beginning(name, 64)) } @if event.is_duplicate { " " small { "duplicate" } } }
            }
        }
    }
}

const MOST_SHOWN: usize = 20;

/// So many events before it are shown, and as many after it.
const EACH_SIDE: usize = 3;

/// Duplicates are found among so many newest events of the session.
const MOST_LOOKED_AT: usize = 500;
