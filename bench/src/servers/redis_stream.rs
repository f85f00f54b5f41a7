//! A Redis XADD per request over one multiplexed connection, which sends what waits together. The
//! server is told `appendonly yes` and `appendfsync always`. It does not see duplicates.

use actix_web::web::Bytes;
use anyhow::Context as _;
use redis::AsyncTypedCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::sync::OnceCell;

pub(super) struct Stream {
    client: redis::Client,
    connection: OnceCell<MultiplexedConnection>,
}

impl Stream {
    /// Connects when it is first needed.
    pub(super) fn new(database: Option<&str>) -> anyhow::Result<Self> {
        let client = redis::Client::open(database.context("--database is missing")?)?;
        let connection = OnceCell::new();
        Ok(Self { client, connection })
    }

    pub(super) async fn add(&self, id: Option<String>, body: Bytes) -> anyhow::Result<()> {
        let connect = || self.client.get_multiplexed_async_connection();
        let mut connection = self.connection.get_or_try_init(connect).await?.clone();
        let id = id.unwrap_or_default();
        let fields: [(&str, &[u8]); 2] = [("id", id.as_bytes()), ("body", &body)];
        connection.xadd("events", "*", &fields).await?;
        Ok(())
    }
}
