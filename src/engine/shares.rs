//! [`Shares`]: opens and closes shares of dispatch as this instance gets and loses them. [`start_left`]: starts what
//! could not start in them.
//!
//! What must hold: after the lease has passed no attempt starts, and those that run are broken off; nothing that
//! waits for the database holds that up. A share is given back when everything of it was saved.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::dispatch::{Dispatch, OpenShare};
use crate::dispatch::Ending;
use crate::journal::{Cluster, Grant, Hold, Share};

/// Follows what this instance holds.
pub(super) struct Shares {
    dispatch: Arc<Dispatch>,
    cluster: Arc<dyn Cluster>,
    /// What this instance holds.
    held: watch::Receiver<BTreeMap<Share, Grant>>,
    /// Whether this instance does what only one may do.
    is_housekeeper: watch::Sender<bool>,
    places: BTreeMap<Share, Place>,
    /// What waits for the database or for attempts; each returns its share.
    work: JoinSet<(Share, Done)>,
}

/// How far a share is.
#[derive(Debug, Clone, Copy)]
enum Place {
    Opening(Grant),
    Open(Grant),
    /// It is given back or abandoned.
    Closing,
}

/// What work on a share has come to.
#[derive(Debug)]
enum Done {
    Opened,
    /// It cannot be opened now.
    Failed,
    Closed,
}

impl Shares {
    pub(super) fn new(
        dispatch: &Arc<Dispatch>,
        cluster: &Arc<dyn Cluster>,
        is_housekeeper: watch::Sender<bool>,
    ) -> Self {
        Self {
            dispatch: Arc::clone(dispatch),
            cluster: Arc::clone(cluster),
            held: cluster.held(),
            is_housekeeper,
            places: BTreeMap::new(),
            work: JoinSet::new(),
        }
    }

    /// Follows until told to stop, when all consumers have ended.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut held = self.held.clone();
        let clock = Arc::clone(&self.dispatch.clock);
        while !*stop.borrow() {
            let granted = held.borrow_and_update().clone();
            let (until, now) = (self.cluster.lease_until(), clock.monotonic());
            let pause = if until > now {
                self.follow(&granted);
                until - now
            } else {
                self.lapse();
                LAPSED_PAUSE
            };
            tokio::select! {
                _ = stop.changed() => {}
                changed = held.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(done) = self.work.join_next() => self.done(done),
                () = clock.sleep(pause) => {}
            }
        }
    }

    /// Goes by what is granted now.
    fn follow(&mut self, granted: &BTreeMap<Share, Grant>) {
        let housekeeping = self.dispatch.journal.shares();
        let is_lost = |share: &Share, grant: &Grant| {
            !granted.get(share).is_some_and(|now| now.is_like(grant))
        };
        let lost = self.places.iter().filter_map(|(share, place)| match place {
            Place::Open(grant) if is_lost(share, grant) => Some(*share),
            _ => None,
        });
        for share in lost.collect::<Vec<_>>() {
            log::info!(
                "share {share}: another instance may have it now; its attempts are broken off"
            );
            self.abandon(share);
        }
        for (share, grant) in granted.range(..housekeeping) {
            match (self.places.get(share), grant.is_ending) {
                (None, false) if self.dispatch.runners.have_stopped() => {}
                (None, false) => self.open(*grant),
                (Some(Place::Open(_)), true) => self.give_back(*grant, true),
                (None, true) => self.give_back(*grant, false),
                _ => {}
            }
        }
        let keeping = granted.get(&housekeeping);
        let keeps = keeping.is_some_and(|grant| !grant.is_ending);
        self.set_housekeeper(keeps);
        if let Some(grant) = keeping.filter(|grant| grant.is_ending)
            && !self.places.contains_key(&housekeeping)
        {
            self.give_back(*grant, false);
        }
    }

    /// The lease was not renewed in time.
    fn lapse(&mut self) {
        self.set_housekeeper(false);
        let open = self.places.iter();
        let open = open.filter(|(_, place)| matches!(place, Place::Open(_)));
        let open: Vec<Share> = open.map(|(share, _)| *share).collect();
        if !open.is_empty() {
            log::warn!(
                "the lease could not be renewed in time: all attempts are broken off, and their events are handed over \
                 again, here or by another instance"
            );
        }
        for share in open {
            self.abandon(share);
        }
        // Attempts that a share is given back after do not go on either.
        for (share, place) in &self.places {
            if matches!(place, Place::Closing) {
                self.dispatch.runners.tell_share(*share, Ending::Abandon);
            }
        }
    }

    fn set_housekeeper(&self, is_so: bool) {
        self.is_housekeeper
            .send_if_modified(|was| std::mem::replace(was, is_so) != is_so);
    }

    fn open(&mut self, grant: Grant) {
        self.places.insert(grant.share, Place::Opening(grant));
        let (dispatch, cluster) = (Arc::clone(&self.dispatch), Arc::clone(&self.cluster));
        let held = self.held.clone();
        let share = grant.share;
        self.work(share, async move {
            let desk = match cluster.desk_of(grant) {
                Ok(desk) => desk,
                Err(_) if dispatch.runners.have_stopped() => return Done::Closed,
                Err(error) => {
                    log::warn!("share {share} cannot be dispatched yet, its events wait: {error}");
                    dispatch.clock.sleep(OPEN_PAUSE).await;
                    return Done::Failed;
                }
            };
            let hold = Some(Hold::new(&cluster, &held, grant));
            let open = OpenShare { desk, hold };
            dispatch.open_share(&open).await;
            Done::Opened
        });
    }

    /// Ends everything of a share without saving.
    fn abandon(&mut self, share: Share) {
        self.places.insert(share, Place::Closing);
        self.dispatch.runners.tell_share(share, Ending::Abandon);
        let dispatch = Arc::clone(&self.dispatch);
        self.work(share, async move {
            dispatch.close_share(share, Ending::Abandon).await;
            Done::Closed
        });
    }

    /// Lets another instance have a share.
    fn give_back(&mut self, grant: Grant, is_open: bool) {
        self.places.insert(grant.share, Place::Closing);
        let (dispatch, cluster) = (Arc::clone(&self.dispatch), Arc::clone(&self.cluster));
        let held = self.held.clone();
        self.work(grant.share, async move {
            let share = grant.share;
            if is_open {
                let finished = dispatch.close_share(share, Ending::Finish);
                if timeout(FINISH_TIMEOUT, finished).await.is_err() {
                    dispatch.close_share(share, Ending::BreakOff).await;
                }
            }
            let is_held = || {
                held.borrow()
                    .get(&share)
                    .is_some_and(|now| now.is_like(&grant))
            };
            while is_held() {
                match cluster.give_back(grant).await {
                    Ok(()) => break,
                    Err(error) => log::debug!("share {share} cannot be given back yet: {error}"),
                }
                dispatch.clock.sleep(OPEN_PAUSE).await;
            }
            Done::Closed
        });
    }

    fn work(&mut self, share: Share, work: impl Future<Output = Done> + Send + 'static) {
        self.work.spawn(async move { (share, work.await) });
    }

    fn done(&mut self, done: Result<(Share, Done), tokio::task::JoinError>) {
        let (share, done) = match done {
            Ok(done) => done,
            // Its share stays as it is, so that nobody runs in it; the journal's lease ends with the process.
            Err(error) => return log::error!("work on a share has failed: {error}"),
        };
        match done {
            Done::Opened => {
                if let Some(Place::Opening(grant)) = self.places.get(&share).copied() {
                    self.places.insert(share, Place::Open(grant));
                }
            }
            Done::Failed | Done::Closed => drop(self.places.remove(&share)),
        }
    }
}

/// Tries the consumers again that cannot start in an open share yet, until told to stop.
pub(super) async fn start_left(dispatch: Arc<Dispatch>, mut stop: watch::Receiver<bool>) {
    let clock = &dispatch.clock;
    let (mut pause, mut due) = (OPEN_PAUSE, None);
    while !*stop.borrow() {
        let again = async {
            match due {
                Some(due) => {
                    let left = Instant::saturating_duration_since(&due, clock.monotonic());
                    clock.sleep(left).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = again => {
                let is_left = tokio::select! {
                    _ = stop.changed() => return,
                    is_left = dispatch.start_again() => is_left,
                };
                pause = (pause * 2).min(LONGEST_PAUSE);
                due = is_left.then(|| clock.monotonic() + pause);
            }
            () = dispatch.left.notified() => {
                // What is left now is tried soon, also beside what has been left for long.
                pause = OPEN_PAUSE;
                let soon = clock.monotonic() + pause;
                due = Some(due.map_or(soon, |due| soon.min(due)));
            }
        }
    }
}

/// How often an instance whose lease has passed looks whether it was renewed.
const LAPSED_PAUSE: Duration = Duration::from_millis(100);

/// The pause before a share that cannot be opened or given back is tried again.
const OPEN_PAUSE: Duration = Duration::from_secs(1);

/// Each pause before a consumer is tried again is twice as long as the one before, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long the attempts of a share may take that another instance is to have.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);
