//! The admin listener: health, readiness, metrics, and the API over events and consumers.
//!
//! A request passes from top to bottom:
//!
//! 1. `routes.rs`: all paths and methods in one table.
//! 2. `access.rs`: the token and its role (`role.rs`); without one, only requests of programs on this machine, or
//!    of nobody. `guesses.rs` counts wrong tokens. `headers.rs` has the headers of every answer.
//! 3. The handler: `health.rs`, `events.rs`, `event.rs`, `body.rs`, `deletion.rs`, `replay.rs`, `replays.rs`,
//!    `dead.rs`, `consumers.rs`, `refused.rs`, `subscriptions.rs`, `settings.rs`, `conversations.rs`, `stats.rs`,
//!    `trial.rs`, `stream/`; `openapi.rs` describes all of them for programs, and `ui/` renders the dashboard of
//!    what they answer. Each returns its answer or an `ApiError` (`error.rs`).
//!
//! `preview.rs` says what a replay would do, and `plans.rs` remembers what was shown. `contains.rs` searches in
//! bodies, and `decoding.rs` reads their events. `states.rs` tells what became of events, and `oldest.rs` since
//! when they are kept. `request.rs` reads what a request says. `state.rs` holds what handlers need, and finds the
//! event or the consumers that a request names. `registration.rs` reads and checks a subscription.

mod access;
mod body;
mod consumers;
mod contains;
mod conversations;
mod dead;
mod decoding;
mod deletion;
mod error;
mod event;
mod events;
mod guesses;
mod hand_over;
mod headers;
mod health;
mod oldest;
mod openapi;
mod plans;
mod preview;
mod refused;
mod registration;
mod replay;
mod replays;
mod request;
mod role;
mod routes;
mod settings;
mod state;
mod states;
mod stats;
mod stream;
mod subscriptions;
mod trial;
#[cfg(feature = "dashboard")]
mod ui;

pub(crate) use guesses::Guesses;
pub(crate) use oldest::Oldest;
pub(crate) use plans::Plans;
pub(crate) use role::{Access, CurrentAccess};
pub(crate) use routes::{app, given_up, mount};
pub(crate) use state::AdminState;
