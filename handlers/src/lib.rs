//! The types for writing handlers, and the ready-made handlers.
//!
//! This is offhook's lower layer: no HTTP, no storage, no settings file. The `offhook` crate re-exports
//! all of it, so a program needs only `offhook`. A crate that only holds handlers can depend on this
//! one, which compiles in seconds.
//!
//! Read in this order:
//!
//! 1. [`Event`]: a typed event of a gateway: [`MessageEvent`], [`StatusEvent`], [`ConnectionEvent`],
//!    [`UnknownEvent`] for a body of no known kind, and [`SourceEvent`], which offhook makes itself when
//!    a source becomes quiet.
//! 2. [`Delivery`]: one attempt to hand over an event: its id, the attempt's number, the received bytes.
//! 3. [`EventHandler`]: the trait you implement, and [`HandlerError`], which says why a handler did not
//!    do its work.
//! 4. [`LogHandler`], [`JsonlHandler`], [`ExecHandler`]: the ready-made handlers.
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

mod append;
mod delivery;
mod escape;
mod event;
mod event_id;
mod exec;
mod handler;
mod json;
mod jsonl;
mod lines;
mod log;
mod macros;
mod received;
mod source;
mod typed;

pub use async_trait::async_trait;
pub use jiff::Timestamp;

pub use crate::delivery::Delivery;
pub use crate::escape::{escape_controls, escape_controls_in_json, percent_encode};
pub use crate::event::{Event, EventKind, Extra, ParseEventKindError};
pub use crate::event_id::{EventId, ParseEventIdError};
pub use crate::exec::{CannotRun, EmptyCommand, Exec, ExecHandler};
pub use crate::handler::{EventHandler, HandlerError};
pub use crate::jsonl::JsonlHandler;
pub use crate::log::LogHandler;
pub use crate::received::Received;
pub use crate::source::{SourceChange, SourceEvent};
pub use crate::typed::{
    ChatType, ConnectionEvent, ConnectionStatus, Location, MessageAction, MessageError,
    MessageEvent, MessageStatus, MessageType, StatusEvent, UnknownEvent, UnknownReason,
};
