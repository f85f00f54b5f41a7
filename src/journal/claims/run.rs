//! [`Run`]: claims sorted by key in a file that is written once.
//!
//! The file is named after its newest event, `{seq}.run`, and holds 32 bytes a claim: key, number of
//! the event, end of the window; all little-endian. In memory is the first key of each page, so that a
//! claim is found with one read.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::record::ClaimKey;
use super::Made;
use super::filter::Filter;
use crate::journal::Seq;

/// Sealed claims.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    /// The first key of each page.
    pages: Vec<ClaimKey>,
    last_seq: Seq,
    last_until: i64,
}

impl Run {
    /// Writes claims, in whatever order they are; where they are then.
    pub(super) fn write(folder: &Path, mut claims: Vec<Made>) -> io::Result<PathBuf> {
        let last_seq = claims.iter().map(|made| made.seq).max().unwrap_or_default();
        // Of one key the newest counts.
        claims.sort_unstable_by_key(|made| (made.key, std::cmp::Reverse(made.seq)));
        claims.dedup_by_key(|made| made.key);
        let unfinished = folder.join(format!("{last_seq}.unfinished"));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        for made in &claims {
            file.write_all(&encode(made))?;
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        let path = folder.join(format!("{last_seq}.run"));
        std::fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(path)
    }

    /// The number of the newest event of the run with this name.
    pub(super) fn last_seq_of(path: &Path) -> io::Result<Seq> {
        let name = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        name.ok_or_else(|| damaged(path, "its name is no event's number"))
    }

    /// How many claims are in this file.
    pub(super) fn length_of(path: &Path) -> io::Result<u64> {
        let bytes = path.metadata()?.len();
        if bytes % CLAIM as u64 != 0 {
            return Err(damaged(path, "its length is no whole number of claims"));
        }
        Ok(bytes / CLAIM as u64)
    }

    /// Opens a run and brings its keys into a filter.
    pub(super) fn open(path: PathBuf, filter: &mut Filter) -> io::Result<Self> {
        let last_seq = Self::last_seq_of(&path)?;
        let mut left = Self::length_of(&path)? * CLAIM as u64;
        let mut file = File::open(&path)?;
        let mut pages = Vec::new();
        let mut last_until = i64::MIN;
        let mut page = [0; PAGE];
        while left > 0 {
            let part = &mut page[..left.min(PAGE as u64) as usize];
            file.read_exact(part)?;
            left -= part.len() as u64;
            for (number, claim) in part.as_chunks::<CLAIM>().0.iter().enumerate() {
                let made = decode(claim);
                if number == 0 {
                    pages.push(made.key);
                }
                filter.insert(made.key);
                last_until = last_until.max(made.until);
            }
        }
        Ok(Self {
            path,
            file,
            pages,
            last_seq,
            last_until,
        })
    }

    /// The number of its newest event.
    pub(super) fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// When the last of its claims ends.
    pub(super) fn last_until(&self) -> i64 {
        self.last_until
    }

    /// The claim of this key.
    pub(super) fn find(&self, key: ClaimKey) -> io::Result<Option<Made>> {
        let pages = self.pages.partition_point(|first| *first <= key);
        let Some(number) = pages.checked_sub(1) else {
            return Ok(None);
        };
        let mut page = [0; PAGE];
        let length = self.read_page(number, &mut page)?;
        let claims = page[..length].as_chunks::<CLAIM>().0;
        let found = claims.binary_search_by_key(&key, |claim| decode(claim).key);
        Ok(found.ok().map(|at| decode(&claims[at])))
    }

    /// How much of a page there is; only the last one can be short.
    fn read_page(&self, number: usize, page: &mut [u8; PAGE]) -> io::Result<usize> {
        let start = (number * PAGE) as u64;
        let mut length = 0;
        while length < PAGE {
            match self
                .file
                .read_at(&mut page[length..], start + length as u64)
            {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(length)
    }

    /// Deletes its file, if it is still there.
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

fn encode(made: &Made) -> [u8; CLAIM] {
    let mut bytes = [0; CLAIM];
    bytes[..16].copy_from_slice(&made.key.to_le_bytes());
    bytes[16..24].copy_from_slice(&made.seq.to_le_bytes());
    bytes[24..].copy_from_slice(&made.until.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; CLAIM]) -> Made {
    let (key, rest) = bytes.split_first_chunk().expect("16 of 32");
    let (seq, until) = rest.split_first_chunk().expect("8 of 16");
    Made {
        key: u128::from_le_bytes(*key),
        seq: u64::from_le_bytes(*seq),
        until: i64::from_le_bytes(until.try_into().expect("8 of 8")),
    }
}

const CLAIM: usize = 32;

/// What is read at once.
const PAGE: usize = 256 * CLAIM;

#[cfg(test)]
mod tests {
    use super::super::super::TestFolder;
    use super::*;

    fn claims(count: u128) -> Vec<Made> {
        let made = |number: u128| Made {
            key: number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835),
            seq: number as u64 + 1,
            until: number as i64 * 10,
        };
        (0..count).map(made).collect()
    }

    #[test]
    fn what_was_written_is_found_and_nothing_else() {
        let folder = TestFolder::new();
        let mut claims = claims(2 * PAGE as u128 / CLAIM as u128 + 9);
        claims.sort_by_key(|made| made.key);
        // The first and the last key are among those that are not there.
        let (odd, even): (Vec<_>, Vec<_>) =
            { claims.into_iter().enumerate() }.partition(|(number, _)| number % 2 == 1);
        let odd: Vec<Made> = odd.into_iter().map(|(_, made)| made).collect();
        for count in [0, 1, PAGE / CLAIM, odd.len()] {
            let path = Run::write(folder.path(), odd[..count].to_vec()).unwrap();
            let newest = odd[..count].iter().map(|made| made.seq).max();
            assert_eq!(Run::last_seq_of(&path).unwrap(), newest.unwrap_or(0));
            assert_eq!(Run::length_of(&path).unwrap(), count as u64);
            let mut filter = Filter::for_keys(count as u64);
            let run = Run::open(path, &mut filter).unwrap();
            let last = odd[..count].iter().map(|made| made.until).max();
            assert_eq!(run.last_until(), last.unwrap_or(i64::MIN));
            for made in &odd[..count] {
                assert_eq!(run.find(made.key).unwrap(), Some(*made));
                assert!(filter.may_contain(made.key));
            }
            for (_, made) in &even {
                assert_eq!(run.find(made.key).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_file_that_is_no_run_is_refused_by_its_name() {
        let folder = TestFolder::new();
        let path = folder.path().join("4.run");
        std::fs::write(&path, [0; CLAIM + 1]).unwrap();
        let refused = Run::open(path.clone(), &mut Filter::for_keys(1)).unwrap_err();
        let named = format!(
            "{}: its length is no whole number of claims",
            path.display()
        );
        assert_eq!(refused.to_string(), named);
        let path = folder.path().join("four.run");
        let refused = Run::last_seq_of(&path).unwrap_err();
        let named = format!("{}: its name is no event's number", path.display());
        assert_eq!(refused.to_string(), named);
    }
}
