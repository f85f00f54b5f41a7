//! A bare actix-web app that does what offhook does for one event: it checks the signature over the
//! raw bytes, in constant time, parses the message with its time, stores it where that is asked,
//! counts it, and answers.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use anyhow::Context as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::Timestamp;
use offhook::signature::Encoding;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Handled, append, file::GroupFile, postgres, redis_stream, sqlite};
use crate::load::KEY;

/// What must be done before the answer.
pub(super) enum Store {
    Nowhere,
    File(GroupFile),
    Sqlite(sqlite::Table),
    Postgres(postgres::Pool),
    Append(append::Caller),
    Redis(Box<redis_stream::Stream>),
}

impl Store {
    /// Is ready when the message is as durable as this store makes it.
    async fn keep(&self, id: Option<String>, body: web::Bytes) -> anyhow::Result<()> {
        match self {
            Self::Nowhere => Ok(()),
            Self::File(file) => file.append(body).await,
            Self::Sqlite(table) => table.insert(id, body).await,
            Self::Postgres(pool) => pool.insert(id, body).await,
            Self::Append(caller) => caller.append(body).await,
            Self::Redis(stream) => stream.add(id, body).await,
        }
    }
}

pub(super) fn run(store: Store, handled: &Handled) -> anyhow::Result<()> {
    let store = web::Data::new(store);
    let counter = web::Data::new(handled.clone());
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(move || {
            App::new()
                .app_data(store.clone())
                .app_data(counter.clone())
                .app_data(web::PayloadConfig::new(32 << 20))
                .route("/webhook", web::post().to(receive))
        })
        .workers(1)
        .bind("127.0.0.1:0")?;
        let address = *server.addrs().first().context("no address")?;
        handled.announce(address)?;
        Ok(server.run().await?)
    })
}

async fn receive(
    request: HttpRequest,
    body: web::Bytes,
    store: web::Data<Store>,
    handled: web::Data<Handled>,
) -> HttpResponse {
    if !signed(&request, &body) {
        let error = serde_json::json!({ "error": "Invalid signature" });
        return HttpResponse::Unauthorized().json(error);
    }
    let Ok(message) = serde_json::from_slice::<Message>(&body) else {
        return HttpResponse::BadRequest().finish();
    };
    // The typed event has a time, not a text.
    let sent = message
        .timestamp
        .and_then(|time| time.parse::<Timestamp>().ok());
    std::hint::black_box((sent, message.message.map_or(0, |text| text.len())));
    if let Err(error) = store.keep(message.message_id, body).await {
        eprintln!("not stored: {error:#}");
        return HttpResponse::ServiceUnavailable().finish();
    }
    handled.one_more();
    HttpResponse::Ok().json(serde_json::json!({ "status": "received" }))
}

fn signed(request: &HttpRequest, body: &[u8]) -> bool {
    let signature = request.headers().get("X-Webhook-Signature");
    let Some(signature) = signature.and_then(|value| Encoding::Hex.decode(value.as_bytes())) else {
        return false;
    };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.finalize()
        .into_bytes()
        .as_slice()
        .ct_eq(&signature)
        .into()
}

/// What the events' fields are for: the bare app takes them apart, too.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
struct Message {
    event: String,
    session_id: Option<String>,
    message_id: Option<String>,
    from: Option<String>,
    message: Option<String>,
    r#type: Option<String>,
    timestamp: Option<String>,
}
