//! [`Heart`]: renews the lease of this instance, notices others that have vanished, and takes and gives back shares.
//!
//! No lease is judged by a time of day. An instance is dead when another one has seen the same beat of it for a
//! whole lease, by its own clock. Its row is then deleted, unless the beat has changed. The instance itself stops
//! using its shares earlier: four fifths of a lease after it has *sent* its last renewal. So only the rates of
//! clocks matter.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connect::{Link, Session};
use super::options::PostgresError;
use super::schema::{FORMAT, claim_span, millis};
use super::shared::{Shared, heard};
use super::sql::{number, signed};
use crate::journal::{Share, Unavailable};

/// The right to dispatch a share, and the epoch under which its progress is saved.
///
/// It ends early: when [`Postgres::lease_until`](super::Postgres::lease_until) has passed, when it is no longer
/// among the [held](super::Postgres::held) ones, or when a save is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The share; the number of shares for the housekeeper's.
    pub share: Share,
    /// Raised whenever the share is taken.
    pub epoch: u64,
    /// Whether another instance is to have the share: finish what runs, save, and
    /// [give it back](super::Postgres::give_back).
    pub is_ending: bool,
    pub(super) holder: Uuid,
}

/// The shares that this instance holds.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) held: watch::Sender<BTreeMap<Share, Grant>>,
    /// Whether shares are wanted at all.
    wanted: watch::Sender<bool>,
    /// Something has changed: look at once.
    pub(super) look: Notify,
}

impl Grants {
    /// Begins to take shares.
    pub(super) fn want(&self) {
        self.wanted.send_replace(true);
        self.look.notify_one();
    }

    /// Forgets a grant that was lost or given back.
    pub(super) fn remove(&self, grant: Grant) {
        self.held.send_if_modified(|held| {
            let is_it = held
                .get(&grant.share)
                .is_some_and(|one| one.epoch == grant.epoch);
            is_it && held.remove(&grant.share).is_some()
        });
    }

    fn clear(&self) {
        self.held
            .send_if_modified(|held| !std::mem::take(held).is_empty());
    }

    fn insert(&self, grant: Grant) {
        self.held.send_modify(|held| {
            held.insert(grant.share, grant);
        });
    }

    fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }
}

pub(super) struct Heart {
    shared: Arc<Shared>,
    link: Link,
    /// The last beat of each other instance, and when it was first seen.
    others: HashMap<Uuid, (Uuid, Instant)>,
}

/// What a beat has returned of one share.
struct Seen {
    no: Share,
    holder: Option<Uuid>,
    epoch: i64,
}

impl Heart {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        Self {
            shared,
            link,
            others: HashMap::new(),
        }
    }

    /// Beats three times in a lease, and whenever there is something to look at.
    pub(super) async fn run(mut self) {
        let pause = self.shared.options.lease / 3;
        let mut tended: Option<Instant> = None;
        let mut generation = self.shared.verifier.generation();
        let mut is_lost = false;
        loop {
            let beaten = match self.beat().await {
                // The shares of an earlier life are taken again under another id, with other epochs.
                Ok(()) if is_lost && self.shared.grants.is_wanted() => self.begin_again().await,
                beaten => beaten,
            };
            match beaten {
                Ok(()) => is_lost = false,
                Err(why) => log::debug!("journal: the lease cannot be renewed now: {why}"),
            }
            if !self.shared.is_lease_valid() || generation != self.shared.verifier.generation() {
                generation = self.shared.verifier.generation();
                is_lost = true;
                self.shared.grants.clear();
                self.shared.grants.look.notify_one();
            }
            let now = self.shared.clock.monotonic();
            if tended.is_none_or(|tended| now.saturating_duration_since(tended) >= TEND_PAUSE) {
                tended = Some(now);
                self.tend_claims().await;
            }
            tokio::select! {
                () = self.shared.clock.sleep(pause) => {}
                () = self.shared.grants.look.notified() => {}
                () = self.shared.news.shares.notified() => {}
            }
        }
    }

    /// Renews the lease, and learns what has changed.
    pub(super) async fn beat(&mut self) -> Result<(), Unavailable> {
        let session = self.link.session().await?;
        let sent = self.shared.clock.monotonic();
        let (id, beat) = (self.shared.identity(), Uuid::now_v7());
        let applied = signed(self.shared.applied.load(Ordering::SeqCst));
        let lease = self.shared.options.lease;
        let values: [&(dyn ToSql + Sync); 3] = [&id, &beat, &applied];
        let rows = session.call_within(lease / 2, BEAT, &values).await?;
        // The connection may lead to another server now, behind a proxy.
        self.shared.verifier.verify(&session).await?;
        let row = &rows[0];
        self.news(row);
        if !row.get::<_, bool>(0) {
            log::warn!(
                "journal: the others have declared this instance dead; it begins again without shares"
            );
            return self.begin_again().await;
        }
        self.shared.set_lease(sent + lease.mul_f64(0.8));
        self.bury_dead(row, &session).await?;
        if self.shared.grants.is_wanted() {
            self.divide(row, &session).await?;
        }
        Ok(())
    }

    /// Gives up everything, and begins again under another id.
    async fn begin_again(&mut self) -> Result<(), Unavailable> {
        let session = self.link.session().await?;
        self.shared.grants.clear();
        self.others.clear();
        session.call(LEAVE, &[&self.shared.identity()]).await?;
        let id = Uuid::now_v7();
        join(&self.shared, &session, id)
            .await
            .map_err(|error| Unavailable::Away(error.to_string()))?;
        self.shared.set_identity(id);
        self.shared.grants.look.notify_one();
        Ok(())
    }

    /// Takes note of the newest numbers.
    fn news(&self, row: &tokio_postgres::Row) {
        let (shared, following) = (&self.shared, &self.shared.following);
        following.heard(number(row, 1));
        following
            .tail()
            .remove_up_to(number(row, 2).saturating_sub(1));
        shared.heard_documents(number(row, 3));
        following.heard_deletion(Some(number(row, 4)));
        heard(&shared.news.commands, number(row, 5));
        heard(&shared.news.notes, number(row, 6));
    }

    /// Removes instances whose beat has not changed for a whole lease.
    async fn bury_dead(
        &mut self,
        row: &tokio_postgres::Row,
        session: &Session,
    ) -> Result<(), Unavailable> {
        let (ids, beats): (Vec<Uuid>, Vec<Uuid>) = (row.get(7), row.get(8));
        let (own, now) = (self.shared.identity(), self.shared.clock.monotonic());
        self.others.retain(|id, _| ids.contains(id));
        for (id, beat) in ids.into_iter().zip(beats).filter(|(id, _)| *id != own) {
            let seen = self.others.entry(id).or_insert((beat, now));
            if seen.0 != beat {
                *seen = (beat, now);
            }
            if now.saturating_duration_since(seen.1) >= self.shared.options.lease {
                let rows = session.call(BURY, &[&id, &beat]).await?;
                if rows[0].get(0) {
                    log::warn!("journal: the instance {id} has vanished; its shares are taken");
                    self.others.remove(&id);
                    self.shared.grants.look.notify_one();
                }
            }
        }
        Ok(())
    }

    /// Takes shares without a living holder, up to a fair part; lets go of one if there are too many.
    async fn divide(
        &mut self,
        row: &tokio_postgres::Row,
        session: &Session,
    ) -> Result<(), Unavailable> {
        let living: Vec<Uuid> = row.get(7);
        let own = self.shared.identity();
        let (nos, holders, epochs): (Vec<i32>, Vec<Option<Uuid>>, Vec<i64>) =
            (row.get(10), row.get(11), row.get(12));
        let seen = nos.into_iter().zip(holders).zip(epochs);
        let mut seen: Vec<Seen> = seen
            .map(|((no, holder), epoch)| Seen {
                no: no as Share,
                holder,
                epoch,
            })
            .collect();
        self.drop_lost(&seen, own);
        let shares = self.shared.shares();
        let fair = usize::from(shares).div_ceil(living.len().max(1));
        let held = self.shared.grants.held.borrow().clone();
        let mut mine = held
            .values()
            .filter(|grant| grant.share < shares && !grant.is_ending)
            .count();
        // Each instance begins at another share.
        let start = (own.as_u128() % u128::from(shares.max(1))) as usize;
        seen.rotate_left(start);
        for share in seen {
            let is_free = share.holder.is_none_or(|holder| !living.contains(&holder));
            let is_left = share.holder == Some(own) && !held.contains_key(&share.no);
            let is_wanted = share.no == shares || mine < fair;
            if (is_free || is_left) && is_wanted && self.take(&share, is_left, session).await? {
                mine += usize::from(share.no < shares);
            }
        }
        if mine > fair {
            self.shared.grants.held.send_if_modified(|held| {
                let mut own = held
                    .values_mut()
                    .filter(|grant| grant.share < shares && !grant.is_ending);
                own.next_back()
                    .map(|grant| grant.is_ending = true)
                    .is_some()
            });
        }
        Ok(())
    }

    /// Forgets the grants that others have taken.
    fn drop_lost(&self, seen: &[Seen], own: Uuid) {
        self.shared.grants.held.send_if_modified(|held| {
            let before = held.len();
            held.retain(|no, grant| {
                let found = seen.iter().find(|share| share.no == *no);
                found.is_some_and(|found| {
                    found.holder == Some(own) && found.epoch.unsigned_abs() <= grant.epoch
                })
            });
            held.len() < before
        });
    }

    async fn take(
        &self,
        share: &Seen,
        is_left: bool,
        session: &Session,
    ) -> Result<bool, Unavailable> {
        // A desk that this instance has opened without a grant keeps its share.
        if is_left {
            return Ok(false);
        }
        let own = self.shared.identity();
        let (no, epoch) = (i32::from(share.no), share.epoch);
        let rows = session.call(TAKE, &[&no, &epoch, &own]).await?;
        let Some(epoch) = rows[0].get::<_, Option<i64>>(0) else {
            return Ok(false);
        };
        self.shared.counts.taken.fetch_add(1, Ordering::Relaxed);
        self.shared.grants.insert(Grant {
            share: share.no,
            epoch: epoch.unsigned_abs(),
            is_ending: false,
            holder: own,
        });
        Ok(true)
    }

    /// Makes the partitions of dedup keys to come, and drops the old ones.
    async fn tend_claims(&self) {
        let tended = self.link.call(TEND, &[&self.shared.times.now()]).await;
        if let Err(why) = tended {
            log::info!(
                "journal: partitions of dedup keys cannot be made now, that is tried again: {why}"
            );
        }
    }
}

/// Adds this instance. While dedup windows differ, waits until instances that were killed are seen dead.
pub(super) async fn join_at_start(
    shared: &Shared,
    session: &Session,
    id: Uuid,
) -> Result<(), PostgresError> {
    let mut joined = join(shared, session, id).await;
    if let Err(PostgresError::Windows(_)) = joined {
        let before = instances(session).await?;
        shared.clock.sleep(shared.options.lease).await;
        let after = instances(session).await?;
        for (id, beat) in before.iter().filter(|one| after.contains(one)) {
            session.call(BURY, &[id, beat]).await.map_err(away)?;
        }
        joined = join(shared, session, id).await;
    }
    joined
}

async fn join(shared: &Shared, session: &Session, id: Uuid) -> Result<(), PostgresError> {
    let options = &shared.options;
    let (window, unkeyed) = (millis(options.window), millis(options.window_unkeyed));
    let (version, beat) = (env!("CARGO_PKG_VERSION"), Uuid::now_v7());
    let span = claim_span(window.max(unkeyed));
    let values: [&(dyn ToSql + Sync); 8] = [
        &id,
        &options.instance,
        &version,
        &FORMAT,
        &beat,
        &window,
        &unkeyed,
        &span,
    ];
    let rows = session.call(JOIN, &values).await.map_err(away)?;
    match rows[0].get::<_, Option<String>>(0) {
        Some(other) => Err(PostgresError::Windows(other)),
        None => Ok(()),
    }
}

async fn instances(session: &Session) -> Result<Vec<(Uuid, Uuid)>, PostgresError> {
    let rows = session
        .read("SELECT id, beat FROM instance", &[])
        .await
        .map_err(away)?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

const BEAT: &str = "SELECT * FROM beat_1($1, $2, $3)";
fn away(why: Unavailable) -> PostgresError {
    PostgresError::Away(why.to_string())
}

pub(super) const LEAVE: &str = "SELECT leave_1($1)";
const BURY: &str = "SELECT bury_1($1, $2)";
const TAKE: &str = "SELECT take_1($1, $2, $3)";
const JOIN: &str = "SELECT join_1($1, $2, $3, $4, $5, $6, $7, $8)";
const TEND: &str = "SELECT tend_claims_1($1)";

/// How often partitions of dedup keys are looked after. A bucket lasts a minute at least, and two are made ahead.
const TEND_PAUSE: Duration = Duration::from_secs(60);
