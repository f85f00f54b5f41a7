//! Reads settings.toml and the environment into validated [`Settings`].
//!
//! 1. `load.rs`: the `config` crate merges the file and the `OFFHOOK__…` variables (`environment.rs`)
//!    into one tree.
//! 2. `root.rs`, and one file for each section (`listeners.rs`, `sources.rs`, …): the settings as plain
//!    data, and which key sets which field. `spot.rs` derives the reading from these lists. `kinds.rs`
//!    says how each kind of value is written and which values are allowed.
//! 3. `check.rs`: checks that need all settings together, such as two sources on one path, or an admin
//!    listener without a token on a public address.
//!
//! What must hold: every problem is reported, not only the first (`problem.rs`), with its place
//! (`spot.rs`), what was found and what is allowed; no message shows what may be a secret; nothing
//! starts while there is a problem.

mod check;
mod dispatch;
mod environment;
mod gateways;
mod handlers;
mod journal;
mod kinds;
mod listeners;
mod load;
mod problem;
mod relay;
mod root;
mod sources;
mod spot;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use crate::error::{Problem, Problems};
pub use crate::relay::{RelaySettings, SubscriptionSettings};
pub use check::DOCUMENTED_KEY;
pub(crate) use check::same_handler;
pub use gateways::GatewaySettings;
pub use handlers::{HandlerSettings, Use};
pub use journal::{JournalSettings, SqliteSettings};
pub use listeners::{AdminSettings, ServerSettings};
pub use root::Settings;
