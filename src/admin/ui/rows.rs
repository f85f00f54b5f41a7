//! The rows of the page Events: each event with its beginning, and with what each consumer has done.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::parts::{Tone, beginning, short_name, size, state as state_of, time};
use crate::Event;
use crate::admin::decoding::with_events;
use crate::admin::error::ApiError;
use crate::admin::events::ShownEvent;
use crate::admin::role::Role;
use crate::admin::state::AdminState;
use crate::admin::states::{EventState, States};
use crate::dispatch::{events_of, find};
use crate::engine::Pipeline;
use crate::index::EventEntry;

/// The rows of a list, with what each consumer has done.
pub(super) struct Rows {
    events: Vec<ShownEvent>,
    /// What each body begins with; `None` where a viewer must not see it.
    beginnings: Vec<Option<String>>,
    /// The consumers that have made an attempt at each.
    tried: Vec<BTreeSet<String>>,
    states: States,
}

impl Rows {
    pub(super) async fn read(
        state: &AdminState,
        role: Role,
        events: Vec<ShownEvent>,
        states: States,
    ) -> Result<Self, ApiError> {
        let (pipeline, search) = (state.pipeline()?, state.search()?);
        let (mut beginnings, mut tried) = (Vec::new(), Vec::new());
        for shown in &events {
            let attempts = match shown.event.in_journal() {
                Some(position) => search.attempts(position).await?,
                None => Vec::new(),
            };
            tried.push(attempts.into_iter().map(|made| made.consumer).collect());
            let text = if role.sees_bodies() {
                text(pipeline, &shown.event).await
            } else {
                None
            };
            beginnings.push(text.map(|text| beginning(&text, 80)));
        }
        Ok(Self {
            events,
            beginnings,
            tried,
            states,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn table(&self) -> Markup {
        html! {
            table.fixed #events {
                caption.unseen { "Events, newest first" }
                thead { tr {
                    th.tick scope="col" { span.unseen { "Select" } }
                    th.w-time scope="col" { "Received" }
                    th.w-source.wide-only scope="col" { "Source" }
                    th.w-session.wide-only scope="col" { "Session" }
                    th.w-kind.wide-only scope="col" { "Kind" }
                    th scope="col" { "Begins with" }
                    th.w-size.number.wide-only scope="col" { "Size" }
                    th.w-dots scope="col" { "State" }
                } }
                tbody { @for index in 0..self.events.len() { (self.row(index)) } }
            }
        }
    }

    fn row(&self, index: usize) -> Markup {
        let ShownEvent { event, state } = &self.events[index];
        let id = event.id.to_string();
        let name = event
            .name
            .as_deref()
            .filter(|name| *name != event.kind.as_str());
        html! {
            tr data-id=(id) {
                td.tick {
                    // A duplicate is not replayed: the event it is the same as is.
                    @if *state != EventState::Duplicate {
                        label { input type="checkbox" value=(id) aria-label={ "Select event " (&id[..13]) }; }
                    }
                }
                td { a.row href={ "events/" (id) } { (time(event.at)) } }
                td.wide-only title=(event.source) { (event.source) }
                td.wide-only title=[event.session.as_ref().map(|session| beginning(session, 200))] { @if let Some(session) = &event.session { bdi { (beginning(session, 64)) } } @else { span.quiet { "–" } } }
                td.wide-only { (event.kind.as_str()) }
                td { div.text {
                    @if let Some(name) = name { span.quiet { bdi { (beginning(name, 64)) } " " } }
                    @if event.odd.is_some() { span.is-warn { "odd " } }
                    @if let Some(text) = &self.beginnings[index] { bdi { (text) } }
                } }
                td.number.wide-only { (size(event.bytes)) }
                td.dots { (self.states(index)) }
            }
        }
    }

    /// The event's state as a word, and a dot for each consumer; of many the worst first. One that has settled it
    /// without an attempt did not want it, or is younger.
    fn states(&self, index: usize) -> Markup {
        let (ShownEvent { event, state }, tried) = (&self.events[index], &self.tried[index]);
        let state = *state;
        if state == EventState::Duplicate {
            return html! { span.quiet { "duplicate" } };
        }
        let each = self.states.of_each(event);
        let each = each.filter(|(name, state)| *state != EventState::Done || tried.contains(*name));
        let each = each.map(|(name, state)| {
            let word = state.name();
            (Tone::of(word), short_name(name), word)
        });
        let mut states: Vec<(Tone, &str, &str)> = each.collect();
        // Otherwise each consumer has the same place in all rows.
        if states.len() > MOST_DOTS {
            states.sort();
        }
        let more = states.len().saturating_sub(MOST_DOTS);
        let title: Vec<String> = states
            .iter()
            .take(20)
            .map(|(_, name, word)| format!("{name}: {word}"))
            .collect();
        html! {
            span title=(title.join("\n")) {
                @if states.is_empty() { (state_of(state.name())) }
                @for (tone, ..) in states.iter().take(MOST_DOTS) { i.dot.(tone.class()) {} }
                @if !states.is_empty() { span.unseen { (state.name()) } }
                @if more > 0 { small { "+" (more) } }
            }
        }
    }
}

/// What an event says, in a few words. A large body is not read for that.
pub(super) async fn text(pipeline: &Pipeline, event: &EventEntry) -> Option<String> {
    let position = event.in_journal()?;
    let record = find(pipeline.journal().as_ref(), position.seq())
        .await
        .ok()??;
    if record.received.body.len() > MOST_READ {
        return None;
    }
    let record = with_events(pipeline, record).await;
    let said = events_of(&record, position.part()).first().map(said);
    said.flatten().or_else(|| {
        let content = if record.received.content.is_empty() {
            &record.received.body
        } else {
            &record.received.content
        };
        let reader = pipeline.decoder().reader(&record.received.source);
        let content = reader.shown(content);
        Some(String::from_utf8_lossy(&content[..content.len().min(400)]).into_owned())
    })
}

/// The words of a typed event.
fn said(event: &Event) -> Option<String> {
    match event {
        Event::Message(message) | Event::Sent(message) | Event::Change(message) => {
            let from = message
                .from
                .as_deref()
                .map(|from| format!("{from}: "))
                .unwrap_or_default();
            let kind = message
                .kind
                .as_ref()
                .map(|kind| kind.as_str())
                .filter(|kind| *kind != "text");
            let kind = kind.map(|kind| format!("[{kind}] ")).unwrap_or_default();
            let action = message.action.as_ref().map(|action| format!("({action}) "));
            let kind = action.unwrap_or_default() + &kind;
            let text = message.message.as_deref().or(message.caption.as_deref());
            Some(format!("{from}{kind}{}", text.unwrap_or_default()))
        }
        Event::Status(status) => {
            let word = status.status.as_ref().map(|status| status.as_str());
            Some(format!(
                "{} {}",
                status.message_id.as_deref()?,
                word.unwrap_or_default()
            ))
        }
        Event::Connection(connection) => Some(connection.status.as_ref()?.as_str().to_owned()),
        _ => None,
    }
}

/// So many consumers have a dot of their own.
const MOST_DOTS: usize = 4;

/// A body of at most so many bytes is read for its beginning.
const MOST_READ: usize = 64 * 1024;
