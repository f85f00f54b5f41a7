//! Takes other settings while the server runs, without dropping a request or an event.
//!
//! - `reloader.rs`: the task that reloads, from what asks for it to what is told. Read this first.
//! - `text.rs`: what the settings file held, and whether it was cut.
//! - `watch.rs`: notices that files have changed.
//! - `overlay.rs`: what a program has changed in code stays.
//! - `plan.rs`: what differs (`plan/keys.rs`), and what needs a restart; what looks half-written.
//! - `live.rs`: the parts that are changed: first prepared, then applied.
//! - `handlers.rs`: work on handlers, which may go on when the reload is over.
//! - `report.rs`: what has come of it.
//!
//! What must hold: all or nothing; a request is judged by one table of sources, secrets and limits from its head to
//! its answer; an event that is durable is not touched; no secret is told.

mod handlers;
mod live;
mod overlay;
mod plan;
mod reloader;
mod report;
mod text;
mod watch;

pub(crate) use live::{Live, PreparedListeners, ReadyMade, Stage};
pub(crate) use plan::ChangedFiles;
pub(crate) use reloader::{NotAsked, ReloadHandle, Reloader, SettingsFile};
pub(crate) use report::{Outcome, Report, Status};
