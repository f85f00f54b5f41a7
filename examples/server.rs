//! The two receivers of the gateway's documentation (Flask and Express), with offhook.
//!
//! ```sh
//! cargo run --example server
//! ```
//!
//! Like those it keeps nothing: the handler runs before the answer. It listens on 127.0.0.1:5000 with the documentation's key and prints one line an event, in the
//! order they arrive. `OFFHOOK__SERVER__BIND` and `OFFHOOK__ADMIN__BIND` move its listeners.

use offhook::settings::JournalSettings;
use offhook::signature::Secret;
use offhook::{
    ConnectionEvent, Delivery, EventHandler, HandlerError, HandlerOptions, MessageEvent, Offhook,
    Order, Source, StatusEvent, async_trait, escape_controls,
};

struct Printer;

#[async_trait]
impl EventHandler for Printer {
    async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
        print(&format!(
            "New message from {}: {}",
            event.from(),
            event.message()
        ));
        Ok(())
    }

    async fn status(&self, event: &StatusEvent, _: &Delivery) -> Result<(), HandlerError> {
        print(&format!(
            "Message {} status: {}",
            event.message_id(),
            event.status()
        ));
        Ok(())
    }

    async fn connection(&self, event: &ConnectionEvent, _: &Delivery) -> Result<(), HandlerError> {
        print(&format!("Connection status: {}", event.status()));
        Ok(())
    }
}

/// What a sender wrote stays on its line.
fn print(line: &str) {
    println!("{}", escape_controls(line));
}

#[actix_web::main]
async fn main() -> Result<(), offhook::Error> {
    // Everybody knows this key; offhook accepts it on loopback only.
    let secret = Secret::new("your-secret-key").expect("it is not empty");
    Offhook::builder()
        .journal(JournalSettings::None)
        .source(Source::new("codeskytz").secret(secret))
        .handler_with(
            "printer",
            Printer,
            HandlerOptions::default().order(Order::Session),
        )
        .environment()?
        .run()
        .await
}
