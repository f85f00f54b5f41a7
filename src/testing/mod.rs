//! Helpers for tests of handlers and receivers: signed events, a clock to set, a handler that records
//! its events, and the real server on a free port.
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
//! assert_eq!(recorder.events()[0].session_id(), Some("408f"));
//! server.stop().await;
//! # }
//! ```

mod event;
mod request;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

pub use self::event::TestEvent;
pub use self::request::{TestRequest, TestResponse};
pub use crate::clock::FakeClock;
use crate::server::Server;
use crate::settings::JournalSettings;
use crate::{Delivery, Event, EventHandler, HandlerError, Offhook};

/// Starts the real server with both listeners on free ports of 127.0.0.1. By default there is no
/// journal: handlers run before the answer. A test can set a journal folder or its own journal.
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

/// A handler that records its events. Clones share the recording.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    given: Vec<(Event, Delivery)>,
    fail: usize,
}

impl Recorder {
    /// Makes the next `attempts` attempts fail after they are recorded.
    pub fn fail_next(&self, attempts: usize) {
        self.lock().fail = attempts;
    }

    /// All events in the order they arrived.
    pub fn events(&self) -> Vec<Event> {
        let given = &self.lock().given;
        given.iter().map(|(event, _)| event.clone()).collect()
    }

    /// All deliveries in the order they arrived.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let given = &self.lock().given;
        given.iter().map(|(_, delivery)| delivery.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl EventHandler for Recorder {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut recorded = self.lock();
        recorded.given.push((event.clone(), delivery.clone()));
        if recorded.fail > 0 {
            recorded.fail -= 1;
            return Err("the recorder was told to fail".into());
        }
        Ok(())
    }
}
