//! Event: one event, what has happened to it, and what it says.

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde::de::IgnoredAny;

use super::parts::{Page, copied, fact, fitting, plain, size, state as state_of, time, with_query};
use super::{around, pretty, timeline};
use crate::Received;
use crate::admin::error::ApiError;
use crate::admin::event::{DeletedEvent, EventDetails, FoundEvent, details, peer};
use crate::admin::role::Role;
use crate::admin::state::State;
use crate::index::EventEntry;
use crate::signature::TEST;

/// `GET /ui/events/{id}`
pub(super) async fn page(
    state: State,
    role: Role,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let found = match details(&state, role, &id).await? {
        FoundEvent::Kept(found) => found,
        FoundEvent::Deleted(left) => return Ok(deleted(&state, &left).await),
    };
    let event = &found.listed.event;
    let id = event.id.to_string();
    let content = html! {
        div.head {
            h1 { (event.kind.as_str()) " " span.mono { (&id[..13]) } }
            (state_of(found.listed.state.name()))
            @if is_test(&found) { span.state.is-idle { "test" } }
            span.end {
                @if role.may_change() && event.in_journal().is_some() {
                    button type="button" data-replay { "Replay" }
                }
                @if found.received().is_some() {
                    a.button href={ "api/events/" (id) "/body" } data-download=(id) { "Download body" }
                }
                (copied("Copy id", &id))
                (copied("Copy command", &format!("offhook events {id}")))
            }
        }
        @let peer = found.typed.first().and_then(peer);
        (facts(event, peer))
        (around::waits(&state, event).await?)
        h2 { "Timeline" }
        (timeline::picture(&found.timeline))
        (timeline::table(&found.timeline))
        h2 { "Body" }
        (body(&found))
        @if let Some(received) = found.received() { (headers(received)) }
        (around::others(&state, role, event).await?)
    };
    let title = format!("{} {}", event.kind.as_str(), &id[..13]);
    let page = Page {
        id: Some(event.id),
        stream: event.in_journal().map(|_| {
            let session = event.session.as_deref();
            with_query(
                "api/stream",
                &[("kinds", Some("state,replay")), ("session", session)],
            )
        }),
        ..Page::new(title)
    };
    Ok(page.answer(&state, &content).await)
}

/// Whether offhook has made it, for a test.
fn is_test(found: &EventDetails) -> bool {
    let headers = found
        .received()
        .into_iter()
        .flat_map(|received| &received.headers);
    headers.into_iter().any(|(name, _)| name == TEST)
}

async fn deleted(state: &State, left: &DeletedEvent) -> HttpResponse {
    let content = html! {
        div.head { h1 { "Deleted event " span.mono { (left.id) } } }
        p { "An administrator has deleted it " (time(left.deleted_at)) ". Its id and its times are left." }
        h2 { "Timeline" }
        (timeline::picture(&left.timeline))
        (timeline::table(&left.timeline))
    };
    Page::new("Deleted event").answer(state, &content).await
}

fn facts(event: &EventEntry, peer: Option<&str>) -> Markup {
    let of_session = |session: &String| with_query("events", &[("session", Some(session))]);
    let chat = |peer: &str| {
        let pairs = [("session", event.session.as_deref()), ("peer", Some(peer))];
        html! { a href=(with_query("conversations", &pairs)) { bdi { (plain(peer)) } } }
    };
    html! {
        dl.facts {
            (fact("Id", Some(html! { span.mono { (event.id) } })))
            (fact("Received", Some(time(event.at))))
            (fact("Source", Some(&event.source)))
            (fact("Session", event.session.as_ref().map(|session| html! { a href=(of_session(session)) { bdi { (plain(session)) } } })))
            (fact("Name", event.name.as_ref().map(|name| html! { bdi { (plain(name)) } })))
            (fact("Conversation", peer.map(chat)))
            (fact("Size", Some(size(event.bytes))))
            (fact("Odd", event.odd.as_ref().map(|why| html! { span.is-warn { (why) } })))
            (fact("Same as", event.duplicate_of.map(|id| html! { a href={ "events/" (id) } { (id) } })))
        }
    }
}

fn body(found: &EventDetails) -> Markup {
    if found.received().is_none() {
        let why = match found {
            found if found.body_hidden => {
                "Bodies are shown to the administrator only ([admin] show_bodies)."
            }
            found if found.damaged => {
                "What is on the disk is not what was written, so it is not shown and never handed over."
            }
            found if found.listed.event.in_journal().is_none() => {
                "The body of a duplicate is not stored; it is the same as the event above."
            }
            _ => "The body is not in the journal any more.",
        };
        return html! { p.quiet { (why) } };
    }
    let content = &found.content[..];
    let shown = &content[..content.len().min(MOST_SHOWN)];
    let is_json =
        content.len() <= MOST_SHOWN && serde_json::from_slice::<IgnoredAny>(content).is_ok();
    let indented = std::str::from_utf8(content)
        .ok()
        .filter(|_| is_json)
        .map(pretty::json);
    html! {
        @if content.len() > MOST_SHOWN {
            p.quiet { "The first " (size(MOST_SHOWN as u64)) " of " (size(content.len() as u64)) "." }
        }
        @match (indented, std::str::from_utf8(shown)) {
            (Some(indented), raw) => {
                pre.wrap tabindex="0" { (fitting(&indented, MOST_ESCAPED)) }
                details { summary { "As it came" } pre.wrap { (fitting(raw.unwrap_or_default(), MOST_ESCAPED)) } }
            }
            (None, Ok(text)) => pre.wrap tabindex="0" { (fitting(text, MOST_ESCAPED)) },
            (None, Err(error)) if error.error_len().is_none() => pre.wrap tabindex="0" { (fitting(&String::from_utf8_lossy(shown), MOST_ESCAPED)) },
            (None, Err(_)) => pre tabindex="0" { (hex(shown)) },
        }
    }
}

/// Bytes that are no text: 16 a line, as numbers and as characters.
fn hex(bytes: &[u8]) -> String {
    let lines = bytes
        .chunks(16)
        .take(MOST_HEX_LINES)
        .enumerate()
        .map(|(index, line)| {
            let numbers: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let visible = |byte: &u8| {
                if byte.is_ascii_graphic() {
                    char::from(*byte)
                } else {
                    '.'
                }
            };
            let text: String = line.iter().map(visible).collect();
            format!("{:06x}  {:<48} {text}\n", index * 16, numbers.join(" "))
        });
    lines.collect()
}

fn headers(received: &Received) -> Markup {
    html! {
        @if !received.headers.is_empty() {
            h2 { "Headers" }
            dl.facts {
                @for (name, value) in &received.headers {
                    dt { (name) }
                    dd.mono { bdi { (plain(&String::from_utf8_lossy(value))) } }
                }
            }
        }
    }
}

/// So much of a body is shown; all of it can be downloaded.
const MOST_SHOWN: usize = 64 * 1024;

/// A fragment has at most 256 KiB, and a text is in it twice: indented, and as it came.
const MOST_ESCAPED: usize = 96 * 1024;
const MOST_HEX_LINES: usize = 1024;
