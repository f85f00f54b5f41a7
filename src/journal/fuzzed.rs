//! What the fuzz target `journal` sees of blocks and dedup segments.

use std::path::Path;

use bytes::Bytes;

use super::block::{Block, Format};
use super::dedup::{DedupEntry, Segment};
use super::{BloomFilter, Events, Parts, Position};
use crate::Received;

/// Makes the three blobs of a block with these bodies, from number 1 on: keys, bodies, sums.
pub fn make_block(bodies: &[&[u8]]) -> [Vec<u8>; 3] {
    let mut block = Block::default();
    for (seq, body) in (1..).zip(bodies) {
        let received = Received::new("source", Bytes::copy_from_slice(body));
        let parts = Parts::one(&received, 1);
        block.push(seq, [entry(seq)], &received, &parts, &Events::Unread);
    }
    block.finish();
    [block.keys, block.bodies, block.sums]
}

/// Reads a block of a format: how many keys, and the bodies, `None` for one that is damaged. `None` for what
/// cannot be read at all.
pub fn read_block(
    format: i64,
    (first, last): (u64, u64),
    [keys, bodies, sums]: [&[u8]; 3],
) -> (Option<usize>, Option<Vec<Option<Bytes>>>) {
    let Some(format) = Format::of(format) else {
        return (None, None);
    };
    let block = Block {
        first,
        last,
        kept_at: 0,
        format,
        keys,
        bodies,
        sums,
    };
    if !block.is_whole() {
        return (None, None);
    }
    let records = block.records(0, 1);
    let bodies = records.map(|record| match record.missing {
        None => Some(record.received.body.clone()),
        Some(_) => None,
    });
    (
        block.entries().map(|entries| entries.len()),
        Some(bodies.collect()),
    )
}

/// Writes a dedup segment with so many keys into a folder, and returns its bytes.
///
/// # Errors
///
/// When it cannot be written.
pub fn make_segment(folder: &Path, keys: u64) -> std::io::Result<Vec<u8>> {
    let path = Segment::write(folder, (1..=keys).map(entry).collect())?;
    std::fs::read(path)
}

/// Reads a segment of these bytes, by the end of its name. Returns how many of these keys it has.
///
/// # Errors
///
/// When the file cannot be written or read.
pub fn read_segment(folder: &Path, bytes: &[u8], end: &str, keys: u64) -> std::io::Result<usize> {
    let path = folder.join(format!("{keys}.{end}"));
    std::fs::write(&path, bytes)?;
    let segment = Segment::open(path, &mut BloomFilter::for_keys(1))?;
    let mut found = 0;
    for seq in 1..=keys {
        let entry = entry(seq);
        if let Some(known) = segment.find(entry.hash)? {
            assert!(end != "dedup" || known == entry, "another event");
            found += 1;
        }
    }
    Ok(found)
}

fn entry(seq: u64) -> DedupEntry {
    DedupEntry {
        hash: u128::from(seq).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
        position: Position::first(seq),
        until: 1,
    }
}
