//! [`Run`]: claims sorted by key in a file that is written once.
//!
//! The file is named after its newest event, `{seq}.run`, and holds 32 bytes a claim: key, number of
//! the event, end of the window; all little-endian. A filter in memory says of nearly every key that
//! is not there that it is not.

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::super::record::ClaimKey;
use super::Made;
use crate::dispatch::Seq;

/// Sealed claims.
#[derive(Debug)]
pub(super) struct Run {
    path: PathBuf,
    file: File,
    length: u64,
    filter: Filter,
    last_seq: Seq,
    last_until: i64,
}

impl Run {
    /// Writes claims that are in the order of their events.
    pub(super) fn write(folder: &Path, claims: &[Made]) -> io::Result<Self> {
        let last_seq = claims.iter().map(|made| made.seq).max().unwrap_or_default();
        let mut sorted = claims.to_vec();
        // Of one key the newest counts.
        sorted.sort_by_key(|made| (made.key, std::cmp::Reverse(made.seq)));
        sorted.dedup_by_key(|made| made.key);
        let unfinished = folder.join(format!("{last_seq}.unfinished"));
        let mut file = BufWriter::new(File::create(&unfinished)?);
        for made in &sorted {
            file.write_all(&encode(made))?;
        }
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        let path = folder.join(format!("{last_seq}.run"));
        std::fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()?;
        Self::open(path)
    }

    /// Opens a run and builds its filter.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let damaged = |what: &str| io::Error::other(format!("{}: {what}", path.display()));
        let mut file = File::open(&path)?;
        let bytes = file.metadata()?.len();
        if bytes % CLAIM as u64 != 0 {
            return Err(damaged("its length is no whole number of claims"));
        }
        let length = bytes / CLAIM as u64;
        let name = path
            .file_stem()
            .and_then(|name| name.to_str()?.parse().ok());
        let last_seq = name.ok_or_else(|| damaged("its name is no event's number"))?;
        let mut filter = Filter::for_keys(length);
        let mut last_until = i64::MIN;
        let mut chunk = vec![0; CLAIM * 8192];
        let mut left = usize::try_from(bytes).map_err(|_| damaged("too long"))?;
        while left > 0 {
            let part = &mut chunk[..left.min(CLAIM * 8192)];
            file.read_exact(part)?;
            left -= part.len();
            for claim in part.as_chunks::<CLAIM>().0 {
                let made = decode(claim);
                filter.insert(made.key);
                last_until = last_until.max(made.until);
            }
        }
        Ok(Self {
            path,
            file,
            length,
            filter,
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
        if !self.filter.may_contain(key) {
            return Ok(None);
        }
        let (mut low, mut high) = (0, self.length);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut claim = [0; CLAIM];
            self.file.read_exact_at(&mut claim, middle * CLAIM as u64)?;
            let made = decode(&claim);
            match made.key.cmp(&key) {
                std::cmp::Ordering::Equal => return Ok(Some(made)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// Deletes its file, if it is still there.
    pub(super) fn remove(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
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

/// A Bloom filter: 10 bits and 7 probes a key, about 1 % false hits. Keys are hashes already.
#[derive(Debug)]
struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    fn for_keys(keys: u64) -> Self {
        let words = usize::try_from(keys * 10 / 64 + 1).unwrap_or(usize::MAX);
        Self {
            bits: vec![0; words],
        }
    }

    fn insert(&mut self, key: ClaimKey) {
        for (word, bit) in self.probes(key) {
            self.bits[word] |= bit;
        }
    }

    fn may_contain(&self, key: ClaimKey) -> bool {
        self.probes(key)
            .all(|(word, bit)| self.bits[word] & bit != 0)
    }

    /// Two halves of the hash give all probes (Kirsch and Mitzenmacher, 2006).
    fn probes(&self, key: ClaimKey) -> impl Iterator<Item = (usize, u64)> + use<> {
        let bits = self.bits.len() as u64 * 64;
        let (first, step) = ((key >> 64) as u64, key as u64 | 1);
        (0..7u64).map(move |probe| {
            let bit = first.wrapping_add(probe.wrapping_mul(step)) % bits;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }
}

const CLAIM: usize = 32;

#[cfg(test)]
mod tests {
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
        let folder = std::env::temp_dir().join(format!("offhook-run-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let claims = claims(10_000);
        let run = Run::write(&folder, &claims[..5000]).unwrap();
        assert_eq!((run.last_seq(), run.last_until()), (5000, 49_990));
        let again = Run::open(folder.join("5000.run")).unwrap();
        for made in &claims[..5000] {
            assert_eq!(run.find(made.key).unwrap(), Some(*made));
            assert_eq!(again.find(made.key).unwrap(), Some(*made));
        }
        let mut false_hits = 0;
        for made in &claims[5000..] {
            assert_eq!(run.find(made.key).unwrap(), None);
            false_hits += usize::from(run.filter.may_contain(made.key));
        }
        assert!(false_hits < 150, "{false_hits} of 5000");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
