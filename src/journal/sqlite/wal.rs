//! [`WalScan`]: what the write-ahead log holds, read before SQLite reads it.
//!
//! SQLite uses the log up to its last whole transaction, and silently ignores the rest. After a power cut
//! that is the transaction that was being written. But if a frame in the middle is damaged, transactions
//! behind it are ignored that were acknowledged. Each frame's checksum begins with that of the frame before, so
//! the frames behind a damaged one can be checked too. They say how far the journal went.
//!
//! The format: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use crate::journal::Seq;

/// What the write-ahead log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WalScan {
    /// How many pages the database has after the last transaction that SQLite uses; `None` if it uses none.
    pub(super) pages: Option<u32>,
    /// The numbers of the pages that it uses.
    pub(super) used: BTreeSet<u32>,
    /// What stands behind the first frame that is not whole.
    pub(super) behind: Option<Behind>,
}

/// Whole frames of this log that SQLite ignores, because one before them is not whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Where the first frame is that is not whole, in bytes.
    pub(super) at: u64,
    pub(super) frames: u32,
    /// How many transactions end in them.
    pub(super) commits: u32,
    /// The newest body that they hold; 0 for none.
    pub(super) newest: Seq,
}

impl WalScan {
    /// Reads the log at `path`, which need not exist.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            file => file?,
        };
        match Self::read(BufReader::with_capacity(1 << 18, file)) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Self::default()),
            scan => scan,
        }
    }

    fn read(mut log: impl Read) -> io::Result<Self> {
        let mut header = [0; HEADER];
        log.read_exact(&mut header)?;
        let is_big = match number(&header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return Ok(Self::default()),
        };
        let page = number(&header, 8) as usize;
        if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
            return Ok(Self::default());
        }
        let mut chain = Chain {
            is_big,
            last: (0, 0),
        };
        let is_header_whole = chain.is_next(&[&header[..24]], &header[24..]);
        let mut frames = Frames {
            salts: is_header_whole.then(|| header[16..24].try_into().expect("8 bytes")),
            chain,
            broken_at: (!is_header_whole).then_some(0),
            pending: Vec::new(),
            scan: Self::default(),
        };
        let mut frame = vec![0; FRAME + page];
        let mut at = HEADER as u64;
        while read_whole(&mut log, &mut frame)? {
            frames.add(at, &frame);
            at += frame.len() as u64;
        }
        Ok(frames.scan)
    }
}

/// The frames up to some place.
struct Frames {
    /// The number of this log; frames of an earlier one stand behind its end.
    salts: Option<[u8; 8]>,
    chain: Chain,
    /// Where the first frame is that is not whole.
    broken_at: Option<u64>,
    /// The pages of a transaction whose end was not found yet.
    pending: Vec<u32>,
    scan: WalScan,
}

impl Frames {
    fn add(&mut self, at: u64, frame: &[u8]) {
        let (head, page) = frame.split_at(FRAME);
        let salts = *self
            .salts
            .get_or_insert_with(|| head[8..16].try_into().expect("8 bytes"));
        let is_own = head[8..16] == salts;
        // Most of what stands behind the end is of an earlier log, and not worth a checksum.
        let is_whole = is_own && self.chain.is_next(&[&head[..8], page], &head[16..24]);
        self.chain.last = (number(head, 16), number(head, 20));
        let pages = number(head, 4);
        match self.broken_at {
            None if is_whole => {
                self.pending.push(number(head, 0));
                if pages > 0 {
                    self.scan.pages = Some(pages);
                    self.scan.used.extend(self.pending.drain(..));
                }
            }
            None => self.broken_at = Some(at),
            Some(broken_at) if is_whole => {
                let behind = self.scan.behind.get_or_insert(Behind {
                    at: broken_at,
                    frames: 0,
                    commits: 0,
                    newest: 0,
                });
                behind.frames += 1;
                behind.commits += u32::from(pages > 0);
                behind.newest = behind.newest.max(newest(page).unwrap_or(0));
            }
            Some(_) => {}
        }
    }
}

/// The checksums, each of which begins with the one before.
struct Chain {
    is_big: bool,
    last: (u32, u32),
}

impl Chain {
    /// Whether `stored` is the checksum of these bytes, behind what came before. Continues with it.
    fn is_next(&mut self, bytes: &[&[u8]], stored: &[u8]) -> bool {
        let (mut one, mut two) = self.last;
        for pair in bytes.iter().flat_map(|bytes| bytes.as_chunks::<8>().0) {
            let [a, b, c, d, e, f, g, h] = *pair;
            let word = |bytes| match self.is_big {
                true => u32::from_be_bytes(bytes),
                false => u32::from_le_bytes(bytes),
            };
            one = one.wrapping_add(word([a, b, c, d])).wrapping_add(two);
            two = two.wrapping_add(word([e, f, g, h])).wrapping_add(one);
        }
        self.last = (number(stored, 0), number(stored, 4));
        (one, two) == self.last
    }
}

/// The highest key on a leaf of a table with numbers as keys. The only such table with many rows is that of
/// the blocks, whose key is the number of the newest body.
fn newest(page: &[u8]) -> Option<Seq> {
    let count = usize::from(u16::from_be_bytes(page.get(3..5)?.try_into().ok()?));
    if page[0] != LEAF {
        return None;
    }
    let pointers = page.get(8..8 + 2 * count)?.as_chunks::<2>().0;
    let key = |pointer: &[u8; 2]| {
        let cell = page.get(usize::from(u16::from_be_bytes(*pointer))..)?;
        let (_, key) = varint(cell)?;
        Some(varint(key)?.0)
    };
    pointers.iter().filter_map(key).max()
}

/// Takes a number in SQLite's form: seven bits a byte, the highest first, and all of the ninth.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        if index == 8 {
            return Some((value << 8 | u64::from(*byte), &bytes[9..]));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// Fills `frame`. Returns false at the end, also within a frame.
fn read_whole(log: &mut impl Read, frame: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(frame) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// The bytes before the first frame, and before the page of each frame.
const HEADER: usize = 32;
const FRAME: usize = 24;

/// The first byte of a leaf of a table with numbers as keys.
const LEAF: u8 = 0x0d;

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::journal::TestFolder;

    /// A log with a transaction for each row of a table like that of the blocks.
    fn log(folder: &TestFolder, rows: u64) -> Vec<u8> {
        let path = folder.path().join("test.db");
        let database = Connection::open(&path).unwrap();
        let sql =
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                   CREATE TABLE blocks (last INTEGER PRIMARY KEY, events BLOB);";
        database.execute_batch(sql).unwrap();
        for row in 1..=rows {
            let sql = "INSERT INTO blocks VALUES (?, zeroblob(1000))";
            database.execute(sql, [100 * row]).unwrap();
        }
        std::fs::read(folder.path().join("test.db-wal")).unwrap()
    }

    #[test]
    fn what_stands_behind_damage_is_found() {
        let folder = TestFolder::new();
        let log = log(&folder, 40);
        let whole = WalScan::read(&log[..]).unwrap();
        assert_eq!(whole.behind, None);
        assert!(whole.pages > Some(10) && whole.used.len() > 10, "{whole:?}");
        let frame = FRAME + 4096;
        let frames = (log.len() - HEADER) / frame;
        for number in 0..frames {
            let mut damaged = log.clone();
            damaged[HEADER + number * frame + 2000] ^= 1;
            let scan = WalScan::read(&damaged[..]).unwrap();
            let behind = scan
                .behind
                .map(|behind| (behind.at, behind.frames, behind.newest));
            let at = (HEADER + number * frame) as u64;
            let left = (frames - number - 1) as u32;
            let expected = (left > 0).then_some((at, left, 4000));
            // The last frames may hold no leaf, and then say nothing of the newest.
            let newest = behind.map(|(_, _, newest)| newest);
            assert!(
                newest.is_none_or(|newest| newest == 4000 || left < 4),
                "{number}"
            );
            assert_eq!(
                behind.map(|(at, left, _)| (at, left)),
                expected.map(|(at, left, _)| (at, left))
            );
        }
        // Without a header SQLite uses nothing.
        let mut damaged = log.clone();
        damaged[20] ^= 1;
        let scan = WalScan::read(&damaged[..]).unwrap();
        assert_eq!((scan.pages, scan.behind.unwrap().newest), (None, 4000));
        // A cut log is as it was at some time.
        for length in [0, 20, HEADER, HEADER + frame, log.len() - 1] {
            assert_eq!(WalScan::of_bytes(&log[..length]).behind, None, "{length}");
        }
    }

    #[test]
    fn any_bytes_are_read() {
        let mut random = fastrand::Rng::with_seed(3);
        let folder = TestFolder::new();
        let log = log(&folder, 3);
        for _ in 0..300 {
            let mut bytes = log.clone();
            for _ in 0..random.usize(1..2000) {
                let at = random.usize(..bytes.len());
                bytes[at] = random.u8(..);
            }
            WalScan::of_bytes(&bytes);
            WalScan::of_bytes(&bytes[..random.usize(..64)]);
        }
    }

    impl WalScan {
        fn of_bytes(bytes: &[u8]) -> Self {
            match Self::read(bytes) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                    Self::default()
                }
                Ok(scan) => scan,
            }
        }
    }
}
