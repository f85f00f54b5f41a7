//! The admin listener: health, readiness, metrics, and the API over events and consumers.
//!
//! A request passes from top to bottom:
//!
//! 1. `routes.rs`: all paths and methods in one table.
//! 2. `access.rs`: the admin token; without one, only requests of programs on this machine, or of nobody.
//! 3. The handler: `health.rs`, `events.rs`, `body.rs`, `deletion.rs`, `replay.rs`, `dead.rs`, `consumers.rs`,
//!    `refused.rs`, `subscriptions.rs`, `settings.rs`, `stats.rs`,
//!    `stream/`. Each returns its answer or an `ApiError` (`error.rs`).
//!
//! `request.rs` reads what a request says. `state.rs` holds what handlers need, and finds the event or
//! the consumers that a request names. `registration.rs` reads and checks a subscription.

mod access;
mod body;
mod consumers;
mod dead;
mod deletion;
mod error;
mod events;
mod health;
mod refused;
mod registration;
mod replay;
mod request;
mod routes;
mod settings;
mod state;
mod stats;
mod stream;
mod subscriptions;

pub(crate) use routes::{app, mount, took_too_long};
pub(crate) use state::{AdminState, AdminToken};
