//! [`Heart`]: renews the lease of this instance, notices others that have vanished, and takes and gives back shares.
//!
//! No lease is judged by a time of day. An instance is dead when another one has seen the same beat of it for a
//! whole lease, by its own clock. Its row is then deleted, unless the beat has changed. The instance itself stops
//! using its shares earlier: four fifths of a lease after it has *sent* its last renewal. So only the rates of
//! clocks matter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::division::{Others, SeenShare, Step, has_gone_back, steps, still_held, valid_until};
use super::link::Link;
use super::options::PostgresError;
use super::schema::{FORMAT, claim_span, has_standby, millis};
use super::session::Session;
use super::shared::{Shared, heard};
use super::sql::{number, signed};
use crate::journal::{Grant, Share, Unavailable};

pub(super) struct Heart {
    shared: Arc<Shared>,
    link: Link,
    others: Others,
    /// The connection of the last beat.
    last: Option<Arc<Session>>,
    /// It is to begin again, and could not yet.
    is_to_begin_again: bool,
}

impl Heart {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        Self {
            shared,
            link,
            others: Others::default(),
            last: None,
            is_to_begin_again: false,
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
            let has_failed = beaten.is_err();
            match beaten {
                Ok(()) => is_lost = false,
                Err(why) => log::debug!("journal: the lease cannot be renewed now: {why}"),
            }
            if !self.shared.is_lease_valid() || generation != self.shared.verifier.generation() {
                generation = self.shared.verifier.generation();
                self.shared.grants.clear();
                // Looks at once, but only the first time.
                if !std::mem::replace(&mut is_lost, true) {
                    self.shared.grants.look.notify_one();
                }
            }
            let now = self.shared.clock.monotonic();
            if tended.is_none_or(|tended| now.saturating_duration_since(tended) >= TEND_PAUSE) {
                tended = Some(now);
                self.tend_claims().await;
            }
            if has_failed {
                // Its own messages do not wake it: it would try again without a pause.
                self.shared.clock.sleep(pause.min(RETRY_PAUSE)).await;
                continue;
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
        if self.is_to_begin_again {
            self.begin_again().await?;
        }
        let is_other = { self.last.as_ref() }.is_some_and(|last| !Arc::ptr_eq(last, &session));
        if is_other {
            // Until the program says again what it has applied: changes may have been lost, and their numbers given
            // to others.
            self.shared.applied.store(0, Ordering::SeqCst);
        }
        let sent = self.shared.clock.monotonic();
        let (id, beat) = (self.shared.identity(), Uuid::now_v7());
        let applied = signed(self.shared.applied.load(Ordering::SeqCst));
        let lease = self.shared.options.lease;
        let values: [&(dyn ToSql + Sync); 3] = [&id, &beat, &applied];
        let rows = session.call_within(lease / 2, BEAT, &values).await?;
        // The connection may lead to another server now, behind a proxy.
        self.shared.verifier.verify(&session).await?;
        if self.shared.options.is_replicated {
            self.look_for_standby(&session).await?;
        }
        let row = &rows[0];
        self.news(row, is_other);
        self.last = Some(Arc::clone(&session));
        if !row.get::<_, bool>(0) {
            log::warn!(
                "journal: the others have declared this instance dead; it begins again without shares"
            );
            return self.begin_again().await;
        }
        self.shared.set_lease(valid_until(sent, lease));
        self.bury_dead(row, &session).await?;
        if self.shared.grants.is_wanted() {
            self.divide(row, &session).await?;
        }
        Ok(())
    }

    /// Takes note of whether a synchronous standby is connected.
    async fn look_for_standby(&self, session: &Session) -> Result<(), Unavailable> {
        let is_there = has_standby(session).await?;
        let was_there = self.shared.has_standby.swap(is_there, Ordering::SeqCst);
        match (was_there, is_there) {
            (true, false) => log::error!(
                "journal: no synchronous standby is connected any more; events are answered 503 until one is"
            ),
            (false, true) => log::info!("journal: a synchronous standby is connected again"),
            _ => {}
        }
        Ok(())
    }

    /// Gives up everything, and begins again under another id.
    async fn begin_again(&mut self) -> Result<(), Unavailable> {
        self.is_to_begin_again = true;
        self.shared.grants.clear();
        self.others.forget();
        let session = self.link.session().await?;
        session.call(LEAVE, &[&self.shared.identity()]).await?;
        let id = Uuid::now_v7();
        join(&self.shared, &session, id)
            .await
            .map_err(|error| Unavailable::Away(error.to_string()))?;
        self.shared.set_identity(id);
        self.is_to_begin_again = false;
        self.shared.grants.look.notify_one();
        Ok(())
    }

    /// Takes note of the newest numbers. After another connection was made they may be lower than before, because
    /// the database has gone back: then whoever waits for news looks again.
    fn news(&self, row: &tokio_postgres::Row, is_other: bool) {
        let (shared, following) = (&self.shared, &self.shared.following);
        if is_other {
            shared.documents.send_replace(number(row, 3));
            following.limit_deletions(number(row, 4));
            shared.news.commands.send_replace(number(row, 5));
            shared.news.notes.send_replace(number(row, 6));
        }
        following.heard(number(row, 1));
        following
            .tail()
            .remove_up_to(number(row, 2).saturating_sub(1));
        shared.heard_documents(number(row, 3));
        following.heard_deletion(Some(number(row, 4)));
        heard(&shared.news.commands, number(row, 5));
        heard(&shared.news.notes, number(row, 6));
    }

    /// Removes instances that have vanished.
    async fn bury_dead(
        &mut self,
        row: &tokio_postgres::Row,
        session: &Session,
    ) -> Result<(), Unavailable> {
        let (ids, beats): (Vec<Uuid>, Vec<Uuid>) = (row.get(7), row.get(8));
        let beats: Vec<(Uuid, Uuid)> = ids.into_iter().zip(beats).collect();
        let (own, now) = (self.shared.identity(), self.shared.clock.monotonic());
        let lease = self.shared.options.lease;
        for (id, beat) in self.others.vanished(own, &beats, now, lease) {
            let rows = session.call(BURY, &[&id, &beat]).await?;
            if rows[0].get(0) {
                log::warn!("journal: the instance {id} has vanished; its shares are taken");
                self.shared.grants.look.notify_one();
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
        let (living, own): (Vec<Uuid>, Uuid) = (row.get(7), self.shared.identity());
        let (nos, holders, epochs): (Vec<i32>, Vec<Option<Uuid>>, Vec<i64>) =
            (row.get(10), row.get(11), row.get(12));
        let seen = nos.into_iter().zip(holders).zip(epochs);
        let seen = seen.map(|((no, holder), epoch)| SeenShare {
            no: no as Share,
            holder,
            epoch: epoch.unsigned_abs(),
        });
        let seen: Vec<SeenShare> = seen.collect();
        let grants = &self.shared.grants;
        if has_gone_back(&grants.held.borrow(), &seen) {
            log::error!(
                "journal: the database has gone back: it does not know that this instance has taken its shares (a \
                 fail-over to a standby that did not have that, or a restore); they are taken again, and consumers \
                 begin from what is stored"
            );
            return self.begin_again().await;
        }
        grants.held.send_if_modified(|held| {
            let left = still_held(held, &seen, own);
            let is_less = left.len() < held.len();
            *held = left;
            is_less
        });
        let held = grants.held.borrow().clone();
        for step in steps(own, &living, &seen, &held, self.shared.shares()) {
            match step {
                Step::Take { no, epoch } => self.take(no, epoch, session).await?,
                Step::LetGo(no) => grants.held.send_modify(|held| {
                    if let Some(grant) = held.get_mut(&no) {
                        grant.is_ending = true;
                    }
                }),
            }
        }
        Ok(())
    }

    async fn take(&self, share: Share, epoch: u64, session: &Session) -> Result<(), Unavailable> {
        let holder = self.shared.identity();
        let rows = session
            .call(TAKE, &[&i32::from(share), &signed(epoch), &holder])
            .await?;
        // Otherwise another instance was faster.
        if let Some(epoch) = rows[0].get::<_, Option<i64>>(0) {
            self.shared.counts.taken.fetch_add(1, Ordering::Relaxed);
            let epoch = epoch.unsigned_abs();
            self.shared.grants.insert(Grant {
                share,
                epoch,
                is_ending: false,
                holder,
            });
        }
        Ok(())
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
#[allow(clippy::needless_pass_by_value)] // for map_err
fn away(why: Unavailable) -> PostgresError {
    PostgresError::Away(why.to_string())
}

pub(super) const LEAVE: &str = "SELECT leave_1($1)";
const BURY: &str = "SELECT bury_1($1, $2)";
const TAKE: &str = "SELECT take_1($1, $2, $3)";
const JOIN: &str = "SELECT join_1($1, $2, $3, $4, $5, $6, $7, $8)";
const TEND: &str = "SELECT tend_claims_1($1)";

/// The pause after a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// How often partitions of dedup keys are looked after. A bucket lasts a minute at least, and two are made ahead.
const TEND_PAUSE: Duration = Duration::from_secs(60);
