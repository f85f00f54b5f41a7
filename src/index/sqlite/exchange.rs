//! [`Exchange`]: where several instances share a journal, each tells the others how its attempts ended, so that
//! the timeline of an event is whole wherever it is asked for.
//!
//! What a subscriber has answered is not told: it goes when an event is deleted, and a note does not.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::attempts::{Attempt, Failure};
use super::inbox::Inbox;
use super::outbox::Outbox;
use crate::journal::{Cluster, Part, Position, Seq, Unavailable};

/// Tells the other instances, and hears of them.
pub(crate) struct Exchange {
    pub(super) inbox: Arc<Inbox>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) cluster: Arc<dyn Cluster>,
    /// Has the number of the newest note that the index has.
    pub(super) file: PathBuf,
}

/// An attempt in a note: body, part, time, consumer, number, duration, and how it failed.
type Told = (Seq, Part, i64, String, u32, u32, Option<String>);

impl Exchange {
    /// Tells and hears until told to stop, when all consumers have ended.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut newest = self.cluster.watch_notes();
        let (mut heard, mut own) = (self.heard(), BTreeSet::new());
        loop {
            if *stop.borrow_and_update() {
                self.tell(&mut own).await;
                return;
            }
            newest.borrow_and_update();
            if let Err(error) = self.hear(&mut heard, &mut own).await {
                log::debug!("index: attempts of other instances wait: {error}");
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = self.outbox.something.notified() => {
                    tokio::select! {
                        _ = stop.changed() => {}
                        () = sleep(GATHER) => {}
                    }
                    self.tell(&mut own).await;
                }
                changed = newest.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Leaves a note of what has ended here.
    async fn tell(&self, own: &mut BTreeSet<u64>) {
        let attempts = self.outbox.take();
        if attempts.is_empty() {
            return;
        }
        let told: Vec<Told> = attempts.into_iter().map(told).collect();
        let body = serde_json::to_vec(&told).expect("numbers and text");
        match self.cluster.add_note(&body).await {
            Ok(id) => {
                own.insert(id);
            }
            Err(error) => log::debug!(
                "index: {} attempts are shown only by this instance: {error}",
                told.len()
            ),
        }
    }

    /// Takes the notes that have come since.
    async fn hear(&self, heard: &mut u64, own: &mut BTreeSet<u64>) -> Result<(), Unavailable> {
        loop {
            let notes = self.cluster.notes(*heard, AT_ONCE).await?;
            let Some((last, _)) = notes.last() else {
                return Ok(());
            };
            *heard = *last;
            for (id, body) in notes {
                if own.remove(&id) {
                    continue;
                }
                match serde_json::from_slice::<Vec<Told>>(&body) {
                    Ok(told) => self.inbox.attempts_elsewhere(told.into_iter().map(attempt)),
                    Err(error) => log::debug!("index: note {id} cannot be read: {error}"),
                }
            }
            // If it cannot be written, attempts are shown twice after the next start.
            let _ = block_in_place(|| std::fs::write(&self.file, heard.to_string()));
        }
    }

    fn heard(&self) -> u64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        text.parse().unwrap_or_default()
    }
}

fn told(attempt: Attempt) -> Told {
    (
        attempt.position.seq(),
        attempt.position.part(),
        attempt.at,
        attempt.consumer.to_string(),
        attempt.attempt,
        attempt.took_ms,
        attempt.failure.map(|failure| failure.outcome.to_string()),
    )
}

fn attempt((seq, part, at, consumer, attempt, took_ms, outcome): Told) -> Attempt {
    Attempt {
        position: Position::new(seq, part),
        at,
        consumer: consumer.into(),
        attempt,
        took_ms,
        failure: outcome.map(|outcome| Failure {
            outcome: outcome.into(),
            answer: None,
        }),
    }
}

/// How long attempts are gathered for one note.
const GATHER: Duration = Duration::from_millis(500);

/// How many notes are read together.
const AT_ONCE: usize = 64;
