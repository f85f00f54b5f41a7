//! The server: two listeners with their workers, from the start to a graceful stop.
//!
//! The admin listener is an actix server of its own, so that neither a full public listener nor its
//! end locks the administrator out.
//!
//! - `server.rs`: [`Server`], which is started, runs and is stopped, also by signals (`signals.rs`).
//! - `listeners.rs`: binds and serves the public (`public.rs`) and the admin listener (`admin.rs`).
//! - `connection.rs`: a connection whose other side must keep going, with its deadline
//!   (`deadline.rs`, `timer.rs`) and its seat (`seats.rs`).
//! - `socket.rs`: what the connection reads and writes, plain or under TLS (`tls.rs`).
//! - `proxies.rs`: who a request comes from.
//! - `systemd.rs`: sockets from systemd, and what it is told.
//! - `descriptors.rs`: how many connections there can be.
//! - `receiver.rs`: [`Receiver`], all of it but the listeners (`parts.rs`), for an application's own `App`.
//! - `reloads.rs`: what of it a reload of the settings changes.
//! - `first_process.rs`: reaps what programs of `exec` leave behind, in a container.

mod admin;
mod connection;
mod deadline;
mod descriptors;
mod first_process;
mod handshakes;
mod listeners;
mod parts;
mod proxies;
mod public;
mod receiver;
mod reloads;
mod seats;
#[expect(clippy::module_inception, reason = "it holds the type Server")]
mod server;
mod signals;
mod socket;
mod systemd;
mod timer;
mod tls;

pub use first_process::run_as_first_process;
pub use listeners::STOP_TIMEOUT;
pub(crate) use parts::{Parts, Reloading, access};
pub use receiver::Receiver;
pub use server::Server;
pub(crate) use server::start;
pub(crate) use signals::survive_hangup;
