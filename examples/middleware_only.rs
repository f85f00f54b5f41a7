//! Only the signature middleware, in an actix `App` that does the rest itself.
//!
//! ```sh
//! cargo run --example middleware_only
//! cargo run -- send http://127.0.0.1:8080/webhook
//! ```

use actix_web::{App, HttpResponse, HttpServer, web};
use offhook::signature::{Secret, Verified, Verifier, VerifySignature};
use serde_json::json;

/// Only a body whose signature was right can get here.
async fn webhook(verified: Verified) -> HttpResponse {
    let bytes = verified.body().len();
    println!("{bytes} verified bytes from {}", verified.sender().source);
    HttpResponse::Ok().json(json!({ "status": "received" }))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    offhook::logging::init();
    let secret = Secret::new("your-secret-key").expect("it is not empty");
    let verify = VerifySignature::new(Verifier::new("gateway").secret(secret));

    let server = HttpServer::new(move || {
        let post = web::post().to(webhook).wrap(verify.clone());
        App::new().service(web::resource("/webhook").route(post))
    })
    .bind(
        std::env::args()
            .nth(1)
            .as_deref()
            .unwrap_or("127.0.0.1:8080"),
    )?;
    for address in server.addrs() {
        log::info!("webhooks on http://{address}/webhook");
    }
    server.run().await
}
