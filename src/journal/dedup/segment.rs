//! [`DedupEntry`], and [`Segment`]: entries sorted by key in a file that is written once.
//!
//! The file is named after its newest body, `{seq}.keys`, and holds 32 bytes an entry: the key's
//! hash (16), the position (8, see [`Position::to_bits`]), the end of the window (8); all
//! little-endian. Files of version 2, `{seq}.run`, have the body's number in place of the position.
//! The first key of each page is in memory, so finding an entry takes one read.

use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::filter::BloomFilter;
use crate::journal::{DedupKey, KeyHash, Position, Seq};

/// One event that makes later ones with the same key duplicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DedupEntry {
    pub(crate) hash: KeyHash,
    pub(crate) position: Position,
    /// The end of its dedup window, in milliseconds since 1970.
    pub(crate) until: i64,
}

impl DedupEntry {
    /// Makes the entries of the event at `position`, received at `at` (milliseconds since 1970): one, and
    /// one more for the state that it is a value of.
    pub(crate) fn all_of(key: DedupKey, position: Position, at: i64) -> impl Iterator<Item = Self> {
        let until = key.ends_at(at);
        let entry = move |hash| Self {
            hash,
            position,
            until,
        };
        std::iter::once(key.hash).chain(key.state).map(entry)
    }
}

/// A file of sealed entries.
#[derive(Debug)]
pub(super) struct Segment {
    path: PathBuf,
    file: File,
    /// Whether it is of version 2, which has the numbers of bodies in place of positions.
    has_seqs: bool,
    /// The length of the file in bytes.
    length: u64,
    /// The first key of each page.
    pages: Vec<KeyHash>,
    /// The number of its newest body.
    pub(super) last_seq: Seq,
    /// When the last of its windows ends, in milliseconds since 1970.
    pub(super) last_until: i64,
}

impl Segment {
    /// Writes entries in any order. Returns the file's path.
    pub(super) fn write(folder: &Path, mut entries: Vec<DedupEntry>) -> io::Result<PathBuf> {
        let seqs = entries.iter().map(|entry| entry.position.seq());
        let last_seq = seqs.max().unwrap_or_default();
        // Only the newest entry of each key is written.
        entries.sort_unstable_by_key(|entry| (entry.hash, Reverse(entry.position)));
        entries.dedup_by_key(|entry| entry.hash);
        let unfinished = folder.join(format!("{last_seq}.unfinished"));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        for entry in &entries {
            file.write_all(&encode(entry))?;
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        let path = folder.join(format!("{last_seq}.keys"));
        std::fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }

    pub(super) fn is_segment(path: &Path) -> bool {
        path.extension()
            .is_some_and(|end| end == "keys" || end == "run")
    }

    /// Returns the number of the newest body in the segment with this name.
    pub(super) fn last_seq_of(path: &Path) -> io::Result<Seq> {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        name.ok_or_else(|| damaged(path, "its name is no event's number"))
    }

    pub(super) fn length_of(path: &Path) -> io::Result<u64> {
        let bytes = path.metadata()?.len();
        if bytes % ENTRY as u64 != 0 {
            return Err(damaged(path, "its length is no whole number of entries"));
        }
        Ok(bytes / ENTRY as u64)
    }

    /// Opens a segment and adds its keys to a filter.
    pub(super) fn open(path: PathBuf, filter: &mut BloomFilter) -> io::Result<Self> {
        let mut segment = Self {
            last_seq: Self::last_seq_of(&path)?,
            has_seqs: path.extension().is_some_and(|end| end == "run"),
            length: Self::length_of(&path)? * ENTRY as u64,
            file: File::open(&path)?,
            path,
            pages: Vec::new(),
            last_until: i64::MIN,
        };
        let mut page = [0; PAGE];
        for number in 0..segment.length.div_ceil(PAGE as u64) {
            for (index, bytes) in segment.read_page(number, &mut page)?.iter().enumerate() {
                let entry = segment.decode(bytes);
                if index == 0 {
                    segment.pages.push(entry.hash);
                }
                filter.insert(entry.hash);
                segment.last_until = segment.last_until.max(entry.until);
            }
        }
        Ok(segment)
    }

    pub(super) fn find(&self, key: KeyHash) -> io::Result<Option<DedupEntry>> {
        let pages = self.pages.partition_point(|first| *first <= key);
        let Some(number) = pages.checked_sub(1) else {
            return Ok(None);
        };
        let mut page = [0; PAGE];
        let entries = self.read_page(number as u64, &mut page)?;
        let found = entries.binary_search_by_key(&key, |bytes| self.decode(bytes).hash);
        Ok(found.ok().map(|at| self.decode(&entries[at])))
    }

    /// Reads the entries of a page. Only the last page can be short.
    fn read_page<'a>(
        &self,
        number: u64,
        page: &'a mut [u8; PAGE],
    ) -> io::Result<&'a [[u8; ENTRY]]> {
        let start = number * PAGE as u64;
        let length = self.length.saturating_sub(start).min(PAGE as u64);
        let page = &mut page[..length as usize];
        self.file.read_exact_at(page, start)?;
        Ok(page.as_chunks().0)
    }

    fn decode(&self, bytes: &[u8; ENTRY]) -> DedupEntry {
        let (hash, rest) = bytes.split_first_chunk().expect("16 of 32");
        let (number, until) = rest.split_first_chunk().expect("8 of 16");
        let number = u64::from_le_bytes(*number);
        DedupEntry {
            hash: u128::from_le_bytes(*hash),
            position: if self.has_seqs {
                Position::first(number)
            } else {
                Position::from_bits(number)
            },
            until: i64::from_le_bytes(until.try_into().expect("8 of 8")),
        }
    }

    /// Deletes its file, if it still exists.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn damaged(path: &Path, what: &str) -> io::Error {
    io::Error::other(format!("{}: {what}", path.display()))
}

fn encode(entry: &DedupEntry) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..16].copy_from_slice(&entry.hash.to_le_bytes());
    bytes[16..24].copy_from_slice(&entry.position.to_bits().to_le_bytes());
    bytes[24..].copy_from_slice(&entry.until.to_le_bytes());
    bytes
}

/// Returns the path of any segment in a folder.
pub(crate) fn any_segment(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.find(|path| Segment::is_segment(path))
}

/// Deletes all segments of a folder, which need not exist.
pub(crate) fn remove_segments(folder: &Path) -> io::Result<()> {
    while let Some(path) = any_segment(folder) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

const ENTRY: usize = 32;

/// The bytes of one read.
const PAGE: usize = 256 * ENTRY;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::TestFolder;

    fn entries(count: u128) -> Vec<DedupEntry> {
        let entry = |number: u128| DedupEntry {
            hash: number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            position: Position::new(number as u64 + 1, number as u16 % 3 + 1),
            until: number as i64 * 10,
        };
        (0..count).map(entry).collect()
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let folder = TestFolder::new();
        let mut entries = entries(2 * PAGE as u128 / ENTRY as u128 + 9);
        entries.sort_by_key(|entry| entry.hash);
        // The first and the last key are among the missing ones.
        let (odd, even): (Vec<_>, Vec<_>) =
            { entries.into_iter().enumerate() }.partition(|(number, _)| number % 2 == 1);
        let odd: Vec<DedupEntry> = odd.into_iter().map(|(_, entry)| entry).collect();
        for count in [0, 1, PAGE / ENTRY, odd.len()] {
            let path = Segment::write(folder.path(), odd[..count].to_vec()).unwrap();
            let newest = odd[..count].iter().map(|entry| entry.position.seq()).max();
            assert_eq!(Segment::last_seq_of(&path).unwrap(), newest.unwrap_or(0));
            assert_eq!(Segment::length_of(&path).unwrap(), count as u64);
            let mut filter = BloomFilter::for_keys(count as u64);
            let segment = Segment::open(path, &mut filter).unwrap();
            let last = odd[..count].iter().map(|entry| entry.until).max();
            assert_eq!(segment.last_until, last.unwrap_or(i64::MIN));
            for entry in &odd[..count] {
                assert_eq!(segment.find(entry.hash).unwrap(), Some(*entry));
                assert!(filter.may_contain(entry.hash));
            }
            for (_, entry) in &even {
                assert_eq!(segment.find(entry.hash).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_file_of_the_version_before_is_read() {
        let folder = TestFolder::new();
        let mut entries = entries(9);
        entries.sort_by_key(|entry| entry.hash);
        let path = folder.path().join("9.run");
        let bytes = entries.iter().flat_map(|entry| {
            let mut bytes = encode(entry);
            bytes[16..24].copy_from_slice(&entry.position.seq().to_le_bytes());
            bytes
        });
        std::fs::write(&path, bytes.collect::<Vec<u8>>()).unwrap();
        assert!(Segment::is_segment(&path));
        let segment = Segment::open(path, &mut BloomFilter::for_keys(9)).unwrap();
        assert_eq!(segment.last_seq, 9);
        for entry in entries {
            let found = segment.find(entry.hash).unwrap().unwrap();
            assert_eq!(found.position, Position::first(entry.position.seq()));
            assert_eq!(found.until, entry.until);
        }
    }

    #[test]
    fn a_damaged_file_is_named_in_the_error() {
        let folder = TestFolder::new();
        let path = folder.path().join("4.run");
        std::fs::write(&path, [0; ENTRY + 1]).unwrap();
        let refused = Segment::open(path.clone(), &mut BloomFilter::for_keys(1)).unwrap_err();
        let named = format!(
            "{}: its length is no whole number of entries",
            path.display()
        );
        assert_eq!(refused.to_string(), named);
        let path = folder.path().join("four.run");
        let refused = Segment::last_seq_of(&path).unwrap_err();
        let named = format!("{}: its name is no event's number", path.display());
        assert_eq!(refused.to_string(), named);
    }
}
