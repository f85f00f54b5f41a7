//! `/api/conversations`: the messages of a session as people think of them: one conversation for each person or group.
//!
//! Nothing is stored for it: the newest events of the session are read, for a limited time. `searched_to` says
//! how far that went, and `next` where to read on.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::decoding::with_events;
use super::error::{Answer, ApiError};
use super::event::peer;
use super::request::{event_id, page_size};
use super::role::Role;
use super::state::{AdminState, State};
use crate::dispatch::{events_of, find};
use crate::index::{EventEntry, EventFilter};
use crate::{Event, EventId, MessageEvent, Timestamp};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PeersQuery {
    pub(super) session: String,
    pub(super) before: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatQuery {
    pub(super) before: Option<String>,
    pub(super) limit: Option<usize>,
}

/// The chats, or senders where the gateway names no chat, that a session has heard of, those with the newest
/// message first.
#[derive(Debug, Serialize)]
pub(super) struct Peers {
    pub(super) conversations: Vec<Peer>,
    #[serde(flatten)]
    pub(super) searched: Searched,
}

#[derive(Debug, Serialize)]
pub(super) struct Peer {
    pub(super) peer: String,
    /// Of the events that were read.
    pub(super) messages: u64,
    pub(super) newest: Message,
}

/// The messages with one of them, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Chat {
    pub(super) messages: Vec<Message>,
    /// Changes of the session's connection in the same time, newest first.
    pub(super) connections: Vec<Mark>,
    #[serde(flatten)]
    pub(super) searched: Searched,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Message {
    /// The event's id.
    pub(super) id: EventId,
    pub(super) at: Timestamp,
    pub(super) from: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    /// The text, or the caption.
    pub(super) text: Option<String>,
    /// What has become of it, oldest first.
    pub(super) statuses: Vec<Mark>,
}

/// A status of a message, or of the connection.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Mark {
    pub(super) id: EventId,
    pub(super) at: Timestamp,
    pub(super) status: String,
}

/// How far a search went.
#[derive(Debug, Default, Serialize)]
pub(super) struct Searched {
    /// When the oldest event that was read was received; `None` if all were read.
    pub(super) searched_to: Option<Timestamp>,
    /// Before which event to search on, where there may be more.
    pub(super) next: Option<EventId>,
}

/// `GET /api/conversations?session=`
pub(super) async fn list(state: State, role: Role, query: web::Query<PeersQuery>) -> Answer {
    Ok(HttpResponse::Ok().json(peers(&state, role, &query).await?))
}

/// `GET /api/conversations/{session}/{peer}`
pub(super) async fn show(
    state: State,
    role: Role,
    path: web::Path<(String, String)>,
    query: web::Query<ChatQuery>,
) -> Answer {
    let (session, peer) = path.into_inner();
    Ok(HttpResponse::Ok().json(chat(&state, role, (&session, &peer), &query).await?))
}

/// The senders that a session has heard of.
pub(super) async fn peers(
    state: &AdminState,
    role: Role,
    query: &PeersQuery,
) -> Result<Peers, ApiError> {
    let mut found: BTreeMap<String, Peer> = BTreeMap::new();
    let searched = read(
        state,
        role,
        &query.session,
        query.before.as_deref(),
        |entry, event| {
            if let Some(message) = event.as_message()
                && let Some(with) = peer(event).filter(|with| with.len() <= LONGEST_PEER)
                && (found.len() < MOST_PEERS || found.contains_key(with))
            {
                let newest = || message_of(entry, message);
                let peer = found.entry(with.to_owned()).or_insert_with(|| Peer {
                    peer: with.to_owned(),
                    messages: 0,
                    newest: newest(),
                });
                peer.messages += 1;
            }
            true
        },
    );
    let searched = searched.await?;
    let mut conversations: Vec<Peer> = found.into_values().collect();
    conversations.sort_by_key(|peer| std::cmp::Reverse(peer.newest.at));
    Ok(Peers {
        conversations,
        searched,
    })
}

/// The messages of a session with one of them.
pub(super) async fn chat(
    state: &AdminState,
    role: Role,
    (session, with): (&str, &str),
    query: &ChatQuery,
) -> Result<Chat, ApiError> {
    let limit = page_size(query.limit)?;
    let (mut messages, mut connections) = (Vec::new(), Vec::new());
    // A status comes after its message, so it is read before it.
    let mut statuses: HashMap<String, Vec<Mark>> = HashMap::new();
    let searched = read(
        state,
        role,
        session,
        query.before.as_deref(),
        |entry, event| {
            let mark = |status: &str| Mark {
                id: entry.id,
                at: entry.at,
                status: status.to_owned(),
            };
            match event {
                Event::Message(message) | Event::Sent(message) | Event::Change(message)
                    if peer(event) == Some(with) =>
                {
                    let mut shown = message_of(entry, message);
                    let of_message = message
                        .message_id
                        .as_ref()
                        .and_then(|id| statuses.remove(id));
                    shown.statuses = of_message.unwrap_or_default();
                    shown.statuses.reverse();
                    messages.push(shown);
                }
                Event::Status(status) if statuses.len() < MOST_STATUSES => {
                    if let (Some(id), Some(status)) = (&status.message_id, &status.status) {
                        let marks = statuses.entry(id.clone()).or_default();
                        marks.push(mark(status.as_str()));
                    }
                }
                Event::Connection(connection) if connections.len() < MOST_PEERS => {
                    connections.extend(
                        connection
                            .status
                            .as_ref()
                            .map(|status| mark(status.as_str())),
                    );
                }
                _ => {}
            }
            messages.len() < limit
        },
    );
    let searched = searched.await?;
    Ok(Chat {
        messages,
        connections,
        searched,
    })
}

fn message_of(entry: &EventEntry, message: &MessageEvent) -> Message {
    let text = message.message.as_deref().or(message.caption.as_deref());
    let cut = |text: &str| text.chars().take(MOST_TEXT).collect();
    Message {
        id: entry.id,
        at: entry.at,
        from: message.from.clone(),
        kind: message.kind.as_ref().map(|kind| kind.as_str().to_owned()),
        text: text.map(cut),
        statuses: Vec::new(),
    }
}

/// Gives the events of a session to `take`, newest first, until it wants no more.
///
/// # Errors
///
/// For a viewer who must not see bodies: conversations are nothing but their texts.
async fn read(
    state: &AdminState,
    role: Role,
    session: &str,
    before: Option<&str>,
    mut take: impl FnMut(&EventEntry, &Event) -> bool,
) -> Result<Searched, ApiError> {
    if !role.sees_bodies() {
        return Err(ApiError::no_bodies());
    }
    let pipeline = state.pipeline()?;
    let mut filter = EventFilter {
        session: Some(session.to_owned()),
        before: before.map(event_id).transpose()?,
        ..EventFilter::default()
    };
    let started = state.clock.monotonic();
    let mut searched = 0;
    loop {
        let entries = state.search()?.newest(filter.clone(), BATCH).await?;
        let is_last_batch = entries.len() < BATCH;
        for entry in entries {
            filter.before = Some(entry.id);
            searched += 1;
            let mut goes_on = true;
            if let Some(position) = entry.in_journal()
                && let Some(record) = find(pipeline.journal().as_ref(), position.seq()).await?
                && record.received.body.len() <= MOST_READ
            {
                let record = with_events(pipeline, record).await;
                for event in events_of(&record, position.part()) {
                    goes_on = take(&entry, event) && goes_on;
                }
            }
            let is_late = state.clock.monotonic() - started > LONGEST;
            if !goes_on || is_late || searched == MOST_SEARCHED {
                return Ok(Searched {
                    searched_to: Some(entry.at),
                    next: Some(entry.id),
                });
            }
        }
        if is_last_batch {
            return Ok(Searched::default());
        }
    }
}

const BATCH: usize = 500;

/// So many events of a session are read for one answer.
pub(super) const MOST_SEARCHED: usize = 20_000;

/// And for so long.
const LONGEST: Duration = Duration::from_secs(2);

/// A larger body is left out.
const MOST_READ: usize = 256 * 1024;

/// A longer sender is nobody to talk to.
const LONGEST_PEER: usize = 1024;

const MOST_PEERS: usize = 1000;
const MOST_STATUSES: usize = 20_000;
const MOST_TEXT: usize = 2000;
