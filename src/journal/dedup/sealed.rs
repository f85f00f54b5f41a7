//! [`Sealed`]: the entries that are no longer in memory, in segments.

use std::io;
use std::path::{Path, PathBuf};

use super::filter::BloomFilter;
use super::segment::{DedupEntry, Segment};
use super::tuning::DedupTuning;
use crate::journal::{KeyHash, Seq};

/// All segments of a folder. Several segments share a [`BloomFilter`], so that a new event, which is in
/// none of them, needs few lookups.
#[derive(Debug)]
pub(super) struct Sealed {
    folder: PathBuf,
    /// Oldest first.
    groups: Vec<Group>,
    /// How many keys each filter has room for.
    group_length: u64,
}

#[derive(Debug)]
struct Group {
    filter: BloomFilter,
    /// How many keys the filter holds. They stay in it when their segment is deleted.
    keys: u64,
    /// Oldest first.
    segments: Vec<Segment>,
}

impl Sealed {
    /// Opens the segments in `folder` and deletes those past `head`, the log's newest body.
    pub(super) fn open(folder: &Path, head: Seq, tuning: DedupTuning) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut sealed = Self {
            folder: folder.to_owned(),
            groups: Vec::new(),
            group_length: (tuning.segments_per_filter * tuning.segment_length) as u64,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if Segment::is_segment(&path) {
                found.push((Segment::last_seq_of(&path)?, path));
            } else if path.extension().is_some_and(|end| end == "unfinished") {
                // Its entries are still in the log.
                std::fs::remove_file(path)?;
            }
        }
        found.sort();
        for (last_seq, path) in found {
            if last_seq <= head {
                sealed.add(path)?;
            } else {
                // The log was restored from a backup: events that it does not hold make no
                // duplicates.
                std::fs::remove_file(path)?;
            }
        }
        Ok(sealed)
    }

    /// Returns the newest body of the newest segment.
    pub(super) fn last_seq(&self) -> Option<Seq> {
        let mut segments = self.groups.iter().flat_map(|group| &group.segments);
        segments.next_back().map(|segment| segment.last_seq)
    }

    pub(super) fn newest(&self, key: KeyHash) -> io::Result<Option<DedupEntry>> {
        for group in self.groups.iter().rev() {
            if !group.filter.may_contain(key) {
                continue;
            }
            for segment in group.segments.iter().rev() {
                if let Some(entry) = segment.find(key)? {
                    return Ok(Some(entry));
                }
            }
        }
        Ok(None)
    }

    /// Writes entries, which must be newer than all sealed ones, into a segment.
    pub(super) fn seal(&mut self, entries: Vec<DedupEntry>) -> io::Result<()> {
        self.add(Segment::write(&self.folder, entries)?)
    }

    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        let length = Segment::length_of(&path)?;
        let full = |group: &Group| group.keys + length > self.group_length;
        if self.groups.last().is_none_or(full) {
            self.groups.push(Group {
                filter: BloomFilter::for_keys(self.group_length.max(length)),
                keys: 0,
                segments: Vec::new(),
            });
        }
        let group = self.groups.last_mut().expect("there is one with room");
        group.keys += length;
        group.segments.push(Segment::open(path, &mut group.filter)?);
        Ok(())
    }

    /// Deletes the segments whose windows have all ended. A file that cannot be deleted is tried
    /// again next time; the other segments are not affected.
    pub(super) fn expire(&mut self, now: i64) -> io::Result<()> {
        let mut failed = Ok(());
        for group in &mut self.groups {
            group.segments.retain(|segment| {
                if segment.last_until > now {
                    return true;
                }
                let removed = segment.remove();
                let kept = removed.is_err();
                failed = std::mem::replace(&mut failed, Ok(())).and(removed);
                kept
            });
        }
        self.groups.retain(|group| !group.segments.is_empty());
        failed
    }
}
