//! [`DedupEntry`], and [`Segment`]: entries sorted by key in a file that is written once.
//!
//! The file is named after its newest body, `{seq}.dedup`. It has the number of entries (8) and the sum of
//! that (4), and then pages of up to 256 entries, each with its sum (4) behind it. An entry has 32 bytes: the
//! key's hash (16), the position (8, see [`Position::to_bits`]), the end of the window (8); all
//! little-endian. The first key of each page is in memory, so finding an entry takes one read.
//!
//! A page that is not what was written is reported once and left out: its events may be handed over twice.
//!
//! Older files have neither the number nor sums: `{seq}.keys`, and `{seq}.run`, which have the body's number
//! in place of the position.

use std::cmp::Reverse;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::filter::BloomFilter;
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::sum::Sum;
use crate::journal::{KeyHash, Position, Seq};

/// A file of sealed entries.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
    format: Format,
    /// How many entries the file has.
    length: u64,
    /// The first key of each page that is whole, and the number of that page.
    pages: Vec<(KeyHash, u64)>,
    /// Whether damage has been reported.
    told: AtomicBool,
    /// The number of its newest body.
    pub(super) last_seq: Seq,
    /// When the last of its windows ends, in milliseconds since 1970.
    pub(super) last_until: i64,
}

/// What a file holds, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `run`: numbers of bodies in place of positions, and no sums.
    Seqs,
    /// `keys`: no sums.
    Positions,
    /// `dedup`: what is written now.
    Sums,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "run" => Some(Self::Seqs),
            "keys" => Some(Self::Positions),
            "dedup" => Some(Self::Sums),
            _ => None,
        }
    }

    fn head(self) -> u64 {
        if self == Self::Sums { HEAD as u64 } else { 0 }
    }

    fn sum(self) -> u64 {
        if self == Self::Sums { SUM as u64 } else { 0 }
    }

    /// Returns how many whole entries a file of this length has.
    fn entries(self, bytes: u64) -> u64 {
        let page = PAGE as u64 + self.sum();
        let bytes = bytes.saturating_sub(self.head());
        let last = (bytes % page).saturating_sub(self.sum());
        bytes / page * PER_PAGE + last / ENTRY as u64
    }
}

impl Segment {
    /// Writes entries in any order. Returns the file's path.
    pub(crate) fn write(folder: &Path, mut entries: Vec<DedupEntry>) -> io::Result<PathBuf> {
        let seqs = entries.iter().map(|entry| entry.position.seq());
        let last_seq = seqs.max().unwrap_or_default();
        // Only the newest entry of each key is written.
        entries.sort_unstable_by_key(|entry| (entry.hash, Reverse(entry.position)));
        entries.dedup_by_key(|entry| entry.hash);
        let unfinished = folder.join(format!("{last_seq}.unfinished"));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = BufWriter::new(options.open(&unfinished)?);
        file.write_all(&head(last_seq, entries.len() as u64))?;
        for (number, page) in (0..).zip(entries.chunks(PER_PAGE as usize)) {
            let page: Vec<u8> = page.iter().flat_map(encode).collect();
            file.write_all(&page)?;
            file.write_all(&sum_of(last_seq, number, &page).to_le_bytes())?;
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        let path = folder.join(format!("{last_seq}.dedup"));
        std::fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }

    pub(super) fn is_segment(path: &Path) -> bool {
        Format::of(path).is_some()
    }

    /// Returns the number of the newest body in the segment with this name.
    pub(super) fn last_seq_of(path: &Path) -> io::Result<Seq> {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        name.ok_or_else(|| {
            let what = "its name is no event's number";
            io::Error::other(format!("{}: {what}", path.display()))
        })
    }

    /// Returns how many entries a file has.
    pub(super) fn length_of(path: &Path) -> io::Result<u64> {
        let format = Format::of(path).unwrap_or(Format::Sums);
        Ok(format.entries(path.metadata()?.len()))
    }

    /// Opens a segment and adds its keys to a filter.
    pub(crate) fn open(path: PathBuf, filter: &mut BloomFilter) -> io::Result<Self> {
        let file = File::open(&path)?;
        let mut segment = Self {
            last_seq: Self::last_seq_of(&path)?,
            format: Format::of(&path).unwrap_or(Format::Sums),
            length: Self::length_of(&path)?,
            file,
            path,
            pages: Vec::new(),
            told: AtomicBool::new(false),
            last_until: i64::MIN,
        };
        if !segment.has_all()? {
            segment.tell();
        }
        let mut page = [0; PAGE + SUM];
        for number in 0..segment.length.div_ceil(PER_PAGE) {
            let entries = segment.read_page(number, &mut page)?.unwrap_or_default();
            for (index, bytes) in entries.iter().enumerate() {
                let entry = segment.decode(bytes);
                if index == 0 {
                    segment.pages.push((entry.hash, number));
                }
                filter.insert(entry.hash);
                segment.last_until = segment.last_until.max(entry.until);
            }
        }
        Ok(segment)
    }

    /// Returns whether the file has as many bytes as it was written with, as far as it says so.
    fn has_all(&self) -> io::Result<bool> {
        let bytes = self.file.metadata()?.len();
        let pages = self.length.div_ceil(PER_PAGE);
        let (format, entries) = (self.format, self.length * ENTRY as u64);
        let is_even = bytes == format.head() + entries + pages * format.sum();
        if format != Format::Sums || !is_even {
            return Ok(is_even);
        }
        let mut found = [0; HEAD];
        self.file.read_exact_at(&mut found, 0)?;
        Ok(found == head(self.last_seq, self.length))
    }

    pub(crate) fn find(&self, key: KeyHash) -> io::Result<Option<DedupEntry>> {
        let pages = self.pages.partition_point(|(first, _)| *first <= key);
        let Some(page) = pages.checked_sub(1) else {
            return Ok(None);
        };
        let (_, number) = self.pages[page];
        let mut page = [0; PAGE + SUM];
        let entries = self.read_page(number, &mut page)?.unwrap_or_default();
        let found = entries.binary_search_by_key(&key, |bytes| self.decode(bytes).hash);
        Ok(found.ok().map(|at| self.decode(&entries[at])))
    }

    /// Reads the entries of a page; `None` if they are not what was written. Only the last page can be short.
    fn read_page<'a>(
        &self,
        number: u64,
        page: &'a mut [u8; PAGE + SUM],
    ) -> io::Result<Option<&'a [[u8; ENTRY]]>> {
        let sum = self.format.sum();
        let start = self.format.head() + number * (PAGE as u64 + sum);
        let entries = self.length.saturating_sub(number * PER_PAGE).min(PER_PAGE);
        let page = &mut page[..(entries * ENTRY as u64 + sum) as usize];
        self.file.read_exact_at(page, start)?;
        if self.format != Format::Sums {
            return Ok(Some(page.as_chunks().0));
        }
        let (entries, sum) = page.split_last_chunk().expect("its sum is there");
        if sum_of(self.last_seq, number, entries) == u32::from_le_bytes(*sum) {
            return Ok(Some(entries.as_chunks().0));
        }
        self.tell();
        Ok(None)
    }

    /// Reports that something of it is not what was written.
    fn tell(&self) {
        if !self.told.swap(true, Ordering::Relaxed) {
            log::error!(
                "journal: damaged: {} is not what was written; if events whose keys it had are sent \
                 again, they are handed over twice",
                self.path.display()
            );
        }
    }

    fn decode(&self, bytes: &[u8; ENTRY]) -> DedupEntry {
        let (hash, rest) = bytes.split_first_chunk().expect("16 of 32");
        let (number, until) = rest.split_first_chunk().expect("8 of 16");
        let number = u64::from_le_bytes(*number);
        DedupEntry {
            hash: u128::from_le_bytes(*hash),
            position: if self.format == Format::Seqs {
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

/// What stands before the pages.
fn head(last_seq: Seq, entries: u64) -> [u8; HEAD] {
    let mut bytes = [0; HEAD];
    bytes[..8].copy_from_slice(&entries.to_le_bytes());
    let sum = Sum::of("dedup head").number(last_seq).number(entries);
    bytes[8..].copy_from_slice(&sum.end().to_le_bytes());
    bytes
}

fn sum_of(last_seq: Seq, page: u64, entries: &[u8]) -> u32 {
    let sum = Sum::of("dedup page").number(last_seq).number(page);
    sum.text(entries).end()
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

/// Returns the newest body of all segments in a folder, by their names.
pub(crate) fn newest_segment(folder: &Path) -> Option<Seq> {
    let files = std::fs::read_dir(folder).ok()?;
    let paths = files.filter_map(|file| Some(file.ok()?.path()));
    let segments = paths.filter(|path| Segment::is_segment(path));
    segments
        .filter_map(|path| Segment::last_seq_of(&path).ok())
        .max()
}

/// Returns the paths of a folder's segments that hold no entry of a body after `newest`.
pub(crate) fn segments_up_to(folder: &Path, newest: Seq) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if Segment::is_segment(&path) && Segment::last_seq_of(&path)? <= newest {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Reads all of a segment.
///
/// # Errors
///
/// When the file cannot be read, or is not what was written; of an older one, without sums, as far as that can be
/// seen.
pub(crate) fn check_segment(path: &Path) -> io::Result<()> {
    let damaged = || {
        let path = path.display();
        io::Error::other(format!("{path}: its entries are not what was written"))
    };
    let segment = Segment::open(path.to_owned(), &mut BloomFilter::for_keys(1))?;
    if !segment.has_all()? {
        return Err(damaged());
    }
    let mut last = None;
    let mut page = [0; PAGE + SUM];
    for number in 0..segment.length.div_ceil(PER_PAGE) {
        let bytes = segment.read_page(number, &mut page)?;
        for entry in bytes
            .ok_or_else(damaged)?
            .iter()
            .map(|bytes| segment.decode(bytes))
        {
            let is_known = (1..=segment.last_seq).contains(&entry.position.seq());
            if !is_known || last.is_some_and(|last| last >= entry.hash) {
                return Err(damaged());
            }
            last = Some(entry.hash);
        }
    }
    Ok(())
}

/// Returns the entries of a segment, in the order of their keys. A page that is not what was written is reported and
/// left out.
#[cfg(feature = "postgres")]
pub(crate) fn entries_of_segment(path: &Path) -> io::Result<Vec<DedupEntry>> {
    let segment = Segment::open(path.to_owned(), &mut BloomFilter::for_keys(1))?;
    let (mut all, mut page) = (Vec::new(), [0; PAGE + SUM]);
    for number in 0..segment.length.div_ceil(PER_PAGE) {
        let entries = segment.read_page(number, &mut page)?.unwrap_or_default();
        all.extend(entries.iter().map(|bytes| segment.decode(bytes)));
    }
    Ok(all)
}

/// Returns how many entries the segments of a folder have together.
#[cfg(feature = "postgres")]
pub(crate) fn length_of_segments(folder: &Path) -> io::Result<u64> {
    let paths = segments_up_to(folder, Seq::MAX)?;
    paths.iter().map(|path| Segment::length_of(path)).sum()
}

/// Deletes all segments of a folder, which need not exist.
pub(crate) fn remove_segments(folder: &Path) -> io::Result<()> {
    while let Some(path) = any_segment(folder) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

const ENTRY: usize = 32;
const HEAD: usize = 12;
const SUM: usize = 4;

/// How many entries are read together.
const PER_PAGE: u64 = 256;

/// The bytes of these, without their sum.
const PAGE: usize = PER_PAGE as usize * ENTRY;

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
    fn files_of_the_versions_before_are_read() {
        let folder = TestFolder::new();
        let mut entries = entries(300);
        entries.sort_by_key(|entry| entry.hash);
        let path = folder.path().join("300.keys");
        let bytes: Vec<u8> = entries.iter().flat_map(encode).collect();
        std::fs::write(&path, bytes).unwrap();
        let segment = Segment::open(path, &mut BloomFilter::for_keys(300)).unwrap();
        for entry in &entries {
            assert_eq!(segment.find(entry.hash).unwrap(), Some(*entry));
        }
        assert!(!segment.told.load(Ordering::Relaxed));

        let path = folder.path().join("300.run");
        let bytes = entries.iter().flat_map(|entry| {
            let mut bytes = encode(entry);
            bytes[16..24].copy_from_slice(&entry.position.seq().to_le_bytes());
            bytes
        });
        std::fs::write(&path, bytes.collect::<Vec<u8>>()).unwrap();
        assert!(Segment::is_segment(&path));
        let segment = Segment::open(path, &mut BloomFilter::for_keys(300)).unwrap();
        assert_eq!(segment.last_seq, 300);
        for entry in entries {
            let found = segment.find(entry.hash).unwrap().unwrap();
            assert_eq!(found.position, Position::first(entry.position.seq()));
            assert_eq!(found.until, entry.until);
        }
    }

    /// A key that is found has its own entry, and all pages but one are still found.
    #[test]
    fn a_flipped_bit_costs_one_page() {
        let folder = TestFolder::new();
        let entries = entries(3 * u128::from(PER_PAGE) + 9);
        let path = Segment::write(folder.path(), entries.clone()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut random = fastrand::Rng::with_seed(5);
        let check = |altered: &[u8], context: String| {
            std::fs::write(&path, altered).unwrap();
            let opened = Segment::open(path.clone(), &mut BloomFilter::for_keys(1)).unwrap();
            let found = |entry: &&DedupEntry| match opened.find(entry.hash).unwrap() {
                Some(found) => found == **entry || panic!("{context}: another entry"),
                None => false,
            };
            assert!(opened.told.load(Ordering::Relaxed), "{context}: not told");
            entries.iter().filter(found).count()
        };
        for _ in 0..200 {
            let bit = random.usize(..8 * bytes.len());
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let found = check(&altered, format!("bit {bit}"));
            assert!(found >= entries.len() - PER_PAGE as usize, "{bit}: {found}");
        }
        for length in [0, HEAD, HEAD + 1, HEAD + PAGE + SUM, bytes.len() - 1] {
            let found = check(&bytes[..length], format!("cut at {length}"));
            assert!(found <= length / ENTRY, "{length}: {found}");
        }
        // While it is open.
        std::fs::write(&path, &bytes).unwrap();
        let opened = Segment::open(path.clone(), &mut BloomFilter::for_keys(1)).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[!bytes[HEAD + 5]], HEAD as u64 + 5)
            .unwrap();
        let first = entries.iter().min_by_key(|entry| entry.hash).unwrap();
        assert_eq!(opened.find(first.hash).unwrap(), None);
        assert!(opened.told.load(Ordering::Relaxed));
    }

    #[test]
    fn a_foreign_name_is_an_error() {
        let folder = TestFolder::new();
        let path = folder.path().join("4.run");
        std::fs::write(&path, [0; ENTRY + 1]).unwrap();
        let cut = Segment::open(path, &mut BloomFilter::for_keys(1)).unwrap();
        assert_eq!((cut.length, cut.told.into_inner()), (1, true));
        let path = folder.path().join("four.run");
        let refused = Segment::last_seq_of(&path).unwrap_err();
        let named = format!("{}: its name is no event's number", path.display());
        assert_eq!(refused.to_string(), named);
    }
}
