//! [`Sealed`]: the entries that are no longer in memory, in segments.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::filter::BloomFilter;
use super::seal::{Plan, SealOutcome};
use super::segment::Segment;
use super::tuning::DedupTuning;
use crate::journal::dedup_entry::DedupEntry;
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
    /// Expired segments that could not be deleted.
    undeleted: Vec<Segment>,
}

#[derive(Debug)]
struct Group {
    /// Shared with the job that makes the filter of the next segment.
    filter: Arc<BloomFilter>,
    /// How many keys the filter holds. They stay in it when their segment is deleted.
    keys: u64,
    /// Oldest first.
    segments: Vec<Segment>,
}

impl Sealed {
    /// Opens the segments in `folder` and deletes those past `head`, the log's newest body.
    pub(super) fn open(folder: &Path, head: Seq, tuning: DedupTuning) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut sealed = Self {
            folder: folder.to_owned(),
            groups: Vec::new(),
            group_length: (tuning.segments_per_filter * tuning.segment_length) as u64,
            undeleted: Vec::new(),
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

    /// Plans the next segment. Segments whose windows have all ended at `now` are answered from no
    /// more; the job deletes their files.
    pub(super) fn plan(&mut self, now: i64) -> Plan {
        let mut expired = std::mem::take(&mut self.undeleted);
        expired.extend(self.take_expired(now));
        let newest = self.groups.last();
        Plan {
            folder: self.folder.clone(),
            newest: newest.map(|group| (Arc::clone(&group.filter), group.keys)),
            group_length: self.group_length,
            expired,
        }
    }

    /// Takes in the segment of a job, whose entries must be newer than all sealed ones.
    pub(super) fn adopt(&mut self, outcome: SealOutcome) -> io::Result<()> {
        self.undeleted.extend(outcome.undeleted);
        let made = outcome.made?;
        let (keys, filter) = (made.keys, Arc::new(made.filter));
        match self.groups.last_mut().filter(|_| !made.is_first) {
            Some(group) => {
                group.filter = filter;
                group.keys += keys;
                group.segments.push(made.segment);
            }
            None => self.groups.push(Group {
                filter,
                keys,
                segments: vec![made.segment],
            }),
        }
        Ok(())
    }

    /// Adds the segment at `path`, at the start.
    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        let keys = Segment::length_of(&path)?;
        let full = |group: &Group| group.keys + keys > self.group_length;
        if self.groups.last().is_none_or(full) {
            self.groups.push(Group {
                filter: Arc::new(BloomFilter::for_keys(self.group_length.max(keys))),
                keys: 0,
                segments: Vec::new(),
            });
        }
        let group = self.groups.last_mut().expect("there is one with room");
        let filter = Arc::get_mut(&mut group.filter).expect("no job runs yet");
        group.segments.push(Segment::open(path, filter)?);
        group.keys += keys;
        Ok(())
    }

    /// Deletes the segments whose windows have all ended. A file that cannot be deleted is tried
    /// again with the next segment; the other segments are not affected.
    pub(super) fn expire(&mut self, now: i64) -> io::Result<()> {
        let mut failed = Ok(());
        for segment in self.take_expired(now) {
            let removed = segment.remove();
            if removed.is_err() {
                self.undeleted.push(segment);
            }
            failed = failed.and(removed);
        }
        failed
    }

    fn take_expired(&mut self, now: i64) -> Vec<Segment> {
        let mut expired = Vec::new();
        for group in &mut self.groups {
            let ended = |segment: &mut Segment| segment.last_until <= now;
            expired.extend(group.segments.extract_if(.., ended));
        }
        self.groups.retain(|group| !group.segments.is_empty());
        expired
    }
}
