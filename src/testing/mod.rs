//! Helpers for tests of handlers and receivers.
//!
//! - [`TestEvent`]: an event, built or from JSON; as a typed event with its [`Delivery`](crate::Delivery), as a signed
//!   request, or handed directly to a handler.
//! - [`start`]: the real server on free ports. [`TempJournal`] is a journal for it; by default there is none.
//! - [`Recorder`]: a handler that records its events and can be waited for.
//! - [`TestSubscriber`]: a subscriber that can fail.
//! - [`FakeClock`]: a clock to set.
//!
//! A handler alone needs no server:
//!
//! ```
//! use offhook::testing::TestEvent;
//! use offhook::{Delivery, EventHandler, HandlerError, MessageEvent, async_trait};
//!
//! struct Orders;
//!
//! #[async_trait]
//! impl EventHandler for Orders {
//!     async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
//!         let number: u64 = event.message().trim_start_matches("order ").parse()?;
//!         assert!(number > 0);
//!         Ok(())
//!     }
//! }
//!
//! # #[actix_web::main]
//! # async fn main() {
//! let good = TestEvent::message("+1234567890", "order 17");
//! good.hand_to(&Orders).await.unwrap();
//!
//! let odd = TestEvent::from_json(r#"{"event":"message","message":"order one"}"#);
//! assert!(!odd.hand_to(&Orders).await.unwrap_err().is_reject());
//! # }
//! ```
//!
//! The whole server, as a gateway sees it:
//!
//! ```
//! use offhook::signature::Secret;
//! use offhook::testing::{self, Recorder, TestEvent};
//! use offhook::{Offhook, Source};
//!
//! # #[actix_web::main]
//! # async fn main() {
//! let secret = Secret::new("a-long-secret").unwrap();
//! let recorder = Recorder::default();
//! let server = testing::start(
//!     Offhook::builder()
//!         .source(Source::new("gateway").secret(secret.clone()))
//!         .handler("recorder", recorder.clone()),
//! )
//! .await;
//!
//! let request = TestEvent::message("+1234567890", "Hello!").session("408f").sign(&secret);
//! let response = request.send(server.public_address()).await;
//!
//! assert_eq!(response.status, 200);
//! assert_eq!(response.text(), r#"{"status":"received"}"#);
//! assert_eq!(recorder.wait_for(1).await[0].session_id(), Some("408f"));
//! server.stop().await;
//! # }
//! ```

mod arrivals;
mod event;
mod journal;
mod recorder;
mod request;
mod subscriber;

pub use self::event::TestEvent;
pub use self::journal::TempJournal;
pub use self::recorder::Recorder;
#[doc(hidden)]
pub use self::request::look_at_answers;
pub use self::request::{TestRequest, TestResponse};
pub use self::subscriber::TestSubscriber;
use crate::Offhook;
pub use crate::clock::FakeClock;
use crate::server::Server;
use crate::settings::JournalSettings;

/// Starts the real server with both listeners on free ports of 127.0.0.1. By default there is no
/// journal: handlers run before the answer. A test can set a [`TempJournal`] or its own journal.
///
/// # Panics
///
/// When the server does not start. The message says why.
#[allow(clippy::panic)] // a test wants to fail here
pub async fn start(offhook: Offhook) -> Server {
    let keeps_nothing = !offhook.has_custom_journal();
    let offhook = offhook.configure(|settings| {
        settings.server.bind.set_port(0);
        if keeps_nothing && settings.journal == JournalSettings::default() {
            settings.journal = JournalSettings::None;
        }
        if let Some(admin) = &mut settings.admin {
            admin.bind.set_port(0);
        }
    });
    let started = offhook.start().await;
    started.unwrap_or_else(|error| panic!("the server did not start: {error}"))
}
