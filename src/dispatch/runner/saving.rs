//! Saves progress: only what has changed, a little later, and beside everything else.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Runner;
use super::unsaved::BeingSaved;
use crate::Timestamp;
use crate::dispatch::controls::Saved;
use crate::dispatch::saved::{Row, Waiting};
use crate::journal::{ProgressChange, Unavailable};
use crate::telemetry::{ONGOING, Throttle};

impl Runner {
    /// Notes that there is progress to save.
    pub(super) fn unsaved(&mut self) {
        self.save_within(SAVE_PAUSE);
    }

    /// Notes that an event waits for a retry. If that is forgotten it is tried again too early, so a consumer
    /// with many retries writes them together.
    pub(super) fn failed_again(&mut self) {
        self.save_within(RETRY_PAUSE);
    }

    /// Notes that an unwanted event was skipped.
    pub(super) fn passed_by(&mut self) {
        self.save_within(match self.context.hold {
            None => PASSED_BY_PAUSE,
            Some(_) => PASSED_BY_PAUSE_OF_SHARES,
        });
    }

    /// Answers when everything is durable that has changed until now.
    pub(super) fn save_now(&mut self, answer: Saved) {
        if self.unsaved.saving.is_none() && self.unsaved.save_at.is_none() {
            let _ = answer.send(Ok(()));
            return;
        }
        self.save_and_answer(answer);
    }

    /// Saves as soon as possible, and answers when it is durable.
    pub(super) fn save_and_answer(&mut self, answer: Saved) {
        self.unsaved.answers.push(answer);
        self.save_within(Duration::ZERO);
        if self.unsaved.saving.is_none() {
            self.save();
        }
    }

    fn save_within(&mut self, pause: Duration) {
        let (_, now) = self.seen;
        let at = self.unsaved.save_at.unwrap_or(now + pause);
        self.unsaved.save_at = Some(at.min(now + pause));
    }

    /// Begins to save if it is time.
    pub(super) fn save_if_due(&mut self) {
        let (_, now) = self.seen;
        if self.unsaved.next_save().is_some_and(|at| at <= now) {
            self.save();
        }
    }

    /// Begins to save everything that has changed, but for retries beyond [`RETRIES_IN_A_SAVE`].
    fn save(&mut self) {
        self.place_bookmark();
        let mut rows = std::mem::take(&mut self.unsaved.rows);
        rows.extend(self.state.take_changed());
        self.unsaved.save_at = None;
        let mut retries = 0;
        let (rows, later) = rows.into_iter().partition(|row| {
            // The row of a settled event is removed with what settles it.
            let waits =
                matches!(row, Row::Retry(event) if self.schedule.retries().contains_key(event));
            retries += usize::from(waits);
            retries <= RETRIES_IN_A_SAVE || !waits
        });
        let rows: BTreeSet<Row> = rows;
        self.unsaved.rows = later;
        self.unsaved.save_at = (!self.unsaved.rows.is_empty()).then_some(self.seen.1);
        let (_, now) = self.seen;
        let lasted = self.failing.map(|failing| failing.lasted(now).as_millis());
        let head = &mut self.state.head;
        head.floor = self.state.progress.floor();
        head.failing_ms = lasted.map(|lasted| u64::try_from(lasted).unwrap_or(u64::MAX));
        let (revived, dead) = (&mut self.unsaved.revived, &mut self.unsaved.dead);
        let (revived, dead) = (std::mem::take(revived), std::mem::take(dead));
        let change = ProgressChange {
            consumer: self.consumer.name().to_owned(),
            head: self.state.head.encode(),
            rows: rows
                .iter()
                .map(|row| (row.encode(), self.row(*row)))
                .collect(),
            revived: revived.clone(),
            dead: dead.clone(),
        };
        let desk = self.context.desk.clone();
        self.unsaved.saving = Some(BeingSaved {
            dead,
            revived,
            rows,
            answers: std::mem::take(&mut self.unsaved.answers),
            saved: Box::pin(async move { desk.save(change).await }),
        });
        self.free_memory();
    }

    /// Frees memory that is no longer needed.
    fn free_memory(&mut self) {
        self.schedule.shrink();
        self.reading.next.shrink();
        if self.schedule.len() == 0 {
            self.reading.chunks.clear();
        }
    }

    /// The content of a row.
    fn row(&self, row: Row) -> Option<Vec<u8>> {
        match row {
            Row::Retry(position) => self.schedule.retries().get(&position).map(|retry| {
                let (attempts, due) = (retry.attempts, self.time_at(retry.due));
                let at = self.seen.0;
                Waiting { attempts, due, at }.encode()
            }),
            row => self.state.row(row),
        }
    }

    /// The time of day at a moment from now on.
    pub(super) fn time_at(&self, moment: Instant) -> Timestamp {
        let (at, now) = self.seen;
        let pause = moment.saturating_duration_since(now);
        at.saturating_add(pause).unwrap_or(Timestamp::MAX)
    }

    /// Handles the end of a save. A failed one is tried again later.
    pub(super) fn saved(&mut self, result: Result<(), Unavailable>) {
        let Some(mut saving) = self.unsaved.saving.take() else {
            return;
        };
        for answer in std::mem::take(&mut saving.answers) {
            // A caller that has stopped waiting needs no answer.
            let _ = answer.send(result.clone());
        }
        if let Err(error) = result {
            self.look_at_the_clock();
            self.unsaved.take_back(saving);
            self.unsaved();
            self.stumble("cannot save its progress", &error);
        }
    }

    /// Saves what is left, at the end.
    pub(super) async fn save_all(&mut self) {
        while self.unsaved.saving.is_some() || self.unsaved.save_at.is_some() {
            if self.unsaved.saving.is_none() {
                self.look_at_the_clock();
                self.save();
            }
            let saved = self.unsaved.saved().await;
            let failed = saved.is_err();
            self.saved(saved);
            if failed {
                return;
            }
        }
    }

    /// Handles a failure of the journal: rests, or ends when another instance has taken the share.
    pub(super) fn stumble(&mut self, what: &str, error: &Unavailable) {
        if let Unavailable::Fenced(_) = error {
            self.fenced = true;
            return;
        }
        let name = self.consumer.name();
        // All consumers stumble over the same journal, again and again while it is away.
        if let Some(unsaid) = STUMBLES.pass() {
            let more = Throttle::more(unsaid);
            log::warn!(consumer = name; "{name}: {what}: {error}; tried again every second{more}");
        }
        self.resume_at = Some(self.context.clock.monotonic() + STUMBLE_PAUSE);
    }
}

/// How long progress may stay unsaved. Events whose progress is lost are delivered again.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// The same when the only progress is failed attempts.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How many retries one save writes at most.
const RETRIES_IN_A_SAVE: usize = 4096;

/// The same when the only progress is skipped events.
const PASSED_BY_PAUSE: Duration = Duration::from_secs(5);

/// The same where several instances share the journal: a consumer runs in each share, and each passes by the events of all
/// others. Who looks at progress asks for it.
const PASSED_BY_PAUSE_OF_SHARES: Duration = Duration::from_secs(30);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);

static STUMBLES: Throttle = Throttle::every(ONGOING);
