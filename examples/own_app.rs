//! The receiver mounted into an actix `App` that has pages of its own, with the admin API beside it.
//!
//! ```sh
//! cargo run --example own_app
//! curl http://127.0.0.1:8080/
//! curl http://127.0.0.1:8080/ops/health
//! cargo run -- send http://127.0.0.1:8080/hooks/webhook
//! ```

use actix_web::{App, HttpServer, web};
use offhook::settings::JournalSettings;
use offhook::signature::Secret;
use offhook::{LogHandler, Offhook, Source};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    offhook::logging::init();
    let secret = Secret::new("your-secret-key").expect("it is not empty");
    let receiver = Offhook::builder()
        .journal(JournalSettings::None)
        .source(Source::new("codeskytz").secret(secret))
        .handler("log", LogHandler::new()?)
        .receiver()
        .map_err(std::io::Error::other)?;

    let mounted = receiver.clone();
    let server = HttpServer::new(move || {
        App::new()
            .route("/", web::get().to(|| async { "my own page\n" }))
            // Without `admin_token` it answers only /health and /ready.
            .service(web::scope("/ops").configure(mounted.admin()))
            .service(web::scope("/hooks").configure(mounted.configure()))
    })
    .bind(
        std::env::args()
            .nth(1)
            .as_deref()
            .unwrap_or("127.0.0.1:8080"),
    )?;
    for address in server.addrs() {
        log::info!("my page on http://{address}/, webhooks on http://{address}/hooks/webhook");
    }
    // Until SIGINT or SIGTERM; then all senders were answered.
    server.run().await?;
    // What was received is finished, and the journal closed, where there is one.
    receiver.stop().await;
    Ok(())
}
