//! Conversations: the sessions, the senders that one has heard of, and one conversation as a chat.
//!
//! Media are shown as their type and caption: nothing is loaded from elsewhere.

use std::cmp::Reverse;

use actix_web::{HttpResponse, web};
use maud::{Markup, html};
use serde::Deserialize;

use super::parts::{Page, beginning, many, number, time, with_query};
use crate::Timestamp;
use crate::admin::conversations::{
    Chat, ChatQuery, MOST_SEARCHED, Mark, Message, PeersQuery, Searched, chat, peers,
};
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::{AdminState, State};
use crate::index::EventFilter;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    session: Option<String>,
    peer: Option<String>,
    before: Option<String>,
}

/// `GET /ui/conversations`
pub(super) async fn page(
    state: State,
    role: Role,
    query: web::Query<Asked>,
) -> Result<HttpResponse, ApiError> {
    let Asked {
        session,
        peer,
        before,
    } = query.into_inner();
    let session = session.filter(|session| !session.is_empty());
    let (is_newest, newest) = (before.is_none(), state.head());
    let content = match (&session, &peer) {
        (Some(session), Some(peer)) => {
            let query = ChatQuery {
                before,
                limit: Some(MOST_MESSAGES),
            };
            let chat = chat(&state, role, (session, peer), &query).await?;
            html! {
                (head(Some(session), Some(peer)))
                (of_peer(session, peer, &chat, query.before.is_some()))
            }
        }
        (Some(session), None) => {
            let query = PeersQuery {
                session: session.clone(),
                before,
            };
            let found = peers(&state, role, &query).await?;
            html! {
                (head(Some(session), None))
                @if found.conversations.is_empty() {
                    p { "This session has no messages within " (number(MOST_SEARCHED as u64)) " events." }
                } @else { (peers_table(session, &found.conversations)) }
                (further(&found.searched, &[("session", Some(session))]))
            }
        }
        (None, _) => {
            let sessions = sessions(&state).await?;
            html! {
                (head(None, None))
                @if sessions.is_empty() { p { "No event names a session yet." } } @else { (sessions_table(&sessions)) }
            }
        }
    };
    let title = peer
        .as_deref()
        .or(session.as_deref())
        .map_or_else(|| "Conversations".to_owned(), |name| beginning(name, 40));
    let page = Page {
        stream: is_newest.then(|| {
            with_query(
                "api/stream",
                &[("kinds", Some("event")), ("session", session.as_deref())],
            )
        }),
        after: newest,
        ..Page::new(title)
    };
    Ok(page.answer(&state, &content).await)
}

fn head(session: Option<&str>, peer: Option<&str>) -> Markup {
    html! {
        div.head {
            h1 { @match (session, peer) {
                (_, Some(peer)) => bdi { (peer) },
                (Some(session), None) => { "Session " bdi { (session) } },
                _ => "Conversations",
            } }
            @if let (Some(session), Some(_)) = (session, peer) {
                a href=(with_query("conversations", &[("session", Some(session))])) { "Session " bdi { (session) } }
            }
            @if let Some(session) = session {
                span.end { a.button href=(with_query("events", &[("session", Some(session))])) { "Events of the session" } }
            }
        }
        @if peer.is_none() {
            form.filter action="conversations" role="search" {
                label { "Session" input.wide name="session" value=[session] autocomplete="off" spellcheck="false"; }
                button type="submit" { "Show" }
            }
        }
    }
}

/// The sessions of the newest events, with the time of the last and how many there are of these.
async fn sessions(state: &AdminState) -> Result<Vec<(String, Timestamp, u64)>, ApiError> {
    let newest = state
        .search()?
        .newest(EventFilter::default(), MOST_LOOKED_AT)
        .await?;
    let mut found: Vec<(String, Timestamp, u64)> = Vec::new();
    for event in newest {
        let Some(session) = event.session else {
            continue;
        };
        match found.iter_mut().find(|(known, ..)| *known == session) {
            Some((_, _, count)) => *count += 1,
            None => found.push((session, event.at, 1)),
        }
    }
    found.sort_by_key(|(_, at, _)| Reverse(*at));
    found.truncate(MOST_SESSIONS);
    Ok(found)
}

fn sessions_table(sessions: &[(String, Timestamp, u64)]) -> Markup {
    html! {
        table {
            caption { "Sessions of the newest " (number(MOST_LOOKED_AT as u64)) " events" }
            thead { tr { th scope="col" { "Session" } th scope="col" { "Last event" } th.number scope="col" { "Events" } } }
            tbody {
                @for (session, at, count) in sessions {
                    tr {
                        th scope="row" { a.row href=(with_query("conversations", &[("session", Some(session))])) { bdi { (session) } } }
                        td { (time(*at)) }
                        td.number { (number(*count)) }
                    }
                }
            }
        }
    }
}

fn peers_table(session: &str, found: &[crate::admin::conversations::Peer]) -> Markup {
    html! {
        table.fixed {
            caption.unseen { "Conversations of the session" }
            thead { tr {
                th.w-session scope="col" { "With" } th.w-time scope="col" { "Last message" } th scope="col" { "Text" }
                th.w-size.number.wide-only scope="col" { "Messages" }
            } }
            tbody {
                @for one in found.iter().take(MOST_SHOWN) {
                    tr {
                        th scope="row" {
                            a.row href=(with_query("conversations", &[("session", Some(session)), ("peer", Some(&one.peer))])) { bdi { (one.peer) } }
                        }
                        td { (time(one.newest.at)) }
                        td { bdi { (beginning(&text(&one.newest), 80)) } }
                        td.number.wide-only { (number(one.messages)) }
                    }
                }
            }
        }
        @if found.len() > MOST_SHOWN { p.quiet { "The newest " (MOST_SHOWN) " of " (many(found.len() as u64, "conversation")) "." } }
    }
}

/// The text of a message; of media its type comes first.
fn text(message: &Message) -> String {
    let kind = message.kind.as_deref().filter(|kind| *kind != "text");
    let kind = kind.map(|kind| format!("[{kind}] ")).unwrap_or_default();
    format!("{kind}{}", message.text.as_deref().unwrap_or_default())
}

/// A text with its lines, or its beginning.
fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(MOST_CHARACTERS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// A bubble of a chat, or a line across it.
enum Entry<'a> {
    Message(&'a Message),
    Connection(&'a Mark),
}

fn of_peer(session: &str, peer: &str, chat: &Chat, is_older: bool) -> Markup {
    let messages = chat
        .messages
        .iter()
        .map(|one| (one.at, Entry::Message(one)));
    let connections = chat
        .connections
        .iter()
        .map(|one| (one.at, Entry::Connection(one)));
    let mut entries: Vec<_> = messages.chain(connections).collect();
    entries.sort_by_key(|(at, _)| *at);
    let pairs = [("session", Some(session)), ("peer", Some(peer))];
    html! {
        (further(&chat.searched, &pairs))
        @if chat.messages.is_empty() { p { "No messages within what was searched." } }
        ol.chat {
            @for (at, entry) in &entries {
                @match entry {
                    Entry::Message(message) => li {
                        bdi { (shortened(&text(message))) }
                        small {
                            a href={ "events/" (message.id) } { (time(*at)) }
                            @for mark in &message.statuses { " · " a href={ "events/" (mark.id) } { (mark.status) } }
                        }
                    },
                    Entry::Connection(mark) => li.rule { a href={ "events/" (mark.id) } { (mark.status) } " " (time(*at)) },
                }
            }
        }
        @if is_older { p { a.button rel="prev" href=(with_query("conversations", &pairs)) { "Newest" } } }
    }
}

/// How far was searched, and the link that searches on.
fn further(searched: &Searched, pairs: &[(&str, Option<&str>)]) -> Markup {
    let Some(next) = searched.next else {
        return html! {};
    };
    let next = next.to_string();
    let pairs: Vec<_> = pairs
        .iter()
        .copied()
        .chain([("before", Some(&*next))])
        .collect();
    html! {
        p.quiet {
            @if let Some(at) = searched.searched_to { "Looked back to " (time(at)) ". " }
            a.button rel="next" href=(with_query("conversations", &pairs)) { "Older" }
        }
    }
}

/// With [`MOST_CHARACTERS`] of each, a page stays below 256 KiB.
const MOST_MESSAGES: usize = 50;
const MOST_CHARACTERS: usize = 1000;
const MOST_SHOWN: usize = 50;
const MOST_SESSIONS: usize = 100;

/// Sessions are those of so many events.
const MOST_LOOKED_AT: usize = 2000;
