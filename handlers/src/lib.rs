//! What a handler author writes against, and the handlers that come ready-made.
//!
//! This is offhook's lower layer: no HTTP, no storage, no settings file. The `offhook` crate
//! re-exports all of it, so a binary needs only `offhook`; a crate that holds nothing but handlers
//! can depend on this one and compile in seconds.
//!
//! Read in this order:
//!
//! 1. [`Event`]: what a gateway said, typed: [`MessageEvent`], [`StatusEvent`],
//!    [`ConnectionEvent`], and [`UnknownEvent`] for what has no kind; and [`SourceEvent`], which
//!    offhook makes itself when a gateway falls silent.
//! 2. [`Delivery`]: one handing-over of an event: its id, its attempt, the bytes as they came.
//! 3. [`EventHandler`]: the trait you implement, and [`HandlerError`], what it answers when it
//!    could not do its work.
//! 4. [`LogHandler`], [`JsonlHandler`], [`ExecHandler`]: the ready-made ones.
//!
//! ```
//! use offhook_handlers::{Delivery, EventHandler, HandlerError, MessageEvent, async_trait};
//!
//! struct Greeter;
//!
//! #[async_trait]
//! impl EventHandler for Greeter {
//!     async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
//!         println!("New message from {}: {}", event.from(), event.message());
//!         Ok(())
//!     }
//! }
//! ```

mod connection;
mod delivery;
mod error;
mod escape;
mod event;
mod event_id;
mod exec;
mod extra;
mod handler;
mod jsonl;
mod lines;
mod log;
mod message;
mod open_enum;
mod source;
mod status;
mod unknown;

pub use async_trait::async_trait;
pub use jiff::Timestamp;

pub use crate::connection::{ConnectionEvent, ConnectionStatus};
pub use crate::delivery::{Delivery, Received};
pub use crate::error::HandlerError;
pub use crate::escape::{escape_controls, percent_encode};
pub use crate::event::{Event, EventKind, ParseEventKindError};
pub use crate::event_id::{EventId, ParseEventIdError};
pub use crate::exec::{EmptyCommand, Exec, ExecHandler};
pub use crate::extra::Extra;
pub use crate::handler::EventHandler;
pub use crate::jsonl::JsonlHandler;
pub use crate::log::LogHandler;
pub use crate::message::{MessageEvent, MessageType};
pub use crate::source::{SourceChange, SourceEvent};
pub use crate::status::{MessageStatus, StatusEvent};
pub use crate::unknown::{UnknownEvent, UnknownReason};
