//! Several instances on one PostgreSQL database: real processes, the server of the engine's own tests.

mod administration;
mod away;
mod batches;
#[path = "../../src/journal/postgres/tests/server.rs"]
#[allow(dead_code)] // the engine's tests use all of it
mod database;
mod dispatch;
mod durability;
mod example;
mod failover;
mod faults;
mod ledger;
mod line;
mod load;
mod migrate;
mod pair;
mod removal;
mod rounds;
mod start;
mod timelines;
mod tls;
mod verdict;

use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicU64, Ordering};

use database::Server as Database;
use offhook::testing::{TestEvent, TestRequest};

use crate::served::{Served, command};
use crate::subscriber::Subscriber;
use crate::support::{Folder, KEY, secret};

/// A schema of its own in the server that the tests of this process share, and the settings for its instances.
pub struct Cluster {
    pub url: String,
    schema: String,
    folder: Folder,
    /// What the settings have beside `[journal]` and the source.
    more: String,
}

impl Cluster {
    /// `None`, with a loud line, where PostgreSQL is missing. `more` begins with further keys of `[journal]`.
    pub fn new(name: &str, more: &str) -> Option<Self> {
        Some(Self::on(Database::shared()?, name, more))
    }

    /// The same on a server of the test's own.
    fn on(database: &Database, name: &str, more: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            url: database.url(),
            schema: format!("it_{number}"),
            folder: Folder::new(&format!("cluster-{name}")),
            more: more.to_owned(),
        }
    }

    /// The folder of an instance, with its settings.
    pub fn settings(&self, instance: &str) -> ManuallyDrop<Folder> {
        // It is removed with the one that holds it.
        let folder = ManuallyDrop::new(Folder(self.folder.0.join(instance)));
        std::fs::create_dir_all(&folder.0).unwrap();
        let Self {
            url, schema, more, ..
        } = self;
        let text = format!(
            "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [relay]\nallow_private = true\n\
             [dispatch]\nretry = {{ first = \"50ms\", factor = 1.0, attempts = 10000 }}\n\
             [[sources]]\nname = \"codeskytz\"\nsecrets = [\"{KEY}\"]\n\
             [journal]\nengine = \"postgres\"\nurl = \"{url}\"\nschema = \"{schema}\"\n\
             instance = \"{instance}\"\n{more}"
        );
        std::fs::write(folder.0.join("settings.toml"), text).unwrap();
        folder
    }

    pub fn start(&self, instance: &str) -> Served {
        Served::try_start(&mut command(&self.settings(instance)))
            .unwrap_or_else(|said| panic!("{instance}: {said}"))
    }
}

/// The settings of a subscription to everything.
pub fn subscription(subscriber: &Subscriber) -> String {
    format!(
        "[[subscriptions]]\nname = \"all\"\nsession = \"*\"\nwebhook_url = \"{}\"\n",
        subscriber.url()
    )
}

/// The message `number` of a conversation, which has a session of its own.
pub fn message(conversation: usize, number: usize) -> TestRequest {
    let (session, id) = (format!("s{conversation}"), id(conversation, number));
    let event = TestEvent::message("+1", "Hello!").session(&session);
    event.id(&id).sign(&secret(KEY))
}

pub fn id(conversation: usize, number: usize) -> String {
    format!("{conversation}-{number}")
}

/// Does work that blocks, while load, subscribers and lines of the test go on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    actix_web::rt::task::spawn_blocking(work).await.unwrap()
}

/// Connects to a database of the test; `None` while it is away.
async fn client(url: &str) -> Option<tokio_postgres::Client> {
    let connecting = tokio_postgres::connect(url, tokio_postgres::NoTls);
    let (client, connection) = connecting.await.ok()?;
    actix_web::rt::spawn(connection);
    Some(client)
}
