//! One handler under three gateways: WAHA, Evolution API and Meta's WhatsApp Cloud API.
//!
//! ```sh
//! cargo run --example three_gateways
//! ```
//!
//! Each has a path of its own, proves itself in its own way and writes its own JSON; the handler sees the same events.
//! docs/gateways.md says what to set at each gateway, and docs/gateway.md how offhook tells them where to send. It keeps
//! nothing, and listens on 127.0.0.1:5000; `OFFHOOK__SERVER__BIND` moves it.

use offhook::dialect::{Evolution, Meta, Waha};
use offhook::settings::JournalSettings;
use offhook::signature::{self, EvolutionJwt, Generic, Secret};
use offhook::{
    Delivery, EventHandler, HandlerError, MessageEvent, Offhook, Source, StatusEvent, async_trait,
    escape_controls,
};

struct Desk;

#[async_trait]
impl EventHandler for Desk {
    /// What somebody else wrote. Our own messages are `sent`, edits and deletions are `change`.
    async fn message(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        // `chat` is what the API of each gateway takes for an answer.
        let (source, text, chat) = (delivery.source(), event.message(), event.chat());
        print(&format!(
            "{source}: {} says {text}, answer to {chat}",
            event.from()
        ));
        Ok(())
    }

    async fn status(&self, event: &StatusEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        let (source, id) = (delivery.source(), event.message_id());
        print(&format!("{source}: {id} is {}", event.status()));
        Ok(())
    }
}

/// What a sender wrote stays on its line.
fn print(line: &str) {
    println!("{}", escape_controls(line));
}

/// A program that others can reach reads them with `Secret::resolve("env:NAME")`.
fn secret(text: &str) -> Secret {
    Secret::new(text).expect("it is not empty")
}

#[actix_web::main]
async fn main() -> Result<(), offhook::Error> {
    let waha = Generic::preset("waha").expect("there is such a preset");
    let meta = signature::Meta::new(secret("my-verify-token"));
    let source = |name: &str| Source::new(name).path(format!("/{name}"));
    Offhook::builder()
        .journal(JournalSettings::None)
        .without_admin()
        .source(
            source("waha")
                .scheme(waha)
                .dialect(Waha)
                .secret(secret("my-hmac-key")),
        )
        .source(
            source("evolution")
                .scheme(EvolutionJwt)
                .dialect(Evolution)
                .secret(secret("my-jwt-key")),
        )
        .source(
            source("meta")
                .scheme(meta)
                .dialect(Meta)
                .secret(secret("my-app-secret")),
        )
        .handler("desk", Desk)
        .environment()?
        .run()
        .await
}
