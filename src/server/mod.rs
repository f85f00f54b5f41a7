//! The server: two listeners with their workers, from the start to a graceful stop.
//!
//! The admin listener is an actix server of its own, so that neither a full public listener nor its
//! end locks the administrator out.
//!
//! - `server.rs`: [`Server`], which is started, runs and is stopped.
//! - `listeners.rs`: binds and serves the public and the admin listener.
//! - `http.rs`: what happens to a request of the public listener, down to the [`Receiver`].
//! - `connection.rs`: a connection whose other side must keep going, with its deadline (`deadline.rs`)
//!   and its timers (`timer.rs`).
//! - `shutdown.rs`: the signals that ask for a stop, and the steps of a stop.

mod connection;
mod deadline;
mod file_limit;
mod http;
mod listeners;
mod on_demand;
mod receiver;
#[expect(clippy::module_inception, reason = "it holds the type Server")]
mod server;
mod shutdown;
mod timer;

pub(crate) use receiver::Parts;
pub use receiver::Receiver;
pub use server::Server;
pub(crate) use server::start;
pub use shutdown::STOP_TIMEOUT;
