//! Where an event goes once it is verified.
//!
//! An [`Engine`] takes an envelope and says when it may be acknowledged. The only engine so far is
//! [`Direct`] (`engine = "none"`): it keeps nothing, so the handlers run before the answer. A
//! journal that keeps events is another implementation of the same trait: it says yes as soon as
//! the event is durable and hands it to the same [`Consumer`](crate::dispatch)s afterwards.

mod direct;

use std::pin::Pin;
use std::sync::Arc;

use crate::{Envelope, Event};

pub(crate) use direct::Direct;

/// Takes verified events.
pub(crate) trait Engine: Send + Sync + 'static {
    /// Takes the event whose envelope was opened to `events`.
    ///
    /// `Ok` is the promise that lets the sender forget the event.
    fn accept(self: Arc<Self>, envelope: Envelope, events: Vec<Event>) -> Work;
}

/// An engine's work on one event, seen through whatever becomes of the sender.
pub(crate) type Work = Pin<Box<dyn Future<Output = Result<(), NotAccepted>> + Send>>;

/// Why an event may not be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAccepted {
    /// A handler failed, and nothing but the sender can try again.
    #[error("a handler failed")]
    HandlerFailed,
    /// There is no room for it now.
    #[error("there is no room for it now")]
    Unavailable,
}
