//! offhook itself, on one worker, with handlers that count, with subscriptions, or with relays that wait
//! for a word.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use offhook::relay::{Relay, RelayOptions};
use offhook::settings::{
    JournalSettings, PostgresSettings, Settings, SqliteSettings, SubscriptionSettings, TlsSettings,
};
use offhook::signature::Secret;
use offhook::{
    Delivery, Event, EventHandler, HandlerError, HandlerOptions, MessageEvent, Offhook, Source,
    async_trait,
};

use super::{Handled, ServeOptions, Served};
use crate::load::KEY;

pub(super) fn run(options: &ServeOptions, handled: &Handled) -> anyhow::Result<()> {
    actix_web::rt::System::new().block_on(async {
        let secret = Secret::new(KEY)?;
        let source = Source::new("bench").secret(secret.clone());
        let tls = match options.server {
            Served::SqliteTls => Some(certificate(&options.folder)?),
            _ => None,
        };
        let mut offhook = Offhook::builder()
            .source(source)
            .bind(([127, 0, 0, 1], 0))
            .journal(journal(options)?)
            .configure(|settings| {
                settings.server.workers = 1;
                settings.server.tls = tls.clone();
                subscribe(settings, options, &secret);
            });
        offhook = if options.admin {
            offhook.admin_bind(([127, 0, 0, 1], 0))
        } else {
            offhook.without_admin()
        };
        for number in 0..options.handlers {
            // The first one counts for the benchmark; all do the same work.
            let counter = Counter {
                handled: if number == 0 {
                    handled.clone()
                } else {
                    Handled::default()
                },
                failing: options.failing.clone(),
            };
            offhook = offhook.handler(format!("counter-{number}"), counter);
        }
        for (number, subscriber) in options.relay_to.iter().enumerate() {
            let relay = Gated::new(*subscriber, handled)?;
            // It may wait for the gate as long as the journal takes to be filled.
            let waiting = HandlerOptions::default()
                .concurrency(options.concurrency)
                .timeout(Duration::from_secs(600));
            offhook = offhook.handler_with(format!("subscriber-{number}"), relay, waiting);
        }
        let server = offhook.start().await?;
        if let Some(admin) = server.admin_address() {
            std::fs::write(options.folder.join(ADMIN), admin.to_string())?;
        }
        handled.announce(server.public_address())?;
        server.run_until_stopped().await?;
        Ok(())
    })
}

/// Makes a certificate, which clients find in the folder.
fn certificate(folder: &Path) -> anyhow::Result<TlsSettings> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join("server.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(TlsSettings::new(certificate, key))
}

fn journal(options: &ServeOptions) -> anyhow::Result<JournalSettings> {
    let path = options.folder.join("journal");
    Ok(match options.server {
        Served::None => JournalSettings::None,
        Served::Cluster => {
            let url = options.database.as_deref().unwrap_or_default();
            let mut postgres = PostgresSettings::new(Secret::new(url)?);
            postgres.path = path;
            JournalSettings::Postgres(Box::new(postgres))
        }
        _ => JournalSettings::Sqlite(SqliteSettings::new(path)),
    })
}

fn subscribe(settings: &mut Settings, options: &ServeOptions, secret: &Secret) {
    settings.relay.options.allow_private = true;
    for (number, subscriber) in options.subscribed.iter().enumerate() {
        let url = format!("http://{subscriber}/webhook");
        let mut subscription = SubscriptionSettings::new(format!("subscriber-{number}"), url);
        subscription.secrets = secret.clone().into();
        subscription.options = HandlerOptions::default().concurrency(options.concurrency);
        settings.subscriptions.push(subscription);
    }
}

/// The file with the address of the admin listener.
pub(crate) const ADMIN: &str = "admin";

/// The file with the certificate.
pub(crate) const CERTIFICATE: &str = "server.pem";

struct Counter {
    handled: Handled,
    /// The session whose events fail.
    failing: Option<String>,
}

#[async_trait]
impl EventHandler for Counter {
    async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
        if self.failing.as_deref() == Some(event.session_id()) {
            return Err(HandlerError::retry("it always fails"));
        }
        std::hint::black_box(event.message().len());
        self.handled.one_more();
        Ok(())
    }
}

/// A relay that begins when the benchmark says so, with the journal full.
struct Gated {
    relay: Relay,
    gate: Handled,
}

impl Gated {
    fn new(subscriber: SocketAddr, gate: &Handled) -> anyhow::Result<Self> {
        let mut options = RelayOptions::default();
        options.allow_private = true;
        let url = format!("http://{subscriber}/webhook");
        Ok(Self {
            relay: Relay::new(&url, Some(Secret::new(KEY)?), &options)?,
            gate: gate.clone(),
        })
    }
}

/// It takes bodies, as a subscription does.
#[async_trait]
impl EventHandler for Gated {
    async fn deliver(&self, events: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        self.gate.opened().await;
        self.relay.deliver(events, delivery).await
    }

    fn takes_bodies(&self) -> bool {
        self.relay.takes_bodies()
    }

    fn reads_content(&self) -> bool {
        self.relay.reads_content()
    }
}
