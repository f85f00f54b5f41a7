//! [`DedupWindow`]: the entries of all windows. The newest are in memory ([`Recent`]), the others in
//! segments.
//!
//! Once there are enough entries for a segment, the whole [`Recent`] is set aside, unchanging, and a
//! thread writes it ([`SealJob`]). Until its segment is there the answers come from memory. Then the
//! window adopts the segment and lets go of the entries. So no call here waits for the disk, except
//! those that look up a key in a segment.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::recent::Recent;
use super::seal::{SealJob, SealingEnded};
use super::sealed::Sealed;
use super::tuning::DedupTuning;
use crate::journal::dedup_entry::DedupEntry;
use crate::journal::{DedupKey, KeyHash, Position, Seq};

#[derive(Debug)]
pub(crate) struct DedupWindow {
    recent: Recent,
    /// The entries between those in `recent` and those in segments: a thread seals them, or could
    /// not seal them.
    older: Option<Arc<Recent>>,
    job: Option<SealJob>,
    sealed: Sealed,
    tuning: DedupTuning,
    /// After a failure `older` is sealed again once so many newer entries are in memory.
    retry_at: usize,
    /// Every entry of bodies up to this one is sealed, or its window had ended when its body left
    /// the log.
    outlived: Seq,
    /// Gets why a job has failed, or `None`, whenever one has ended.
    ended: watch::Sender<Option<String>>,
    /// As if the thread were still at work.
    #[cfg(test)]
    pub(super) is_slow: bool,
}

impl DedupWindow {
    /// Opens the segments in `folder`. Deletes those whose windows have all ended and those past
    /// `head`, the log's newest body.
    pub(crate) fn open(
        folder: &Path,
        head: Seq,
        now: i64,
        tuning: DedupTuning,
    ) -> io::Result<Self> {
        let mut sealed = Sealed::open(folder, head, tuning)?;
        sealed.expire(now)?;
        Ok(Self {
            recent: Recent::with_room(tuning),
            older: None,
            job: None,
            sealed,
            tuning,
            retry_at: 0,
            outlived: 0,
            ended: watch::Sender::new(None),
            #[cfg(test)]
            is_slow: false,
        })
    }

    /// Returns the newest body whose entries are in segments. The caller adds later entries from
    /// the log.
    pub(crate) fn sealed_up_to(&self) -> Seq {
        self.sealed.last_seq().unwrap_or(0)
    }

    /// Returns the event that makes an event with this key a duplicate at `now`.
    pub(crate) fn original(&self, key: DedupKey, now: i64) -> io::Result<Option<Position>> {
        let newest = self.newest(key.hash)?;
        let Some(original) = newest.filter(|entry| key.holds_until(entry.until, now)) else {
            return Ok(None);
        };
        if let Some(state) = key.state {
            let newest = self.newest(state)?;
            let is_newest = newest.is_some_and(|entry| entry.position == original.position);
            return Ok(is_newest.then_some(original.position));
        }
        Ok(Some(original.position))
    }

    fn newest(&self, key: KeyHash) -> io::Result<Option<DedupEntry>> {
        match self.in_memory(key) {
            None => self.sealed.newest(key),
            recent => Ok(recent),
        }
    }

    fn in_memory(&self, key: KeyHash) -> Option<DedupEntry> {
        let older = || self.older.as_ref()?.newest(key);
        self.recent.newest(key).or_else(older)
    }

    /// Adds an entry, which becomes the newest.
    pub(crate) fn add(&mut self, entry: DedupEntry) {
        self.recent.push(entry);
    }

    /// Removes the entries of bodies after `seq`, because their append failed. They have been added
    /// since the last [`DedupWindow::tidy`].
    pub(crate) fn take_back_after(&mut self, seq: Seq) {
        self.recent.take_back_after(seq);
    }

    /// Takes in a segment that is finished, and has the next one sealed if there are enough entries
    /// for it. All entries must be durable. Does not wait. If a segment could not be written, its
    /// entries stay in memory, and the next try is made when there are an eighth of a segment more.
    pub(crate) fn tidy(&mut self, now: i64) -> io::Result<()> {
        let adopted = self.adopt();
        let is_due = match self.older {
            Some(_) => self.recent.entries.len() >= self.retry_at,
            None => self.recent.entries.len() >= self.tuning.segment_length,
        };
        if self.job.is_none() && is_due {
            self.seal(now);
        }
        adopted
    }

    /// Adds an entry from the log at the start. Seals as it goes and waits for that, so that few
    /// entries are in memory at the same time.
    pub(crate) fn restore(&mut self, entry: DedupEntry, now: i64) -> io::Result<()> {
        // A body's entries stay together, because its number tells which entries are sealed.
        let last = self.recent.entries.last().map(|last| last.position.seq());
        if last.is_none_or(|last| last < entry.position.seq()) {
            self.tidy_and_wait(now)?;
        }
        self.add(entry);
        Ok(())
    }

    /// As [`DedupWindow::tidy`], and waits until a segment that is due is written.
    fn tidy_and_wait(&mut self, now: i64) -> io::Result<()> {
        self.tidy(now)?;
        if let Some(job) = &mut self.job {
            job.wait();
        }
        self.adopt()
    }

    /// Seals all entries, and waits until that is done.
    pub(crate) fn seal_rest(&mut self, now: i64) -> io::Result<()> {
        self.tidy_and_wait(now)?;
        if !self.recent.entries.is_empty() {
            self.seal(now);
            if let Some(job) = &mut self.job {
                job.wait();
            }
        }
        self.adopt()
    }

    /// Returns `None` if the entries of bodies up to `seq` are sealed or of no use any more: after a
    /// restart the others can only be read from the log, so their bodies must stay there. Otherwise
    /// seals entries, and returns a receiver for the end of that; the caller then asks again.
    pub(crate) fn outlive(&mut self, seq: Seq, now: i64) -> Option<SealingEnded> {
        // Subscribed first: a job that ends after the check is told to this receiver.
        let ended = self.ended.subscribe();
        if let Err(error) = self.adopt() {
            log::warn!("journal: dedup entries cannot be sealed, they stay in memory: {error}");
        }
        let older = { self.older.iter() }.flat_map(|older| older.after(self.outlived));
        let mut leaving = older.chain(self.recent.after(self.outlived));
        let is_needed = |entry: &DedupEntry| entry.until > now;
        if !leaving
            .by_ref()
            .take_while(|entry| entry.position.seq() <= seq)
            .any(is_needed)
        {
            self.outlived = self.outlived.max(seq);
            return None;
        }
        if self.job.is_none() {
            self.seal(now);
        }
        Some(ended)
    }

    /// Takes in the segment of a job that has ended.
    fn adopt(&mut self) -> io::Result<()> {
        #[cfg(test)]
        if self.is_slow {
            return Ok(());
        }
        let Some(outcome) = self.job.as_mut().and_then(SealJob::outcome) else {
            return Ok(());
        };
        self.job = None;
        match self.sealed.adopt(outcome) {
            Ok(()) => {
                if let Some(sealed) = self.older.take() {
                    free(sealed);
                }
                Ok(())
            }
            Err(error) => {
                self.retry_at = self.recent.entries.len() + self.tuning.eighth();
                Err(error)
            }
        }
    }

    /// Has a thread seal the oldest entries in memory.
    fn seal(&mut self, now: i64) {
        let older = self.older.get_or_insert_with(|| {
            let room = Recent::with_room(self.tuning);
            Arc::new(std::mem::replace(&mut self.recent, room))
        });
        let plan = self.sealed.plan(now);
        self.job = Some(SealJob::start(plan, Arc::clone(older), self.ended.clone()));
    }
}

/// Frees the memory of so many entries on another thread: it takes the system milliseconds.
fn free(entries: Arc<Recent>) {
    let thread = std::thread::Builder::new().name("offhook-free".to_owned());
    // Without a thread this one frees them.
    let _ = thread.spawn(move || drop(entries));
}

#[cfg(test)]
mod tests;
