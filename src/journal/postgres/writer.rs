//! [`Writer`]: the task that appends. One call stores all that waits; see `append_1` in functions.sql.
//!
//! A connection that breaks, a missing answer, or a warning of the server make an append unknown. Its senders are
//! told so, and nothing is sent again: a sender that comes again finds its dedup key or not. Later the writer asks
//! whether the append was committed, only to count it.
//!
//! All that an append needs has one time together, `append_timeout`: the connection, that question, and the call. A body that
//! waits behind others is answered when its own time is over (`journal.rs`), and then it is not sent.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::join;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::{sleep_until, timeout};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::batch::{BLOCK_FORMAT, PartOf, Plan};
use super::following::OwnBodies;
use super::link::Link;
use super::session::Session;
use super::shared::Shared;
use super::sql::{number, signed};
use super::turn::Turn;
use crate::Timestamp;
use crate::clock::{Clock as _, SystemClock};
use crate::journal::{Appended, Entry, Position, Seq, Unavailable};
use crate::telemetry::{ONGOING, Throttle};

/// A body to append, and the caller that waits.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) entry: Entry,
    pub(super) caller: oneshot::Sender<Result<Appended, Unavailable>>,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    link: Link,
    asked: mpsc::Receiver<Asked>,
    waiting: VecDeque<Asked>,
    turn: Turn,
    in_doubt: Vec<InDoubt>,
    failures: Throttle,
    /// The log has told of a failure, and not yet of its end.
    is_logged: bool,
}

/// An append whose outcome is unknown.
#[derive(Debug, Clone, Copy)]
struct InDoubt {
    batch: Uuid,
    /// It can only be after this one.
    after: Seq,
}

/// A batch that the database has, and whose callers wait for their answer.
struct Written {
    batch: Vec<Asked>,
    plan: Plan,
    /// `None` if all were duplicates.
    stored: Option<Stored>,
}

/// A call that has stored bodies.
struct Stored {
    id: Uuid,
    /// The number of the first one.
    first: Seq,
    kept_at: Timestamp,
    /// How often the log had gone back before the call.
    generation: u64,
}

impl Written {
    /// Answers the callers, and has the bodies dispatched.
    fn answer(self, shared: &Shared) {
        let Self {
            batch,
            plan,
            stored,
        } = self;
        let mut first = 0;
        if let Some(stored) = stored {
            if stored.generation != shared.verifier.generation() {
                // If it is there all the same, it is read with the next beat.
                let why = "the database has gone back meanwhile".to_owned();
                return answer(batch, |_| Err(Unavailable::Unknown(why.clone())));
            }
            first = stored.first;
            let entries = batch.iter().map(|asked| &asked.entry);
            let records = plan.records(entries, first, stored.kept_at, shared.shares());
            let batch = stored.id;
            shared.following.offer(OwnBodies { batch, records });
            shared.tell(first + plan.new as Seq - 1);
        }
        answer(batch, |index| Ok(plan.outcome(index, first)));
    }
}

/// What the database has answered.
enum Answer {
    Stored {
        first: Seq,
        kept_at: Timestamp,
    },
    /// Nothing was stored: these are duplicates.
    Held(Vec<(PartOf, Position)>),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, link: Link, asked: mpsc::Receiver<Asked>) -> Self {
        Self {
            shared,
            link,
            asked,
            waiting: VecDeque::new(),
            turn: Turn::default(),
            in_doubt: Vec::new(),
            failures: Throttle::every(ONGOING),
            is_logged: false,
        }
    }

    /// Appends until the queue is closed and empty. What was appended is answered while the database has the next call
    /// already, or, where other instances append first, before that is sent.
    pub(super) async fn run(mut self) {
        while self.receive().await {
            let shared = Arc::clone(&self.shared);
            let mut appended: Option<Written> = None;
            while !self.waiting.is_empty() {
                // Not by a test's clock, which stands still.
                let now = SystemClock.monotonic();
                if let Some(turn) = self.turn.comes(now)
                    && self.has_room()
                {
                    // Whoever is answered may send the next one.
                    if let Some(before) = appended.take() {
                        before.answer(&shared);
                    }
                    sleep_until(turn.into()).await;
                    self.turn.paused(SystemClock.monotonic() - now);
                    self.take_what_came();
                }
                let count = one_batch(&self.waiting);
                let mut batch: Vec<Asked> = self.waiting.drain(..count).collect();
                // Their callers have been told already.
                batch.retain(|asked| !asked.caller.is_closed());
                let before = std::mem::take(&mut appended);
                let answering = async {
                    // The task that drives the connection sends the call first.
                    yield_now().await;
                    if let Some(before) = before {
                        before.answer(&shared);
                    }
                };
                appended = join(self.write(batch), answering).await.0;
                self.take_what_came();
            }
            if let Some(last) = appended {
                last.answer(&shared);
            }
        }
    }

    /// Whether more than waits can be in the next call.
    fn has_room(&self) -> bool {
        let bodies = self.waiting.iter().map(bytes);
        self.waiting.len() < MAX_BATCH && bodies.sum::<usize>() < MAX_BATCH_BYTES
    }

    /// Takes what has come meanwhile.
    fn take_what_came(&mut self) {
        let (mut came, most) = (Vec::new(), MAX_BATCH.saturating_sub(self.waiting.len()));
        // `try_recv` may stop the thread for a sender that is about to send.
        let _ = self.asked.recv_many(&mut came, most).now_or_never();
        self.waiting.extend(came);
    }

    /// Waits for bodies. Returns false at the end. A lost connection is made again also while none comes: a
    /// sender that waits until the journal is ready would otherwise wait forever.
    async fn receive(&mut self) -> bool {
        let mut received = Vec::new();
        while !self.shared.is_writing.load(Ordering::SeqCst) {
            let session = tokio::select! {
                biased;
                count = self.asked.recv_many(&mut received, MAX_BATCH) => {
                    self.waiting.extend(received);
                    return count > 0;
                }
                session = self.link.session_at_last() => session,
            };
            if let Err(why) = self.works(&session, self.until()).await {
                log::debug!("journal: it cannot be written yet: {why}");
                self.shared.clock.sleep(PAUSE).await;
            }
        }
        let count = self.asked.recv_many(&mut received, MAX_BATCH).await;
        self.waiting.extend(received);
        count > 0
    }

    /// Appends a batch. If it fails, its callers are answered.
    async fn write(&mut self, batch: Vec<Asked>) -> Option<Written> {
        if batch.is_empty() {
            return None;
        }
        let mut plan = Plan::of(batch.iter().map(|asked| &asked.entry), &HashMap::new());
        match self.append(&batch, &mut plan).await {
            Ok(stored) => Some(Written {
                batch,
                plan,
                stored,
            }),
            Err(failed) => {
                answer(batch, |index| match plan.is_settled(index) {
                    true => Ok(plan.outcome(index, 0)),
                    false => Err(failed.clone()),
                });
                None
            }
        }
    }

    /// Appends what is new.
    async fn append(
        &mut self,
        batch: &[Asked],
        plan: &mut Plan,
    ) -> Result<Option<Stored>, Unavailable> {
        let entries = || batch.iter().map(|asked| &asked.entry);
        if !self.shared.has_standby.load(Ordering::SeqCst) {
            let why = "no synchronous standby is connected".to_owned();
            return Err(Unavailable::Away(why));
        }
        if let Some(why) = self.shared.unfit() {
            return Err(Unavailable::Away(why));
        }
        let until = self.until();
        let session = match timeout(self.left(until), self.link.session()).await {
            Ok(Ok(session)) => session,
            Ok(Err(why)) => return Err(self.failed(why)),
            Err(_) => return Err(self.failed(too_late())),
        };
        if !self.shared.is_writing.load(Ordering::SeqCst) || !self.in_doubt.is_empty() {
            let works = self.works(&session, until).await;
            works.map_err(|why| self.failed(why))?;
        }
        let generation = self.shared.verifier.generation();
        let mut stored = HashMap::new();
        while plan.new > 0 {
            let id = Uuid::now_v7();
            match self.call(&session, until, (id, batch), plan).await? {
                Answer::Held(found) => {
                    let before = stored.len();
                    stored.extend(found);
                    if stored.len() == before {
                        let why = "the database names the same duplicates again".to_owned();
                        return Err(self.failed(Unavailable::Away(why)));
                    }
                    *plan = Plan::of(entries(), &stored);
                }
                Answer::Stored { first, kept_at } => {
                    self.shared.counts.appends.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(Stored {
                        id,
                        first,
                        kept_at,
                        generation,
                    }));
                }
            }
        }
        Ok(None)
    }

    async fn call(
        &mut self,
        session: &Session,
        until: Instant,
        (id, batch): (Uuid, &[Asked]),
        plan: &Plan,
    ) -> Result<Answer, Unavailable> {
        let longest = self.left(until);
        if longest < self.shared.options.append_timeout / 2 {
            // It would only be broken off. Nothing is stored.
            return Err(self.failed(too_late()));
        }
        let entries = batch.iter().map(|asked| &asked.entry);
        let blocks = plan.blocks(entries, self.shared.shares());
        let counts: Vec<i32> = blocks.iter().map(|block| block.last as i32).collect();
        let formats = vec![BLOCK_FORMAT; blocks.len()];
        let sums: Vec<&[u8]> = blocks.iter().map(|block| &block.sums[..]).collect();
        let bodies: Vec<&[u8]> = blocks.iter().map(|block| &block.bodies[..]).collect();
        let (keys, now) = (&plan.keys, self.shared.times.now());
        let after = self.shared.following.tail().head();
        let values: [&(dyn ToSql + Sync); 14] = [
            &id,
            &counts,
            &formats,
            &sums,
            &bodies,
            &keys.keys,
            &keys.states,
            &keys.windows,
            &keys.mosts,
            &keys.nth,
            &keys.parts,
            &keys.looks,
            &keys.writes,
            &now,
        ];
        let rows = session
            .call_within(longest, APPEND, &values)
            .await
            .map_err(|why| {
                if let Unavailable::Unknown(_) = why {
                    session.end();
                    if self.in_doubt.len() < MAX_IN_DOUBT {
                        self.in_doubt.push(InDoubt { batch: id, after });
                    }
                }
                self.failed(why)
            })?;
        if let Some(row) = rows.first() {
            let waited = Duration::from_micros(number(row, 4));
            self.turn.waited(waited, SystemClock.monotonic());
            if let Some(lock) = self.shared.append_lock.get() {
                lock.waited(waited);
            }
        }
        let held = |row: &tokio_postgres::Row| row.get::<_, i32>(0) as usize;
        match rows.first() {
            Some(row) if held(row) == 0 => Ok(Answer::Stored {
                first: number(row, 1),
                kept_at: Timestamp::from_millisecond(row.get(3)).unwrap_or_default(),
            }),
            Some(_) => {
                let found = rows.iter().map(|row| {
                    let position = Position::new(number(row, 1), row.get::<_, i32>(2) as u16);
                    (keys.of[held(row) - 1], position)
                });
                Ok(Answer::Held(found.collect()))
            }
            None => Err(self.failed(Unavailable::Away("the database gave no answer".to_owned()))),
        }
    }

    /// Asks what became of the appends in doubt. Then the connection works.
    async fn works(&mut self, session: &Session, until: Instant) -> Result<(), Unavailable> {
        while let Some(InDoubt { batch, after }) = self.in_doubt.last().copied() {
            let after = signed(after);
            let values: [&(dyn ToSql + Sync); 2] = [&batch, &after];
            let asked = session.call_within(self.left(until), SETTLE, &values).await;
            // Nothing new was sent, so nothing more is in doubt.
            let rows = asked.map_err(|why| {
                Unavailable::Away(format!(
                    "an append that was broken off may still be under way: {why}"
                ))
            })?;
            self.in_doubt.pop();
            let (counts, is_found) = (&self.shared.counts, rows[0].get(0));
            let count = if is_found {
                &counts.unknown_found
            } else {
                &counts.unknown_absent
            };
            count.fetch_add(1, Ordering::Relaxed);
            let found = if is_found {
                "is stored"
            } else {
                "is not stored"
            };
            log::info!("journal: an append whose outcome was unknown {found}");
        }
        if session.is_closed() {
            let why = "the connection to the database has ended".to_owned();
            return Err(Unavailable::Away(why));
        }
        self.shared.is_writing.store(true, Ordering::SeqCst);
        if std::mem::take(&mut self.is_logged) {
            log::info!("journal: writing again");
        }
        Ok(())
    }

    /// Until when an append that begins now has its answer.
    fn until(&self) -> Instant {
        self.shared.clock.monotonic() + self.shared.options.append_timeout
    }

    fn left(&self, until: Instant) -> Duration {
        until.saturating_duration_since(self.shared.clock.monotonic())
    }

    fn failed(&mut self, why: Unavailable) -> Unavailable {
        self.shared.is_writing.store(false, Ordering::SeqCst);
        if let Some(unsaid) = self.failures.pass() {
            let more = Throttle::more(unsaid);
            self.is_logged = true;
            log::error!(
                "journal: an append failed, nothing is acknowledged until the database answers: {why}{more}"
            );
        }
        why
    }
}

fn too_late() -> Unavailable {
    Unavailable::Away("the database did not answer in time".to_owned())
}

fn answer(batch: Vec<Asked>, outcome: impl Fn(usize) -> Result<Appended, Unavailable>) {
    for (index, asked) in batch.into_iter().enumerate() {
        // A caller that no longer waits needs no answer.
        drop(asked.caller.send(outcome(index)));
    }
}

/// Returns how many bodies are appended together; at least one.
fn one_batch(waiting: &VecDeque<Asked>) -> usize {
    let mut taken = 0;
    let fits = |asked: &&Asked| {
        let fits = taken < MAX_BATCH_BYTES;
        taken += bytes(asked);
        fits
    };
    waiting.iter().take(MAX_BATCH).take_while(fits).count()
}

fn bytes(asked: &Asked) -> usize {
    asked.entry.received.body.len()
}

/// The pause before the database is asked again whether an append is still under way.
const PAUSE: Duration = Duration::from_millis(100);

const MAX_BATCH: usize = 1024;
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// More than can be in doubt while the database is away: each needs a connection that breaks.
const MAX_IN_DOUBT: usize = 1024;

/// More than the server can have in progress.
pub(super) const MAX_WAITING: usize = 131_072;

const APPEND: &str = "SELECT held, seq, part, at, waited FROM append_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
const SETTLE: &str = "SELECT settle_1($1, $2)";
