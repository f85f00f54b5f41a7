//! [`Verdict`]: compares what was acknowledged with what is kept and what was handled.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::Ledger;

/// One attempt, as it came to the subscriber.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub message: String,
    /// The event's id.
    pub event: String,
}

/// Messages by what is wrong with them. Each list is empty if nothing is.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Acknowledged, and not in the log.
    pub lost: Vec<String>,
    /// In the log, and never handled.
    pub unhandled: Vec<String>,
    pub kept_twice: Vec<String>,
    /// Handled under more than one event id.
    pub of_two_events: Vec<String>,
    /// Acknowledged, and first handled after a later message of the conversation.
    pub out_of_order: Vec<String>,
    /// In the log or handled, and never sent.
    pub invented: Vec<String>,
    pub false_duplicates: Vec<String>,
    pub stored_again: Vec<String>,
    pub strange: Vec<String>,
    /// No fault: sent, acknowledged, kept and handled, each message once; then arrivals.
    pub counts: [usize; 5],
}

impl Verdict {
    pub fn of(ledger: &Ledger, kept: &[String], arrivals: &[Arrival]) -> Self {
        let mut in_log = BTreeSet::new();
        let kept_twice = kept.iter().filter(|one| !in_log.insert(*one)).cloned();
        let mut verdict = Self {
            kept_twice: kept_twice.collect(),
            false_duplicates: ledger.false_duplicates.clone(),
            stored_again: ledger.stored_again.clone(),
            strange: ledger.strange.clone(),
            ..Self::default()
        };
        let mut events: BTreeMap<&String, &str> = BTreeMap::new();
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        for Arrival { message, event } in arrivals {
            if let Some(first) = events.get(message) {
                if *first != event {
                    verdict.of_two_events.push(message.clone());
                }
                continue;
            }
            events.insert(message, event);
            let (conversation, number) = message.split_once('-').unwrap();
            let number: usize = number.parse().unwrap();
            let newest = newest.entry(conversation).or_default();
            // One that was given up may be stored when later ones are there already.
            if number < *newest && ledger.acknowledged.contains(message) {
                verdict.out_of_order.push(message.clone());
            }
            *newest = number.max(*newest);
        }
        let is_lost = |one: &&String| !in_log.contains(one);
        verdict.lost = ledger
            .acknowledged
            .iter()
            .filter(is_lost)
            .cloned()
            .collect();
        let handled: BTreeSet<&String> = events.into_keys().collect();
        verdict.unhandled = in_log.difference(&handled).copied().cloned().collect();
        let all = in_log.union(&handled);
        let is_invented = |one: &&&String| !ledger.sent.contains(**one);
        verdict.invented = all.filter(is_invented).copied().cloned().collect();
        verdict.counts = [
            ledger.sent.len(),
            ledger.acknowledged.len(),
            in_log.len(),
            handled.len(),
            arrivals.len(),
        ];
        verdict
    }

    /// All that is wrong, each list with its name.
    pub fn wrong(&self) -> Vec<(&'static str, &[String])> {
        let all = [
            ("lost", &self.lost),
            ("unhandled", &self.unhandled),
            ("kept twice", &self.kept_twice),
            ("of two events", &self.of_two_events),
            ("out of order", &self.out_of_order),
            ("invented", &self.invented),
            ("false duplicates", &self.false_duplicates),
            ("stored again", &self.stored_again),
            ("strange answers", &self.strange),
        ];
        let all = all.into_iter().filter(|(_, list)| !list.is_empty());
        all.map(|(name, list)| (name, &list[..])).collect()
    }

    pub fn told(&self) -> String {
        let [sent, acknowledged, kept, handled, arrivals] = self.counts;
        format!(
            "{sent} sent, {acknowledged} acknowledged, {kept} kept, {handled} handled in {arrivals} attempts"
        )
    }
}

/// What is judged here: all kept and handled in order but for what is changed.
fn judged(
    change: impl FnOnce(&mut Ledger, &mut Vec<String>, &mut Vec<Arrival>),
) -> Vec<&'static str> {
    let ids = ["0-0", "0-1", "1-0"].map(str::to_owned);
    let mut ledger = Ledger::new(2);
    ledger.sent.extend(ids.clone());
    ledger.acknowledged.extend(ids.clone());
    let mut kept = ids.to_vec();
    let arrival = |message: String| Arrival {
        event: format!("event of {message}"),
        message,
    };
    let mut arrivals: Vec<_> = ids.map(arrival).into();
    change(&mut ledger, &mut kept, &mut arrivals);
    let verdict = Verdict::of(&ledger, &kept, &arrivals);
    verdict.wrong().iter().map(|(name, _)| *name).collect()
}

#[test]
fn each_fault_is_found() {
    let nothing: [&str; 0] = [];
    assert_eq!(judged(|_, _, _| {}), nothing);
    // Handed over again, with the same id.
    let again = judged(|_, _, arrivals| arrivals.push(arrivals[0].clone()));
    assert_eq!(again, nothing);
    let given_up = judged(|ledger, _, arrivals| {
        ledger.acknowledged.remove("0-0");
        arrivals.swap(0, 1);
    });
    assert_eq!(given_up, nothing);

    let lost = judged(|_, kept, arrivals| {
        kept.pop();
        arrivals.pop();
    });
    assert_eq!(lost, ["lost"]);
    let unhandled = judged(|_, _, arrivals| drop(arrivals.pop()));
    assert_eq!(unhandled, ["unhandled"]);
    let twice = judged(|_, kept, _| kept.push("0-0".to_owned()));
    assert_eq!(twice, ["kept twice"]);
    let two_events = judged(|_, _, arrivals| {
        arrivals.push(Arrival {
            event: "another".to_owned(),
            ..arrivals[0].clone()
        });
    });
    assert_eq!(two_events, ["of two events"]);
    let out_of_order = judged(|_, _, arrivals| arrivals.swap(0, 1));
    assert_eq!(out_of_order, ["out of order"]);
    let invented = judged(|ledger, _, _| {
        ledger.sent.remove("1-0");
    });
    assert_eq!(invented, ["invented"]);
}
