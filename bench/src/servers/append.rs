//! The bare call of `append_1`, the function of the engine `postgres` that appends: what waits becomes one block and
//! is sent in one call, with a dedup key for each body. Nothing reads the block, so its bytes are the bodies alone.

use std::thread;

use actix_web::web::Bytes;
use anyhow::{Context as _, anyhow};
use offhook::clock::SystemClock;
use offhook::journal::{Log as _, Postgres, PostgresOptions};
use tokio::sync::{mpsc, oneshot};
use tokio_postgres::NoTls;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

type Waiting = (Bytes, oneshot::Sender<()>);

pub(super) struct Caller(mpsc::Sender<Waiting>);

impl Caller {
    /// Makes the schema, as an instance does, and begins to call.
    pub(super) fn start(database: Option<&str>) -> anyhow::Result<Self> {
        let url = database.context("--database is missing")?.to_owned();
        let (bodies, waiting) = mpsc::channel(MOST_WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        thread::spawn(move || {
            if let Err(error) = runtime.block_on(call(&url, waiting)) {
                eprintln!("the call failed: {error:#}");
            }
        });
        Ok(Self(bodies))
    }

    pub(super) async fn append(&self, body: Bytes) -> anyhow::Result<()> {
        let (answer, answered) = oneshot::channel();
        let gone = |()| anyhow!("the caller has ended");
        self.0.send((body, answer)).await.map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))
    }
}

async fn call(url: &str, mut waiting: mpsc::Receiver<Waiting>) -> anyhow::Result<()> {
    let options = PostgresOptions::new(url)?;
    let journal = Postgres::connect(options, std::sync::Arc::new(SystemClock)).await?;
    journal.close().await;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(SETTINGS).await?;
    let append = client.prepare(APPEND).await?;
    let mut taken = Vec::new();
    while waiting.recv_many(&mut taken, MOST_TOGETHER).await > 0 {
        let count = taken.len();
        let bytes: Vec<u8> = taken.iter().flat_map(|(body, _)| body.to_vec()).collect();
        // As long as the sums of a block.
        let sums = vec![0_u8; 8 * count + 4];
        let keys: Vec<Uuid> = (0..count)
            .map(|_| Uuid::from_u128(fastrand::u128(..)))
            .collect();
        let nth: Vec<i32> = (0..count as i32).collect();
        let (windows, mosts) = (vec![WEEK; count], vec![i64::MAX; count]);
        let (parts, yes) = (vec![1_i32; count], vec![true; count]);
        let states: Vec<Option<Uuid>> = vec![None; count];
        let values: [&(dyn ToSql + Sync); 14] = [
            &Uuid::now_v7(),
            &vec![count as i32],
            &vec![FORMAT],
            &vec![sums],
            &vec![bytes],
            &keys,
            &states,
            &windows,
            &mosts,
            &nth,
            &parts,
            &yes,
            &yes,
            &None::<i64>,
        ];
        client.query(&append, &values).await?;
        for (_, answer) in taken.drain(..) {
            // A sender that has gone needs no answer.
            let _ = answer.send(());
        }
    }
    Ok(())
}

/// As an instance's.
const SETTINGS: &str = "SET search_path TO offhook, pg_temp; SET jit TO off; SET enable_seqscan TO off; SET enable_bitmapscan TO on; \
    SET enable_hashjoin TO off; SET enable_mergejoin TO off";
const APPEND: &str =
    "SELECT held FROM append_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// The format of blocks.
const FORMAT: i16 = 5;

/// In milliseconds.
const WEEK: i64 = 7 * 24 * 3600 * 1000;

const MOST_WAITING: usize = 8192;
const MOST_TOGETHER: usize = 1024;
