//! [`Sealed`]: the claims that are no longer in memory, in runs.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::super::record::ClaimKey;
use super::Made;
use super::filter::Filter;
use super::run::Run;
use crate::journal::Seq;

/// All runs of a folder. A [`Filter`] is shared by several of them, so that a new event, which is in
/// none, asks few.
#[derive(Debug)]
pub(super) struct Sealed {
    folder: PathBuf,
    /// Oldest first.
    groups: Vec<Group>,
    /// For how many keys each filter is made.
    group_length: u64,
}

#[derive(Debug)]
struct Group {
    filter: Filter,
    /// How many keys have come into the filter. They stay in it when their run goes.
    keys: u64,
    /// Oldest first.
    runs: Vec<Run>,
}

impl Sealed {
    /// Opens the runs in `folder` and deletes those of another log: `head` is the log's newest event.
    pub(super) fn open(folder: &Path, head: Seq, run_length: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let mut sealed = Self {
            folder: folder.to_owned(),
            groups: Vec::new(),
            group_length: (RUNS * run_length) as u64,
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.extension().and_then(OsStr::to_str) {
                Some("run") => found.push((Run::last_seq_of(&path)?, path)),
                // Its claims are still in the log.
                Some("unfinished") => std::fs::remove_file(path)?,
                _ => {}
            }
        }
        found.sort();
        for (last_seq, path) in found {
            if last_seq <= head {
                sealed.add(path)?;
            } else {
                // The log was restored from a backup: what it does not have makes nothing a duplicate.
                std::fs::remove_file(path)?;
            }
        }
        Ok(sealed)
    }

    /// The newest event of the newest run.
    pub(super) fn last_seq(&self) -> Option<Seq> {
        let mut runs = self.groups.iter().flat_map(|group| &group.runs);
        runs.next_back().map(Run::last_seq)
    }

    /// The newest claim of this key.
    pub(super) fn newest(&self, key: ClaimKey) -> io::Result<Option<Made>> {
        for group in self.groups.iter().rev() {
            if !group.filter.may_contain(key) {
                continue;
            }
            for run in group.runs.iter().rev() {
                if let Some(made) = run.find(key)? {
                    return Ok(Some(made));
                }
            }
        }
        Ok(None)
    }

    /// Brings claims, which are newer than all that are here, into a run.
    pub(super) fn seal(&mut self, claims: Vec<Made>) -> io::Result<()> {
        self.add(Run::write(&self.folder, claims)?)
    }

    fn add(&mut self, path: PathBuf) -> io::Result<()> {
        let length = Run::length_of(&path)?;
        let full = |group: &Group| group.keys + length > self.group_length;
        if self.groups.last().is_none_or(full) {
            self.groups.push(Group {
                filter: Filter::for_keys(self.group_length.max(length)),
                keys: 0,
                runs: Vec::new(),
            });
        }
        let group = self.groups.last_mut().expect("there is one with room");
        group.keys += length;
        group.runs.push(Run::open(path, &mut group.filter)?);
        Ok(())
    }

    /// Deletes the runs whose time is over. One that cannot be deleted is tried again next time, and the
    /// others stay what they are.
    pub(super) fn expire(&mut self, now: i64) -> io::Result<()> {
        let mut failed = Ok(());
        for group in &mut self.groups {
            group.runs.retain(|run| {
                if run.last_until() > now {
                    return true;
                }
                let removed = run.remove();
                let kept = removed.is_err();
                failed = std::mem::replace(&mut failed, Ok(())).and(removed);
                kept
            });
        }
        self.groups.retain(|group| !group.runs.is_empty());
        failed
    }
}

/// For how many full runs a filter is. Few in unit tests, which need several filters.
const RUNS: usize = if cfg!(test) { 2 } else { 8 };
