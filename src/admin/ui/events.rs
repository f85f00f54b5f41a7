//! Events: what was received, newest first. The filter is the address.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use maud::{Markup, html};

use super::parts::{Page, Tone, beginning, short_name, size, state as state_of, time, with_query};
use crate::admin::decoding::with_events;
use crate::admin::error::ApiError;
use crate::admin::events::{self, EventQuery, EventState, ShownEvent};
use crate::admin::role::Role;
use crate::admin::state::State;
use crate::dispatch::{EventStates, events_of, find};
use crate::engine::Pipeline;
use crate::index::EventEntry;
use crate::journal::DeadLetter;
use crate::{Event, EventKind};

/// `GET /ui/events`
pub(super) async fn page(
    state: State,
    role: Role,
    query: web::Query<EventQuery>,
) -> Result<HttpResponse, ApiError> {
    let mut query = query.into_inner();
    query.limit = None;
    let shown = Filter::of(&query);
    let head = state.head();
    let found = events::find(&state, role, query).await?;
    let pipeline = state.pipeline()?;
    let rows = Rows::read(pipeline, role, found.events).await?;
    let content = html! {
        div.head {
            h1 { "Events" }
            @if shown.stream().is_some() {
                button #live type="button" aria-pressed="true" { "Live" }
                button #newer type="button" hidden data-say=[shown.is_narrower().then_some("newer")] {}
            }
            span.end {
                (shown.replay_all(role))
                @if role.may_change() { button type="button" data-replay { "Replay selected " b #selected {} } }
            }
        }
        (shown.form(role))
        @if rows.events.is_empty() {
            p { "Nothing matches." @if let Some(at) = found.searched_to { " Looked back to " (time(at)) "." } }
        } @else {
            (rows.table())
        }
        p {
            @if shown.before.is_some() { a.button rel="prev" href=(shown.link(None)) { "Newest" } " " }
            @if let Some(next) = found.next {
                a.button rel="next" href=(shown.link(Some(&next.to_string()))) {
                    @if rows.events.is_empty() { "Look further back" } @else { "Older" }
                }
            }
        }
    };
    let page = Page {
        stream: shown.stream(),
        after: head,
        ..Page::new("Events")
    };
    Ok(page.answer(&state, &content).await)
}

/// What is asked for, for the form and the links: the keys of the query with their values.
struct Filter {
    asked: Vec<(&'static str, String)>,
    before: Option<String>,
}

impl Filter {
    fn of(query: &EventQuery) -> Self {
        let state = query.state.map(|state| state.name().to_owned());
        let all = [
            ("session", query.session.clone()),
            ("source", query.source.clone()),
            ("event", query.event.clone()),
            ("name", query.name.clone()),
            ("contains", query.contains.clone()),
            ("state", state),
            ("from", query.from.clone()),
            ("to", query.to.clone()),
        ];
        let asked = all
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        Self {
            asked: asked.filter(|(_, value)| !value.is_empty()).collect(),
            before: query.before.clone(),
        }
    }

    fn value(&self, key: &str) -> Option<&str> {
        let found = self.asked.iter().find(|(asked, _)| *asked == key);
        found.map(|(_, value)| &**value)
    }

    /// A path with these keys of the filter, and more.
    fn path(&self, path: &str, keys: &[&str], more: Option<(&str, &str)>) -> String {
        let asked = self.asked.iter().filter(|(key, _)| keys.contains(key));
        let asked = asked.map(|(key, value)| (*key, Some(&**value)));
        let all: Vec<_> = asked
            .chain(more.map(|(key, value)| (key, Some(value))))
            .collect();
        with_query(path, &all)
    }

    /// The page of the same filter before an event.
    fn link(&self, before: Option<&str>) -> String {
        self.path("events", &KEYS, before.map(|before| ("before", before)))
    }

    /// Where newer events come from, for the first page.
    fn stream(&self) -> Option<String> {
        let is_open = self.before.is_none() && self.value("to").is_none();
        is_open.then(|| self.path("api/stream", &OF_STREAM, Some(("kinds", "event,state"))))
    }

    /// Whether not all events of the stream match.
    fn is_narrower(&self) -> bool {
        let mut keys = self.asked.iter().map(|(key, _)| key);
        keys.any(|key| !OF_STREAM.contains(key))
    }

    /// Replays what matches, where the API's replay knows the whole filter.
    fn replay_all(&self, role: Role) -> Markup {
        let known = ["session", "event", "from", "to"];
        let is_known = self.asked.iter().all(|(key, _)| known.contains(key));
        html! {
            @if role.may_change() && is_known && !self.asked.is_empty() {
                a.button data-panel href=(self.path("ui/replay", &known, None)) { "Replay all that match" }
            }
        }
    }

    fn form(&self, role: Role) -> Markup {
        let kinds = EventKind::ALL.map(EventKind::as_str);
        html! {
            form.filter action="events" role="search" {
                (field("Session", "session", "wide", "", self.value("session")))
                (field("Source", "source", "", "", self.value("source")))
                (choice("Kind", "event", &kinds, self.value("event")))
                (choice("State", "state", &EventState::NAMES, self.value("state")))
                (field("Name", "name", "", "", self.value("name")))
                @if role.sees_bodies() { (field("Body contains", "contains", "", "", self.value("contains"))) }
                (field("From (UTC)", "from", "", "2026-01-08T12:00:00Z", self.value("from")))
                (field("To (UTC)", "to", "", "2026-01-08T13:00:00Z", self.value("to")))
                button type="submit" { "Filter" }
            }
        }
    }
}

/// The keys of a filter.
const KEYS: [&str; 8] = [
    "session", "source", "event", "name", "contains", "state", "from", "to",
];

/// Those that the stream has, too.
const OF_STREAM: [&str; 3] = ["session", "source", "event"];

fn field(label: &str, name: &str, class: &str, example: &str, value: Option<&str>) -> Markup {
    html! {
        label { (label)
            input class=(class) name=(name) value=[value] placeholder=(example) autocomplete="off" spellcheck="false";
        }
    }
}

/// A field with a few values, or any.
fn choice(label: &str, name: &str, values: &[&str], chosen: Option<&str>) -> Markup {
    html! {
        label { (label)
            select name=(name) {
                option value="" { "any" }
                @for value in values { option value=(value) selected[chosen == Some(value)] { (value) } }
            }
        }
    }
}

/// The rows of a list, with what each consumer has done.
pub(super) struct Rows {
    pub(super) events: Vec<ShownEvent>,
    /// What each body begins with; `None` where a viewer must not see it.
    beginnings: Vec<Option<String>>,
    /// Each consumer with its states, over all shares.
    consumers: Vec<(String, Vec<EventStates>)>,
    dead: Vec<(String, DeadLetter)>,
}

impl Rows {
    pub(super) async fn read(
        pipeline: &Pipeline,
        role: Role,
        events: Vec<ShownEvent>,
    ) -> Result<Self, ApiError> {
        let consumers = pipeline.consumers();
        let states = join_all(consumers.iter().map(|consumer| consumer.events())).await;
        let names = consumers.iter().map(|consumer| consumer.name().to_owned());
        let entries: Vec<EventEntry> = events.iter().map(|shown| shown.event.clone()).collect();
        let dead = events::dead_letters(pipeline, &entries).await?;
        let mut beginnings = Vec::new();
        for event in &entries {
            let text = if role.sees_bodies() {
                text(pipeline, event).await
            } else {
                None
            };
            beginnings.push(text.map(|text| beginning(&text, 80)));
        }
        Ok(Self {
            events,
            beginnings,
            consumers: names.zip(states).collect(),
            dead,
        })
    }

    fn table(&self) -> Markup {
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
                td.dots { (self.states(event, *state)) }
            }
        }
    }

    /// The event's state as a word, and a dot for each consumer; of many the worst first.
    fn states(&self, event: &EventEntry, state: EventState) -> Markup {
        if state == EventState::Duplicate {
            return html! { span.quiet { "duplicate" } };
        }
        let mut states: Vec<(Tone, &str, &str)> = self
            .consumers
            .iter()
            .map(|(name, states)| {
                let dead: Vec<_> = self
                    .dead
                    .iter()
                    .filter(|(by, _)| by == name)
                    .cloned()
                    .collect();
                let word = EventState::of(event, states, &dead).name();
                (Tone::of(word), short_name(name), word)
            })
            .collect();
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
        Some(String::from_utf8_lossy(&content[..content.len().min(400)]).into_owned())
    })
}

/// The words of a typed event.
pub(super) fn said(event: &Event) -> Option<String> {
    match event {
        Event::Message(message) => {
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
