//! [`SealJob`]: a thread that writes a segment, beside the commits.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::filter::BloomFilter;
use super::recent::Recent;
use super::segment::Segment;

/// Gets a value whenever a job has ended: why it has failed, or `None`.
pub(crate) type SealingEnded = watch::Receiver<Option<String>>;

/// Where the next segment goes, and which segments go.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    /// The filter of the newest group, and how many keys it holds.
    pub(super) newest: Option<(Arc<BloomFilter>, u64)>,
    /// How many keys a filter has room for.
    pub(super) group_length: u64,
    /// Segments whose windows have all ended.
    pub(super) expired: Vec<Segment>,
}

/// What a job has made.
#[derive(Debug)]
pub(super) struct SealOutcome {
    pub(super) made: io::Result<NewSegment>,
    /// The expired segments that could not be deleted.
    pub(super) undeleted: Vec<Segment>,
}

/// A segment with the filter that its group has from now on.
#[derive(Debug)]
pub(super) struct NewSegment {
    pub(super) segment: Segment,
    pub(super) filter: BloomFilter,
    pub(super) keys: u64,
    /// Whether the segment is the first of a group.
    pub(super) is_first: bool,
}

/// A thread that seals entries. Dropping it waits for the thread's end.
#[derive(Debug)]
pub(super) struct SealJob {
    outcome: mpsc::Receiver<SealOutcome>,
    thread: Option<JoinHandle<()>>,
}

impl SealJob {
    pub(super) fn start(
        plan: Plan,
        entries: Arc<Recent>,
        ended: watch::Sender<Option<String>>,
    ) -> Self {
        let (tell, outcome) = mpsc::channel();
        let thread = std::thread::Builder::new().name("offhook-seal".to_owned());
        let refused = (tell.clone(), ended.clone());
        let thread = thread.spawn(move || {
            let outcome = plan.carry_out(&entries);
            // The window is the last to let go of them.
            drop(entries);
            finish(outcome, &tell, &ended);
        });
        if let Err(error) = &thread {
            let outcome = SealOutcome {
                made: Err(io::Error::new(error.kind(), error.to_string())),
                undeleted: Vec::new(),
            };
            finish(outcome, &refused.0, &refused.1);
        }
        Self {
            outcome,
            thread: thread.ok(),
        }
    }

    /// Returns what the thread has made, once it has ended.
    pub(super) fn outcome(&mut self) -> Option<SealOutcome> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(SealOutcome {
                made: Err(io::Error::other("the thread that seals them has panicked")),
                undeleted: Vec::new(),
            }),
        }
    }

    /// Waits until there is an outcome.
    pub(super) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // After a panic there is an outcome too.
            let _ = thread.join();
        }
    }
}

impl Drop for SealJob {
    fn drop(&mut self) {
        self.wait();
    }
}

fn finish(
    outcome: SealOutcome,
    tell: &mpsc::Sender<SealOutcome>,
    ended: &watch::Sender<Option<String>>,
) {
    let error = outcome.made.as_ref().err().map(io::Error::to_string);
    // A window that is gone needs no segment: the entries are still in the log.
    let _ = tell.send(outcome);
    ended.send_replace(error);
}

impl Plan {
    fn carry_out(self, entries: &Recent) -> SealOutcome {
        let mut undeleted = self.expired;
        undeleted.retain(|segment| {
            let removed = segment.remove();
            if let Err(error) = &removed {
                log::warn!("journal: an expired dedup segment stays: {error}");
            }
            removed.is_err()
        });
        let write = || {
            let path = Segment::write(&self.folder, entries.entries.clone())?;
            let keys = Segment::length_of(&path)?;
            let with_room = { self.newest }.filter(|(_, held)| held + keys <= self.group_length);
            let is_first = with_room.is_none();
            let mut filter = match with_room {
                Some((filter, _)) => BloomFilter::clone(&filter),
                None => BloomFilter::for_keys(self.group_length.max(keys)),
            };
            let segment = Segment::open(path, &mut filter)?;
            Ok(NewSegment {
                segment,
                filter,
                keys,
                is_first,
            })
        };
        SealOutcome {
            made: write(),
            undeleted,
        }
    }
}
