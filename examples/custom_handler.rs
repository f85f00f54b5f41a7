//! A handler with state of its own that can fail, in a binary of its own.
//!
//! ```sh
//! cargo run --example custom_handler -- settings.toml
//! cargo run -- send
//! ```
//!
//! It counts messages by sender, and refuses those without one, which become dead letters
//! (`cargo run -- dead`); with the engine `none` the gateway is answered 500 instead.

use std::collections::HashMap;
use std::sync::Mutex;

use offhook::{Delivery, EventHandler, HandlerError, MessageEvent, Offhook, async_trait};

#[derive(Default)]
struct Counter {
    by_sender: Mutex<HashMap<String, u64>>,
}

#[async_trait]
impl EventHandler for Counter {
    async fn message(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        let Some(from) = &event.from else {
            return Err(HandlerError::reject("a message without a sender"));
        };
        // `?` on any error means: try again.
        let mut by_sender = self.by_sender.lock().map_err(|_| "the counter is broken")?;
        let count = by_sender.entry(from.clone()).or_default();
        *count += 1;
        println!("{from} has sent {count} (event {})", delivery.id());
        Ok(())
    }
}

#[actix_web::main]
async fn main() -> Result<(), offhook::Error> {
    let settings = std::env::args().nth(1);
    Offhook::from_settings(settings.as_deref().unwrap_or("settings.toml"))?
        .handler("counter", Counter::default())
        .run()
        .await
}
