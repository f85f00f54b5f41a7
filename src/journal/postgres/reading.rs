//! Reads blocks of the log.

use tokio::sync::Semaphore;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::link::Link;
use super::session::Session;
use super::sql::{number, signed};
use crate::Timestamp;
use crate::journal::block::{Block, Format};
use crate::journal::{Record, Seq, Share, Unavailable};

/// The newest body of an append that this instance has seen. A log that does not hold it has gone back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Witness {
    pub(super) last: Seq,
    pub(super) batch: Uuid,
}

/// A block that was read, with the bodies that were asked for.
#[derive(Debug)]
pub(super) struct StoredBlock {
    pub(super) records: Vec<Record>,
    pub(super) witness: Witness,
}

/// Returns the next blocks with bodies after `after`, in order: no more than hold `most` bodies, at most 64, and about
/// 8 MiB, but at least one if there is any.
pub(super) async fn blocks(
    link: &Link,
    after: Seq,
    most: usize,
    shares: Share,
) -> Result<Vec<StoredBlock>, Unavailable> {
    let session = link.session().await?;
    blocks_over(&session, after, most, shares).await
}

/// The same over this connection.
pub(super) async fn blocks_over(
    session: &Session,
    after: Seq,
    most: usize,
    shares: Share,
) -> Result<Vec<StoredBlock>, Unavailable> {
    let (blocks, _) = read(session, after, most, &[], shares).await?;
    Ok(blocks)
}

/// Returns the next blocks with bodies after `after`, in order, but for those of these batches: at most 64, and about 8 MiB.
/// Also whether one of these limits was reached, so that there may be more.
pub(super) async fn blocks_of_others(
    link: &Link,
    after: Seq,
    own: &[Uuid],
    shares: Share,
) -> Result<(Vec<StoredBlock>, bool), Unavailable> {
    let session = link.session().await?;
    read(&session, after, MOST_BODIES, own, shares).await
}

async fn read(
    session: &Session,
    after: Seq,
    most: usize,
    left_out: &[Uuid],
    shares: Share,
) -> Result<(Vec<StoredBlock>, bool), Unavailable> {
    let most = most.min(MOST_BODIES) as i64;
    let from = signed(after).min(i64::MAX - most);
    let values: [&(dyn ToSql + Sync); 5] = [&from, &most, &MAX_BLOCKS, &MAX_BYTES, &left_out];
    let rows = session.read(BLOCKS, &values).await?;
    let bytes = rows.iter().map(|row| row.get::<_, &[u8]>(BODIES).len());
    let is_full = rows.len() >= MAX_BLOCKS as usize || bytes.sum::<usize>() >= MAX_BYTES as usize;
    let blocks = rows.iter().map(|row| block(row, after, shares));
    Ok((blocks.collect::<Result<_, _>>()?, is_full))
}

/// Reads records for consumers and the index, over a connection that nothing else waits for.
#[derive(Debug)]
pub(super) struct Bulk {
    link: Link,
    /// Only so many reads wait for the connection at the same time: each has to be answered in time.
    turns: Semaphore,
}

impl Bulk {
    pub(super) fn new(link: Link) -> Self {
        Self {
            link,
            turns: Semaphore::new(TURNS),
        }
    }

    /// Returns the records after `after`, at most `most`, or as many as fit into 8 MiB.
    pub(super) async fn records(
        &self,
        after: Seq,
        most: usize,
        shares: Share,
    ) -> Result<Vec<Record>, Unavailable> {
        let _turn = self.turns.acquire().await;
        records(&self.link, after, most, shares).await
    }
}

async fn records(
    link: &Link,
    after: Seq,
    most: usize,
    shares: Share,
) -> Result<Vec<Record>, Unavailable> {
    let (mut records, mut after, mut bytes) = (Vec::new(), after, 0);
    while records.len() < most && bytes < MAX_BYTES as usize {
        let blocks = blocks(link, after, most - records.len(), shares).await?;
        let Some(last) = blocks.last() else { break };
        after = last.witness.last;
        for record in blocks.into_iter().flat_map(|block| block.records) {
            bytes += record.received.body.len();
            records.push(record);
        }
    }
    records.truncate(most);
    Ok(records)
}

fn block(row: &Row, after: Seq, shares: Share) -> Result<StoredBlock, Unavailable> {
    let (first, last): (Seq, Seq) = (number(row, 0), number(row, 1));
    let kept_at = Timestamp::from_millisecond(row.get(2)).unwrap_or_default();
    let floor: Seq = number(row, 7);
    let format = i64::from(row.get::<_, i16>(4));
    let Some(format) = Format::of(format) else {
        let why =
            format!("a newer version of offhook has written block {last}, in format {format}");
        return Err(Unavailable::Away(why));
    };
    let block = Block {
        first: 1,
        last: (last + 1).saturating_sub(first),
        kept_at: 0,
        format,
        keys: &[][..],
        sums: row.get(5),
        bodies: row.get::<_, &[u8]>(BODIES),
    };
    if !block.is_whole() {
        log::error!(
            "journal: block {first} to {last} is not what was written; its bodies are skipped"
        );
    }
    let skipped = after
        .max(floor.saturating_sub(1))
        .saturating_sub(first.saturating_sub(1));
    let records = block.records(skipped, shares).map(|record| Record {
        seq: record.seq + first - 1,
        kept_at,
        ..record
    });
    Ok(StoredBlock {
        records: records.collect(),
        witness: Witness {
            last,
            batch: row.get(3),
        },
    })
}

/// Up to the block with the last of the bodies that are asked for, or all.
const BLOCKS: &str = "SELECT first, last, kept_at, batch, format, sums, bodies, (SELECT first_seq FROM meta) FROM \
    (SELECT b.*, sum(octet_length(bodies)) OVER (ORDER BY last) - octet_length(bodies) AS before FROM \
    (SELECT * FROM block WHERE last > greatest($1, (SELECT first_seq - 1 FROM meta)) AND last <= coalesce( \
    (SELECT last FROM block WHERE last >= greatest($1, (SELECT first_seq - 1 FROM meta)) + $2 ORDER BY last LIMIT 1), \
    9223372036854775807) AND batch <> ALL ($5) ORDER BY last LIMIT $3) b) c WHERE before < $4 ORDER BY last";

/// Its column.
const BODIES: usize = 6;

const MAX_BLOCKS: i64 = 64;
const MAX_BYTES: i64 = 8 * 1024 * 1024;

/// More than the largest blocks hold.
pub(super) const MOST_BODIES: usize = 1 << 20;

/// One is sent while the next one is read.
const TURNS: usize = 4;
