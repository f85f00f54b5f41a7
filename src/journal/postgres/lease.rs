//! [`Heart`]: renews the lease of this instance, notices others that have vanished, and takes and gives back shares.
//!
//! No lease is judged by a time of day. An instance is dead when another one has seen the same beat of it for a
//! whole lease, by its own clock. Its row is then deleted, unless the beat has changed. The instance itself stops
//! using its shares earlier: four fifths of a lease after it has *sent* its last renewal, and time in which its machine was
//! suspended counts. So only the rates of clocks matter.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::division::{Others, Seen, SeenShare, Step, has_gone_back, steps, still_held, valid_for};
use super::joining::{BURY, join};
use super::link::Link;
use super::options::PostgresError;
use super::session::Session;
use super::shared::{Shared, heard};
use super::sql::{number, signed};
use super::verify::Unfit;
use crate::journal::{Gathered, Grant, Peer, Share, Unavailable};

pub(super) struct Heart {
    shared: Arc<Shared>,
    link: Link,
    others: Others,
    /// The connection of the last beat.
    last: Option<Arc<Session>>,
    life: Life,
}

/// Whether this instance is known to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Joined,
    /// It is to begin again, under another id.
    ToLeave,
    /// It has left, and could not join again yet.
    ToJoin,
}

impl Heart {
    pub(super) fn new(shared: Arc<Shared>, link: Link) -> Self {
        Self {
            shared,
            link,
            others: Others::default(),
            last: None,
            life: Life::Joined,
        }
    }

    /// Beats three times in a lease, and whenever there is something to look at.
    pub(super) async fn run(mut self) {
        let pause = self.shared.options.lease / 3;
        let mut generation = self.shared.verifier.generation();
        let mut is_lost = false;
        loop {
            let beaten = match self.beat().await {
                // The shares of an earlier life are taken again under another id, with other epochs.
                Ok(()) if is_lost && self.shared.grants.is_wanted() => self.begin_anew().await,
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
            if has_failed {
                // Nothing wakes it, not its own messages either: it would try again without a pause.
                let pause = match self.life {
                    Life::Joined => pause.min(RETRY_PAUSE),
                    _ => pause,
                };
                self.shared.clock.sleep(pause).await;
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
        let is_other = { self.last.as_ref() }.is_some_and(|last| !Arc::ptr_eq(last, &session));
        if is_other {
            // Until the program says again what it has applied: changes may have been lost, and their numbers given
            // to others.
            self.shared.applied.store(0, Ordering::SeqCst);
        }
        if self.life != Life::Joined {
            self.begin_again(&session).await?;
        }
        let sent = self.shared.clock.since_boot();
        let (id, beat) = (self.shared.identity(), Uuid::now_v7());
        let applied = signed(self.shared.applied.load(Ordering::SeqCst));
        let lease = self.shared.options.lease;
        let settings = self.shared.peers.own();
        let (format, oldest) = self.shared.options.formats;
        let seen = self.shared.following.newest_witness();
        let (last, batch) = (
            seen.map(|seen| signed(seen.last)),
            seen.map(|seen| seen.batch),
        );
        let is_replicated = self.shared.options.is_replicated;
        let values: [&(dyn ToSql + Sync); 9] = [
            &id,
            &beat,
            &applied,
            &settings,
            &format,
            &oldest,
            &last,
            &batch,
            &is_replicated,
        ];
        let rows = session.call_within(lease / 2, BEAT, &values).await?;
        // As while the database is restored.
        let empty = || Unavailable::Away("the table meta is empty".to_owned());
        let row = rows.first().ok_or_else(empty)?;
        // The connection may lead to another server now, behind a proxy.
        let verified = self.shared.verifier.verify_renewed(&session, row, seen);
        let unfit = verified.await?;
        let is_newer = unfit == Some(Unfit::Newer);
        self.shared.set_unfit(unfit.map(|why| why.to_string()));
        if is_replicated {
            self.look_for_standby(row.get(HAS_STANDBY));
        }
        if row.get(IS_RAISED) {
            log::info!(
                "journal: every instance can read format {format}, which is written from now on"
            );
        }
        self.news(row, is_other);
        self.last = Some(Arc::clone(&session));
        if !row.get::<_, bool>(0) {
            log::warn!(
                "journal: the others have declared this instance dead; it begins again without shares"
            );
            return self.begin_again(&session).await;
        }
        self.shared.set_lease(sent + valid_for(lease));
        let living: Vec<Uuid> = row.get(7);
        for what in [Gathered::Notes, Gathered::Progress] {
            self.shared.news.asking(what).live(living.len());
        }
        self.bury_dead(row, &session).await?;
        if is_newer {
            // What was begun is saved, and the others have the shares then.
            self.shared.grants.let_go();
        } else if self.shared.grants.is_wanted() {
            self.divide(row, &session).await?;
        }
        Ok(())
    }

    /// Takes note of whether a synchronous standby is connected.
    fn look_for_standby(&self, is_there: bool) {
        let was_there = self.shared.has_standby.swap(is_there, Ordering::SeqCst);
        match (was_there, is_there) {
            (true, false) => log::error!(
                "journal: no synchronous standby is connected any more; events are answered 503 until one is"
            ),
            (false, true) => log::info!("journal: a synchronous standby is connected again"),
            _ => {}
        }
    }

    async fn begin_anew(&mut self) -> Result<(), Unavailable> {
        let session = self.link.session().await?;
        self.begin_again(&session).await
    }

    /// Gives up everything, and begins again under another id.
    async fn begin_again(&mut self, session: &Session) -> Result<(), Unavailable> {
        if self.life == Life::Joined {
            self.life = Life::ToLeave;
        }
        self.shared.grants.clear();
        self.others.forget();
        let is_first = self.life == Life::ToLeave;
        if is_first {
            // Once: it wakes all instances.
            session.call(LEAVE, &[&self.shared.identity()]).await?;
            self.life = Life::ToJoin;
        }
        let id = Uuid::now_v7();
        if let Err(error) = join(&self.shared, session, id).await {
            if is_first && matches!(error, PostgresError::Windows(_)) {
                log::error!("journal: this instance dispatches nothing: {error}");
            }
            // The others do not know of it, and may not tell it what they append.
            self.shared.following.wake.notify_one();
            return Err(Unavailable::Away(error.to_string()));
        }
        self.shared.set_identity(id);
        self.shared.say_joined();
        self.life = Life::Joined;
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
        // NULL where no instance is left.
        let list = |column| {
            row.get::<_, Option<Vec<String>>>(column)
                .unwrap_or_default()
        };
        let peers = list(14).into_iter().zip(list(15));
        let peers = peers.map(|(name, settings)| Peer { name, settings });
        let living: Option<Vec<Uuid>> = row.get(7);
        let own = shared.identity();
        let has_others = living.is_some_and(|living| living.iter().any(|id| *id != own));
        shared.peers.hear(peers.collect(), has_others);
        if !shared.peers.is_alone() {
            // They may not know of the newest body.
            shared.news.to_tell.notify_one();
        }
    }

    /// Removes instances that have vanished.
    async fn bury_dead(
        &mut self,
        row: &tokio_postgres::Row,
        session: &Session,
    ) -> Result<(), Unavailable> {
        let (ids, beats): (Vec<Uuid>, Vec<Uuid>) = (row.get(7), row.get(8));
        let leases: Vec<i64> = row.get(13);
        let names: Vec<String> = row.get(14);
        let names: HashMap<Uuid, String> = ids.iter().copied().zip(names).collect();
        let seen = ids.into_iter().zip(beats).zip(leases);
        let seen = seen.map(|((id, beat), lease)| Seen {
            id,
            beat,
            lease: Duration::from_millis(lease.unsigned_abs()),
        });
        let seen: Vec<Seen> = seen.collect();
        let (own, now) = (self.shared.identity(), self.shared.clock.monotonic());
        let lease = self.shared.options.lease;
        let longest = seen.iter().map(|one| one.lease).max();
        self.shared
            .set_longest_lease(longest.unwrap_or(lease).max(lease));
        for (id, beat) in self.others.vanished(own, &seen, now, lease) {
            let rows = session.call(BURY, &[&id, &beat]).await?;
            if rows[0].get(0) {
                let name = names.get(&id).map_or("?", String::as_str);
                log::warn!("journal: the instance {name} has vanished; its shares are taken");
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
            return self.begin_again(session).await;
        }
        grants.held.send_if_modified(|held| {
            let left = still_held(held, &seen, own);
            let is_less = left.len() < held.len();
            *held = left;
            is_less
        });
        let held = grants.held.borrow().clone();
        // Subscriptions that were changed or removed meanwhile are known before anything is dispatched.
        let is_behind = self.shared.applied.load(Ordering::SeqCst) < number(row, 3);
        for step in steps(own, &living, &seen, &held, self.shared.shares()) {
            match step {
                Step::Take { .. } if is_behind => {}
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
}

const BEAT: &str = "SELECT * FROM beat_2($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Columns of its answer.
const HAS_STANDBY: usize = 23;
const IS_RAISED: usize = 24;

pub(super) const LEAVE: &str = "SELECT leave_1($1)";
const TAKE: &str = "SELECT take_1($1, $2, $3)";

/// The pause after a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
