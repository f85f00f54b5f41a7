//! [`Figures`]: compares what was acknowledged with what was handled.

use std::path::PathBuf;

use serde::Serialize;
use uuid::Uuid;

use crate::Place;
use crate::handled::Seen;
use crate::ledger::Ledger;

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Whether messages were acknowledged, and none of the errors counted below happened.
    pub durable: bool,
    /// The version of this crate, which is that of offhook.
    pub version: &'static str,
    /// The engine that was tried: `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Where the run took place.
    #[serde(flatten)]
    pub place: Place,
    /// The seed of the plan.
    pub seed: u64,
    /// How often the server was killed.
    pub kills: u32,
    /// How many of these kills came before the server had started.
    pub killed_while_starting: u32,
    /// How long the run took.
    pub seconds: f64,
    /// Messages sent, each counted once.
    pub sent: usize,
    /// Messages answered 200.
    pub acknowledged: usize,
    /// Answers other than 200.
    pub refused: usize,
    /// Messages that reached the handler, acknowledged or not.
    pub handled: usize,
    /// Messages handed over more than once. This is allowed: delivery is at-least-once.
    pub handed_over_more_than_once: usize,
    /// Lines of the handler's file that a kill cut short; they were written again later.
    pub torn_lines: usize,
    /// Acknowledged, but never handled.
    pub lost: usize,
    /// First handled after a later message of the same conversation.
    pub out_of_order: usize,
    /// Sent again, and stored as a second event.
    pub kept_twice: usize,
    /// Answered as a duplicate although never sent before.
    pub false_acknowledgements: usize,
    /// What there is beside that with several instances.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The folder of the run, if something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// What there is beside that with several instances.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Cluster {
    /// How many instances there were.
    pub instances: usize,
    /// How many of the kills were of the database.
    pub database_kills: u32,
    /// The longest time from the answer to a message until the subscriber had it first, in seconds.
    pub longest_wait: f64,
}

impl Figures {
    /// Compares what was acknowledged with what was handled.
    pub(crate) fn compare(engine: &'static str, ledger: &Ledger, handled: &Seen) -> Self {
        let more_than_once = |events: &&Vec<Uuid>| events.len() > 1;
        let kept_twice = |events: &&Vec<Uuid>| events.iter().any(|event| *event != events[0]);
        let messages = handled.messages.values();
        let figures = Self {
            version: env!("CARGO_PKG_VERSION"),
            engine,
            sent: ledger.sent(),
            acknowledged: ledger.acknowledged.len(),
            refused: ledger.refused,
            handled: messages.len(),
            handed_over_more_than_once: messages.clone().filter(more_than_once).count(),
            torn_lines: handled.torn,
            lost: handled.missing(ledger),
            out_of_order: handled.out_of_order,
            kept_twice: messages.filter(kept_twice).count(),
            false_acknowledgements: ledger.false_acknowledgements,
            ..Self::default()
        };
        // Without acknowledgements a run shows nothing.
        let durable = figures.acknowledged > 0 && figures.wrong() == 0;
        Self { durable, ..figures }
    }

    fn wrong(&self) -> usize {
        self.lost + self.out_of_order + self.kept_twice + self.false_acknowledgements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fault_is_enough() {
        let mut figures = Figures {
            acknowledged: 1,
            ..Figures::default()
        };
        assert_eq!(figures.wrong(), 0);
        type Fault = fn(&mut Figures) -> &mut usize;
        let faults: [Fault; 4] = [
            |figures| &mut figures.lost,
            |figures| &mut figures.out_of_order,
            |figures| &mut figures.kept_twice,
            |figures| &mut figures.false_acknowledgements,
        ];
        for fault in faults {
            *fault(&mut figures) = 1;
            assert_eq!(figures.wrong(), 1);
            assert!(figures.text().contains("NOT durable:"));
            *fault(&mut figures) = 0;
        }
    }
}
