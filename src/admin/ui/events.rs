//! Events: what was received, newest first. The filter is the address.

use actix_web::{HttpResponse, web};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use maud::{Markup, html};

use super::parts::{Page, time, with_query};
use super::rows::Rows;
use crate::admin::error::ApiError;
use crate::admin::events::{self, EventQuery};
use crate::admin::role::Role;
use crate::admin::state::State;
use crate::admin::states::EventState;
use crate::{EventKind, Timestamp};

/// `GET /ui/events`
pub(super) async fn page(
    state: State,
    role: Role,
    query: web::Query<EventQuery>,
) -> Result<HttpResponse, ApiError> {
    let mut query = query.into_inner();
    query.limit = None;
    let mut shown = Filter::of(&query);
    let (head, now) = (state.head(), state.clock.now());
    let found = async {
        query.from = moment("From", query.from.take(), now)?;
        query.to = moment("To", query.to.take(), now)?;
        shown = Filter::of(&query);
        events::find(&state, role, query).await
    };
    let (found, states) = match found.await {
        Ok(found) => found,
        Err(error) if error.is_bad_request() => {
            // The rest of what was asked for is not lost.
            shown.before = None;
            let content = html! {
                div.head { h1 { "Events" } }
                (shown.form(role))
                p.note.is-bad role="alert" { (error) }
            };
            return Ok(Page::new("Events").answer(&state, &content).await);
        }
        Err(error) => return Err(error),
    };
    let rows = Rows::read(&state, role, found.events, states).await?;
    let unknown = shown.value("source");
    let unknown = unknown.and_then(|source| state.check_source(source).err());
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
        @if rows.is_empty() {
            p { "Nothing matches." @if let Some(at) = found.searched_to { " Looked back to " (time(at)) "." } }
            @if let Some(unknown) = unknown { p.quiet { (unknown) } }
        } @else {
            (rows.table())
        }
        p {
            @if shown.before.is_some() { a.button rel="prev" href=(shown.link(None)) { "Newest" } " " }
            @if let Some(next) = found.next {
                a.button rel="next" href=(shown.link(Some(&next.to_string()))) {
                    @if rows.is_empty() { "Look further back" } @else { "Older" }
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
                (field("From (UTC)", "from", "", "15:07 or 2h", self.value("from")))
                (field("To (UTC)", "to", "", "15:07 or 2h", self.value("to")))
                button type="submit" { "Filter" }
            }
        }
    }
}

/// A time as people type it: whole, a date, a time of today, or how long ago.
fn moment(field: &str, text: Option<String>, now: Timestamp) -> Result<Option<String>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let of_day = || {
        let whole = text.parse::<DateTime>().ok();
        let today = || {
            Some(
                Offset::UTC
                    .to_datetime(now)
                    .date()
                    .to_datetime(text.parse().ok()?),
            )
        };
        Offset::UTC.to_timestamp(whole.or_else(today)?).ok()
    };
    let ago = || now.checked_sub(humantime::parse_duration(&text).ok()?).ok();
    let at = text.parse::<Timestamp>().ok().or_else(of_day).or_else(ago);
    let at = at.ok_or_else(|| {
        ApiError::bad_request(format!(
            "{field}: found {text:?}, expected a time such as 2026-01-08T12:00:00Z, a date, a time of today (UTC) such as              15:07, or how long ago, such as 2h"
        ))
    })?;
    Ok(Some(at.to_string()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_type_them() {
        let now: Timestamp = "2026-11-27T15:30:10.5Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-27T15:07:03Z", "2026-11-27T15:07:03Z"),
            ("2026-11-27T15:07:03+01:00", "2026-11-27T14:07:03Z"),
            ("2026-11-27T15:07:03", "2026-11-27T15:07:03Z"),
            ("2026-11-27 15:07", "2026-11-27T15:07:00Z"),
            ("2026-11-26", "2026-11-26T00:00:00Z"),
            ("15:07", "2026-11-27T15:07:00Z"),
            ("15:07:03", "2026-11-27T15:07:03Z"),
            ("2h", "2026-11-27T13:30:10Z"),
            ("1day 30m", "2026-11-26T15:00:10Z"),
        ] {
            let at = moment("From", Some(text.to_owned()), now).unwrap();
            assert_eq!(at.as_deref(), Some(expected), "{text}");
        }
        for odd in ["yesterday", "2", "25:00", "2026-13-01", "-2h"] {
            let error = moment("From", Some(odd.to_owned()), now).unwrap_err();
            assert!(error.to_string().starts_with("From: found"), "{error}");
        }
        assert_eq!(moment("To", Some(String::new()), now).unwrap(), None);
    }
}
