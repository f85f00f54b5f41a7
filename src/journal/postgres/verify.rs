//! [`Verifier`]: checks that a connection leads to the log that this instance knows, before it is used.
//!
//! After a fail-over to a standby that lacked the newest commits, or a restore, the whole database has gone back:
//! the log with its dedup keys, and the progress of consumers. The head alone does not tell that, because new
//! events may have the same numbers. So the newest body that this instance has seen must still be there, stored by
//! the same append. If it is not, the tail goes back to the last common body, and all desks are fenced: progress
//! over events that are gone is never saved.
//!
//! It looks, too, whether the database still keeps what it acknowledges: its settings may change while it runs, and a
//! standby may have others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use tokio_postgres::Row;
use uuid::Uuid;

use super::facts::{SAFETY, unfit};
use super::following::Following;
use super::link::Check;
use super::reading::Witness;
use super::schema::Known;
use super::session::Session;
use super::sql::number;
use crate::journal::Unavailable;

/// Why a database that has the log may not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It could lose what it has acknowledged.
    Unsafe(String),
    /// A newer version has changed the journal.
    Newer,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsafe(why) => f.write_str(why),
            Self::Newer => f.write_str(NEWER),
        }
    }
}

#[derive(Debug)]
pub(super) struct Verifier {
    known: Known,
    following: Arc<Following>,
    /// How often the log has gone back.
    generation: AtomicU64,
    /// How many bodies are gone with it.
    lost: AtomicU64,
    /// What is found is judged one after the other.
    turn: Mutex<()>,
}

impl Verifier {
    pub(super) fn new(known: Known, following: Arc<Following>) -> Arc<Self> {
        Arc::new(Self {
            known,
            following,
            generation: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            turn: Mutex::default(),
        })
    }

    /// The check for new connections.
    pub(super) fn check(self: &Arc<Self>) -> Check {
        let verifier = Arc::clone(self);
        Arc::new(move |session| {
            let verifier = Arc::clone(&verifier);
            Box::pin(async move {
                match verifier.verify(&session).await? {
                    Some(unfit) => Err(Unavailable::Away(unfit.to_string())),
                    None => Ok(()),
                }
            })
        })
    }

    /// Returns how often the log has gone back. A desk that was opened before that is fenced.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Returns how many bodies were lost when the log went back.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// Checks that the database has the log that this instance knows. Returns why it may not be used all the same.
    ///
    /// A connection without an answer does not hold up the checks of others.
    pub(super) async fn verify(&self, session: &Session) -> Result<Option<Unfit>, Unavailable> {
        loop {
            let generation = self.generation();
            let rows = session.read(META.as_str(), &[]).await?;
            let row = rows
                .first()
                .ok_or_else(|| Unavailable::Away("the table meta is empty".into()))?;
            if self.is_newer(row.get(0), row.get(1))? {
                return Ok(Some(Unfit::Newer));
            }
            let unfit = unfit(row, 5).map(Unfit::Unsafe);
            let witnesses = self.following.witnesses();
            let Some(newest) = witnesses.last() else {
                return Ok(unfit);
            };
            let first_seq: i64 = row.get(2);
            let is_trimmed = newest.last < first_seq.unsigned_abs();
            if is_trimmed
                || common(session, std::slice::from_ref(newest))
                    .await?
                    .is_some()
            {
                return Ok(unfit);
            }
            let found = common(session, &witnesses).await?;
            let head = row.get::<_, Option<i64>>(3).map(|last| Witness {
                last: last.unsigned_abs(),
                batch: row.get(4),
            });
            if self.go_back(generation, &witnesses, found, head) {
                return Ok(unfit);
            }
        }
    }

    /// The same by the answer to a renewal, which was asked for the newest body that was `seen` before.
    pub(super) async fn verify_renewed(
        &self,
        session: &Session,
        row: &Row,
        seen: Option<Witness>,
    ) -> Result<Option<Unfit>, Unavailable> {
        if self.is_newer(row.get(LOG_ID), row.get(LOG_ID + 1))? {
            return Ok(Some(Unfit::Newer));
        }
        let is_trimmed = seen.is_some_and(|seen| seen.last < number(row, FIRST_SEQ));
        if is_trimmed || row.get(LOG_ID + 2) {
            return Ok(unfit(row, LOG_ID + 3).map(Unfit::Unsafe));
        }
        self.verify(session).await
    }

    /// Whether a newer version has changed the journal, if it is this one.
    fn is_newer(&self, log_id: Uuid, oldest_reader: i32) -> Result<bool, Unavailable> {
        if log_id != self.known.log_id {
            let why = "the database holds another journal now; start offhook again to use it";
            return Err(Unavailable::Away(why.to_owned()));
        }
        Ok(oldest_reader > self.known.reads)
    }

    /// Begins again after the newest body that is left. Returns false, and changes nothing, if that was done since
    /// `generation`.
    fn go_back(
        &self,
        generation: u64,
        witnesses: &[Witness],
        found: Option<Witness>,
        head: Option<Witness>,
    ) -> bool {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if generation != self.generation() {
            return false;
        }
        let newest = witnesses[witnesses.len() - 1];
        let common = found.or(head);
        // If nothing that was seen is there, all of that is gone, and maybe more.
        let left = found.map_or(witnesses[0].last.saturating_sub(1), |found| found.last);
        let left = left.min(head.map_or(0, |head| head.last));
        log::error!(
            "journal: the database has gone back: the events {} to {} that were acknowledged are not there any more \
             (a fail-over to a standby that did not have them, or a restore); events that come now get these numbers",
            left + 1,
            newest.last
        );
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.following.reset(common);
        self.lost.fetch_add(newest.last - left, Ordering::SeqCst);
        true
    }
}

/// Returns the newest of these that the database has.
async fn common(session: &Session, witnesses: &[Witness]) -> Result<Option<Witness>, Unavailable> {
    let lasts: Vec<i64> = witnesses
        .iter()
        .map(|one| super::sql::signed(one.last))
        .collect();
    let batches: Vec<Uuid> = witnesses.iter().map(|one| one.batch).collect();
    let rows = session.read(COMMON, &[&lasts, &batches]).await?;
    Ok(rows.first().map(|row| Witness {
        last: row.get::<_, i64>(0).unsigned_abs(),
        batch: row.get(1),
    }))
}

/// Columns of the answer to a renewal; behind the first one whether the log is this one's, and the settings.
const FIRST_SEQ: usize = 2;
const LOG_ID: usize = 16;

const NEWER: &str = "a newer version of offhook has changed the journal; install it here too";

static META: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT m.log_id, m.oldest_reader, m.first_seq, b.last, b.batch, {SAFETY} FROM meta m \
         LEFT JOIN (SELECT last, batch FROM block ORDER BY last DESC LIMIT 1) b ON true"
    )
});
const COMMON: &str = "SELECT b.last, b.batch FROM unnest($1::bigint[], $2::uuid[]) AS w (last, batch) \
    JOIN block b ON b.last = w.last AND b.batch = w.batch ORDER BY b.last DESC LIMIT 1";
