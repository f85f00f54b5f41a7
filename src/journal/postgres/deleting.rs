//! Deletes bodies: their blocks are written again without them.
//!
//! What a body leaves in the database's files is overwritten when VACUUM has freed its place and another row takes
//! it.

use tokio_postgres::types::ToSql;

use super::following::Following;
use super::link::Link;
use super::shared::Shared;
use super::sql::{number, signed};
use crate::Timestamp;
use crate::journal::block::{Block, Format};
use crate::journal::{Deletion, Seq, Unavailable};

/// Deletes these bodies, block by block. Returns how many events they held that were not deleted before.
pub(super) async fn delete(shared: &Shared, bodies: &[Seq]) -> Result<usize, Unavailable> {
    let mut bodies = bodies.to_vec();
    bodies.sort_unstable();
    bodies.dedup();
    let (mut events, mut damaged) = (0, None);
    let mut rest = &bodies[..];
    while let Some(first) = rest.first() {
        let now = shared.times.now();
        let rows = shared.link.read(BLOCK, &[&signed(*first), &now]).await?;
        // All others are beyond the newest body.
        let Some(row) = rows.first() else { break };
        let block = Found::of(row);
        let own = &rest[..rest.partition_point(|seq| *seq <= block.last)];
        let there = &own[own.partition_point(|seq| *seq < block.floor)..];
        match block.delete(&shared.link, there).await? {
            Outcome::Changed => continue,
            Outcome::Deleted(count) => {
                events += count;
                tell(&shared.following, there, block.now);
            }
            Outcome::Damaged => damaged = damaged.or(there.first().copied()),
        }
        rest = &rest[own.len()..];
    }
    if let Some(seq) = damaged {
        let why = format!(
            "body {seq} cannot be deleted, because its block is damaged; those in other blocks were deleted"
        );
        return Err(Unavailable::Away(why));
    }
    Ok(events)
}

fn tell(following: &Following, bodies: &[Seq], now: i64) {
    let at = Timestamp::from_millisecond(now).unwrap_or_default();
    following.tail().delete(bodies, at);
}

/// A block as it is stored.
struct Found {
    first: Seq,
    last: Seq,
    edition: i32,
    /// The first body that was not trimmed.
    floor: Seq,
    now: i64,
    /// `None` if a newer version has written it.
    block: Option<Block>,
}

enum Outcome {
    /// So many events are deleted.
    Deleted(usize),
    /// Another instance has changed the block meanwhile.
    Changed,
    Damaged,
}

impl Found {
    fn of(row: &tokio_postgres::Row) -> Self {
        let (first, last) = (number(row, 0), number(row, 1));
        let format = Format::of(row.get::<_, i16>(3).into());
        let block = format.map(|format| Block {
            first: 1,
            last: (last + 1).saturating_sub(first),
            kept_at: 0,
            format,
            keys: Vec::new(),
            sums: row.get(4),
            bodies: row.get(5),
        });
        Self {
            first,
            last,
            edition: row.get(2),
            floor: number(row, 6),
            now: row.get(7),
            block,
        }
    }

    /// Deletes these bodies of the block.
    async fn delete(&self, link: &Link, bodies: &[Seq]) -> Result<Outcome, Unavailable> {
        if bodies.is_empty() {
            return Ok(Outcome::Deleted(0));
        }
        // The block numbers its bodies from 1.
        let within: Vec<Seq> = bodies.iter().map(|seq| seq - (self.first - 1)).collect();
        let erased = self
            .block
            .as_ref()
            .and_then(|block| block.erased(&within, self.now));
        let Some(erased) = erased else {
            return Ok(Outcome::Damaged);
        };
        let numbers = |seqs: &[Seq]| -> Vec<i64> { seqs.iter().map(|seq| signed(*seq)).collect() };
        let gone: Vec<Seq> = erased
            .bodies
            .iter()
            .map(|seq| seq + (self.first - 1))
            .collect();
        let values: [&(dyn ToSql + Sync); 7] = [
            &signed(self.last),
            &self.edition,
            &erased.block.sums,
            &erased.block.bodies,
            &numbers(bodies),
            &numbers(&gone),
            &self.now,
        ];
        let rows = link.call(ERASE, &values).await?;
        match rows[0].get(0) {
            true => Ok(Outcome::Deleted(erased.events)),
            false => Ok(Outcome::Changed),
        }
    }
}

/// Returns the deletions after this one, in order, at most `most`.
pub(super) async fn after(
    link: &Link,
    after: u64,
    most: usize,
) -> Result<Vec<Deletion>, Unavailable> {
    let rows = link
        .read(AFTER, &[&signed(after), &signed(most as u64)])
        .await?;
    let found = rows.iter().map(|row| Deletion {
        number: number(row, 0),
        seq: number(row, 1),
    });
    Ok(found.collect())
}

const BLOCK: &str = "SELECT b.first, b.last, b.edition, b.format, b.sums, b.bodies, m.first_seq, now_1($2) \
    FROM block b, meta m WHERE b.last >= greatest($1, m.first_seq) ORDER BY b.last LIMIT 1";
const ERASE: &str = "SELECT erase_1($1, $2, $3, $4, $5, $6, $7)";
const AFTER: &str = "SELECT number, seq FROM deletion WHERE number > $1 ORDER BY number LIMIT $2";
