//! [`Runner`]: one consumer on its way along a journal.
//!
//! It reads ahead as far as [`READ_AHEAD`] allows, starts what the [`Schedule`] says, turns outcomes
//! into progress, retries and dead letters, and saves all of that a little later: what was not saved
//! when the process is killed is handed over once more. It waits for something to happen and never
//! polls.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
#[cfg(test)]
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use roaring::RoaringTreemap;
use tokio::sync::{mpsc, watch};

use super::attempt::Outcome;
use super::consumer::Consumer;
use super::controls::{Command, Controls, Status};
use super::lane::Lane;
use super::monotonic::Monotonic;
use super::progress::{Progress, Saved, Waiting};
use super::retry::Retry;
use super::schedule::{Schedule, Seq, Start};
use crate::clock::Clock;
use crate::dialect::Dialects;
use crate::index::AttemptLog;
use crate::journal::{Change, DeadLetter, Journal, Record, Unavailable};
use crate::{Delivery, Event, Timestamp, escape_controls};

/// One consumer on its way along a journal.
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    journal: Arc<dyn Journal>,
    dialects: Arc<Dialects>,
    retry: Retry,
    clock: Arc<dyn Clock>,
    progress: Progress,
    schedule: Schedule,
    /// Everything up to here is settled or in the schedule.
    cursor: Seq,
    /// Retries that were saved and are not in the schedule yet.
    remembered: HashMap<Seq, Waiting>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    dead: Vec<DeadLetter>,
    /// Replayed since the last save: dead letters no more.
    revived: Vec<Seq>,
    /// Every event that is to be handed over once more.
    replaying: RoaringTreemap,
    /// Those of them that are not in the schedule yet, and when each may be.
    replays: VecDeque<(Seq, Timestamp)>,
    /// Where statuses only go forward.
    monotonic: Option<Monotonic>,
    paused: bool,
    failing_since: Option<Timestamp>,
    commands: mpsc::Receiver<Command>,
    attempts: AttemptLog,
    unsaved_since: Option<Instant>,
    /// After a failure of the journal nothing is asked of it before this.
    resume_at: Option<Instant>,
}

/// Whether a runner goes on, and how it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    GoOn,
    /// What runs is finished first.
    Finish,
    /// What runs is dropped where it is, as if it had not been started.
    BreakOff,
}

struct Ended {
    start: Start,
    /// `Err` when the event could not be read.
    outcome: Result<Outcome, Unavailable>,
}

impl Runner {
    /// Goes on where the consumer was saved last; a new one starts from now.
    pub(crate) async fn new(
        consumer: Arc<Consumer>,
        journal: Arc<dyn Journal>,
        dialects: Arc<Dialects>,
        clock: Arc<dyn Clock>,
        attempts: AttemptLog,
    ) -> Result<(Self, Controls), Unavailable> {
        let saved = match journal.saved(consumer.name()).await? {
            Some(saved) => saved,
            None => {
                let saved = Saved {
                    progress: Progress::starting_after(journal.tail().head()),
                    ..Saved::default()
                };
                let change = Change {
                    consumer: consumer.name().to_owned(),
                    saved: saved.clone(),
                    revived: Vec::new(),
                    dead: Vec::new(),
                };
                journal.save(change).await?;
                saved
            }
        };
        let remembered = saved.waiting.iter().map(|waiting| (waiting.seq, *waiting));
        let now = clock.now();
        let (controls, commands) = Controls::new(consumer.name());
        let monotonic = consumer.is_monotonic().then(Monotonic::default);
        let runner = Self {
            retry: consumer.retry(),
            consumer,
            journal,
            dialects,
            clock,
            cursor: saved.progress.floor(),
            remembered: remembered.collect(),
            progress: saved.progress,
            schedule: Schedule::default(),
            running: FuturesUnordered::new(),
            dead: Vec::new(),
            revived: Vec::new(),
            replays: saved.replaying.iter().map(|seq| (seq, now)).collect(),
            replaying: saved.replaying,
            monotonic,
            paused: saved.paused,
            failing_since: None,
            commands,
            attempts,
            unsaved_since: None,
            resume_at: None,
        };
        Ok((runner, controls))
    }

    /// Runs until told to end; everything is saved then.
    pub(super) async fn run(mut self, mut ending: watch::Receiver<Ending>) {
        let mut head = self.journal.tail().watch();
        while *ending.borrow() == Ending::GoOn {
            self.step().await;
            let room = self.schedule.len() < READ_AHEAD && self.resume_at.is_none();
            let pause = self.pause();
            let wake = async {
                match pause {
                    Some(pause) => self.clock.sleep(pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                ended = self.running.next(), if !self.running.is_empty() => {
                    if let Some(ended) = ended {
                        self.ended(ended);
                    }
                }
                changed = head.changed(), if room => {
                    if changed.is_err() {
                        break;
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = wake => {}
                changed = ending.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        self.finish(ending).await;
        self.save().await;
    }

    /// Waits for what runs, unless told to break it off.
    async fn finish(&mut self, mut ending: watch::Receiver<Ending>) {
        let broken_off = async {
            // Who can no longer be told waits.
            if ending
                .wait_for(|ending| *ending == Ending::BreakOff)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        };
        let mut broken_off = std::pin::pin!(broken_off);
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                () = &mut broken_off => self.running.clear(),
                ended = self.running.next() => {
                    if let Some(ended) = ended {
                        self.ended(ended);
                    }
                }
            }
        }
    }

    /// Does everything that can be done now, without waiting for anything but the journal.
    pub(crate) async fn step(&mut self) {
        let now = self.clock.monotonic();
        if self.resume_at.is_some_and(|at| now < at) {
            return;
        }
        self.resume_at = None;
        let read = match self.take_replays().await {
            Ok(()) => self.read_ahead().await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            self.stumble("cannot read the journal", &error);
            return;
        }
        self.start();
        let overdue = |since: Instant| now.saturating_duration_since(since) >= SAVE_PAUSE;
        if self.unsaved_since.is_some_and(overdue) {
            self.save().await;
        }
    }

    /// How long to wait when nothing happens: until a retry is due, until it is time to save, until
    /// the journal is asked again.
    fn pause(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        if let Some(at) = self.resume_at {
            return Some(at.saturating_duration_since(now));
        }
        let save = self
            .unsaved_since
            .map(|since| (since + SAVE_PAUSE).saturating_duration_since(now));
        let until = |at: Timestamp| {
            Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default()
        };
        let free = !self.paused && self.schedule.running() < self.consumer.concurrency();
        let retry = self.schedule.next_due().filter(|_| free).map(until);
        let room = self.schedule.len() < READ_AHEAD;
        let replay = self
            .replays
            .front()
            .filter(|_| room)
            .map(|(_, at)| until(*at));
        save.into_iter().chain(retry).chain(replay).min()
    }

    /// Does what the administrator asks for.
    async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused, answer) => {
                self.paused = paused;
                self.save().await;
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            }
            Command::Replay {
                events,
                pause,
                answer,
            } => {
                self.replay(&events, pause);
                // Promised only when it outlives the process.
                self.save().await;
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            }
        }
    }

    fn status(&self) -> Status {
        let waiting = self.schedule.waiting();
        Status {
            name: self.consumer.name().to_owned(),
            paused: self.paused,
            lag: self.progress.lag(self.journal.tail().head()) + self.replaying.len(),
            floor: self.progress.floor(),
            in_flight: self.schedule.running(),
            failing_since: self.failing_since,
            progress: self.progress.clone(),
            replaying: self.replaying.clone(),
            retrying: waiting
                .filter(|(_, attempts, _)| *attempts > 0)
                .map(|(seq, ..)| seq)
                .collect(),
        }
    }

    fn replay(&mut self, events: &[Seq], pause: Duration) {
        let now = self.clock.now();
        let mut at = now;
        // Whatever becomes of them now, they are dead letters no more.
        self.dead.retain(|letter| !events.contains(&letter.seq));
        self.revived.extend(events);
        for seq in events {
            if self.schedule.contains(*seq) {
                self.schedule.afresh(*seq, now);
            } else if let Some(waiting) = self.remembered.get_mut(seq) {
                (waiting.attempts, waiting.due) = (0, now.as_millisecond());
            } else if self.progress.is_settled(*seq) && self.replaying.insert(*seq) {
                self.replays.push_back((*seq, at));
                at = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
            }
        }
        self.unsaved();
    }

    /// Brings replays whose time has come into the schedule.
    async fn take_replays(&mut self) -> Result<(), Unavailable> {
        let now = self.clock.now();
        while self.schedule.len() < READ_AHEAD {
            let due = self.replays.front().filter(|(_, at)| *at <= now);
            let Some((seq, _)) = due.copied() else { break };
            let record = find(self.journal.as_ref(), seq).await?;
            let waiting = self.remembered.remove(&seq);
            let record = record.map(|record| (self.dialects.events(&record), record));
            let wanted = record.filter(|(events, record)| {
                let session = record.received.session.as_deref();
                self.consumer.wants(session, events)
            });
            match wanted {
                Some((events, record)) => {
                    let lane = self.lane(&record, &events);
                    self.add(seq, lane, waiting);
                }
                // Retention has removed it since, or it was never for this consumer.
                None => {
                    self.replaying.remove(seq);
                    self.unsaved();
                }
            }
            self.replays.pop_front();
        }
        Ok(())
    }

    fn lane(&self, record: &Record, events: &[Event]) -> Option<Lane> {
        let session = record.received.session.as_deref();
        self.consumer
            .order()
            .lane(&record.received.source, session, events)
    }

    async fn read_ahead(&mut self) -> Result<(), Unavailable> {
        let head = self.journal.tail().head();
        while self.cursor < head && self.schedule.len() < READ_AHEAD {
            match self.journal.tail().get(self.cursor + 1) {
                Some(record) => self.take(&record),
                None => {
                    let records = self.journal.read(self.cursor, READ_AT_ONCE).await?;
                    if records.is_empty() {
                        return Err(Unavailable(format!(
                            "event {} is not there",
                            self.cursor + 1
                        )));
                    }
                    for record in &records {
                        self.take(record);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        // What retention has removed needs nothing more.
        for gone in self.cursor + 1..record.seq {
            self.progress.settle(gone);
            self.remembered.remove(&gone);
        }
        self.cursor = record.seq;
        if self.progress.is_settled(record.seq) {
            return;
        }
        let waiting = self.remembered.remove(&record.seq);
        let events = self.dialects.events(record);
        let session = record.received.session.as_deref();
        let comes = self
            .monotonic
            .as_mut()
            .is_none_or(|monotonic| monotonic.comes(record.seq, &record.received.source, &events));
        if !comes || !self.consumer.wants(session, &events) {
            self.progress.settle(record.seq);
            self.unsaved();
            return;
        }
        let lane = self.lane(record, &events);
        self.add(record.seq, lane, waiting);
    }

    fn add(&mut self, seq: Seq, lane: Option<Lane>, waiting: Option<Waiting>) {
        let due = waiting.and_then(|waiting| Timestamp::from_millisecond(waiting.due).ok());
        let attempts = waiting.map_or(0, |waiting| waiting.attempts);
        self.schedule.add(seq, lane, attempts, due);
    }

    fn start(&mut self) {
        let now = self.clock.now();
        while !self.paused && self.schedule.running() < self.consumer.concurrency() {
            let Some(start) = self.schedule.start(now) else {
                break;
            };
            if let Some(monotonic) = &mut self.monotonic
                && start.attempt == 1
                && monotonic.is_overtaken(start.seq)
            {
                self.settle(start.seq);
                self.unsaved();
                continue;
            }
            let consumer = Arc::clone(&self.consumer);
            let journal = Arc::clone(&self.journal);
            let dialects = Arc::clone(&self.dialects);
            let replay = self.replaying.contains(start.seq);
            self.running.push(Box::pin(async move {
                let outcome = match find(journal.as_ref(), start.seq).await {
                    Ok(Some(record)) => {
                        let events: Arc<[Event]> = dialects.events(&record);
                        let received = dialects.decoded(&record);
                        let delivery = Delivery::new(received, start.attempt, replay);
                        Ok(consumer.attempt(&delivery, &events).await)
                    }
                    // Retention has removed it since.
                    Ok(None) => Ok(Outcome::Done),
                    Err(error) => Err(error),
                };
                Ended { start, outcome }
            }));
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Start { seq, attempt } = ended.start;
        let now = self.clock.now();
        let outcome = match ended.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.schedule.not_started(seq);
                return self.stumble("cannot read the journal", &error);
            }
        };
        self.unsaved();
        self.attempts
            .note(seq, self.consumer.name(), attempt, &outcome, now);
        if matches!(outcome, Outcome::Done) {
            self.failing_since = None;
            return self.settle(seq);
        }
        self.failing_since.get_or_insert(now);
        let name = self.consumer.name();
        let reason = outcome.to_string();
        let reason = escape_controls(&reason).into_owned();
        if outcome.is_final() || attempt >= self.retry.attempts {
            log::warn!(
                "event {seq}: {name}: {reason}; attempt {attempt} was the last: dead letter"
            );
            self.consumer.metrics().dead_letter();
            self.dead.push(DeadLetter {
                seq,
                attempts: attempt,
                reason,
                at: now,
            });
            return self.settle(seq);
        }
        let pause = self.retry.pause(attempt, fastrand::f64());
        let pause = outcome
            .asked_pause()
            .map_or(pause, |asked| asked.max(pause));
        log::info!("event {seq}: {name}: {reason}; attempt {attempt}, the next in {pause:.1?}");
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        self.consumer.metrics().retry();
        self.schedule.again(seq, due);
    }

    fn settle(&mut self, seq: Seq) {
        self.schedule.settled(seq);
        self.progress.settle(seq);
        self.replaying.remove(seq);
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.settled(seq);
        }
    }

    fn unsaved(&mut self) {
        self.unsaved_since
            .get_or_insert_with(|| self.clock.monotonic());
    }

    async fn save(&mut self) {
        let waiting = self.schedule.waiting().map(|(seq, attempts, due)| Waiting {
            seq,
            attempts,
            due: due.as_millisecond(),
        });
        let change = Change {
            consumer: self.consumer.name().to_owned(),
            saved: Saved {
                progress: self.progress.clone(),
                waiting: waiting.chain(self.remembered.values().copied()).collect(),
                replaying: self.replaying.clone(),
                paused: self.paused,
            },
            revived: self.revived.clone(),
            dead: self.dead.clone(),
        };
        match self.journal.save(change).await {
            Ok(()) => {
                self.dead.clear();
                self.revived.clear();
                self.unsaved_since = None;
            }
            Err(error) => self.stumble("cannot save its progress", &error),
        }
    }

    fn stumble(&mut self, what: &str, error: &Unavailable) {
        log::warn!(
            "{}: {what}: {error}; tried again in a second",
            self.consumer.name()
        );
        self.resume_at = Some(self.clock.monotonic() + STUMBLE_PAUSE);
    }
}

async fn find(journal: &dyn Journal, seq: Seq) -> Result<Option<Arc<Record>>, Unavailable> {
    if let Some(record) = journal.tail().get(seq) {
        return Ok(Some(record));
    }
    let records = journal.read(seq - 1, 1).await?;
    let record = records.into_iter().find(|record| record.seq == seq);
    Ok(record.map(Arc::new))
}

/// What a test needs to go from one moment to the next.
#[cfg(test)]
impl Runner {
    /// Goes on until nothing more happens by itself: all that may start has started, and what runs
    /// is in the test's hands, as many as `held` says.
    pub(super) async fn settle_down(&mut self, held: impl Fn() -> usize) {
        loop {
            self.step().await;
            if self.running.len() <= held() {
                return;
            }
            let ended = std::future::poll_fn(|context| {
                let ended = self.running.poll_next_unpin(context);
                match ended.is_pending() && self.running.len() <= held() {
                    true => Poll::Ready(None),
                    false => ended,
                }
            });
            if let Some(ended) = ended.await {
                self.ended(ended);
            }
        }
    }

    /// Does what was asked for.
    pub(super) async fn obey_all(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command).await;
        }
    }
}

/// How many events of a consumer are known at once; bodies are read when they are due. Few in unit
/// tests, which reach the limit.
const READ_AHEAD: usize = if cfg!(test) { 16 } else { 16_384 };

const READ_AT_ONCE: usize = if cfg!(test) { 4 } else { 256 };

/// How long progress may be unsaved. What is lost with it is handed over once more.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);
