//! A PostgreSQL INSERT per request, as one writes it by hand: a pool, a prepared statement, the
//! message's id as a unique key. The server is told `synchronous_commit = on`.

use actix_web::web::Bytes;
use anyhow::Context as _;
use deadpool_postgres::{Manager, ManagerConfig, RecyclingMethod, Runtime};
use tokio::sync::OnceCell;
use tokio_postgres::{Config, NoTls};

pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    created: OnceCell<()>,
}

impl Pool {
    /// Connects when it is first needed.
    pub(super) fn new(database: Option<&str>) -> anyhow::Result<Self> {
        let config: Config = database.context("--database is missing")?.parse()?;
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()?;
        let created = OnceCell::new();
        Ok(Self { pool, created })
    }

    pub(super) async fn insert(&self, id: Option<String>, body: Bytes) -> anyhow::Result<()> {
        self.created.get_or_try_init(|| self.create()).await?;
        let client = self.pool.get().await?;
        let insert = client.prepare_cached(INSERT).await?;
        client.execute(&insert, &[&id, &&body[..]]).await?;
        Ok(())
    }

    async fn create(&self) -> anyhow::Result<()> {
        let client = self.pool.get().await?;
        client.batch_execute(TABLE).await?;
        Ok(())
    }
}

/// As many as senders: with fewer, they would queue for the pool and share fewer commits.
const CONNECTIONS: usize = 64;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS events \
    (id bigserial PRIMARY KEY, message_id text UNIQUE, body bytea NOT NULL)";

const INSERT: &str =
    "INSERT INTO events (message_id, body) VALUES ($1, $2) ON CONFLICT (message_id) DO NOTHING";
