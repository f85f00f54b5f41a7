//! Bodies with events of several sessions over SIGKILL: no acknowledged event is lost, and none is kept twice however
//! its gateway batches it again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join, join_all};
use serde_json::Value;

use crate::batches::{META, meta, parts_of};
use crate::served::{JSONL, Served, settings, until};
use crate::support::{Folder, signed};

/// The event with this number: each third is of another session, each second a status.
fn event(number: usize) -> (String, String, bool) {
    let session = format!("S{}", number % 3);
    (session, format!("m{number}"), number % 2 == 1)
}

fn body(numbers: impl IntoIterator<Item = usize>) -> String {
    let events: Vec<_> = numbers.into_iter().map(event).collect();
    let events = events
        .iter()
        .map(|(session, id, is_status)| (&**session, &**id, *is_status));
    meta(&events.collect::<Vec<_>>())
}

/// Of each event that was handled, the ids under which it was, and how often.
fn handled(folder: &Folder) -> BTreeMap<(String, String), (BTreeSet<String>, usize)> {
    let text = std::fs::read(folder.0.join("handled.jsonl")).unwrap_or_default();
    let mut handled: BTreeMap<_, (BTreeSet<String>, usize)> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        // What a kill has cut short is no line.
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let id = line["id"].as_str().unwrap();
        let part = id
            .split_once('.')
            .map_or(1, |(_, part)| part.parse().unwrap());
        let (session, message) = parts_of(&line["body"]).swap_remove(part - 1);
        assert_eq!(line["session"], *session, "{line}");
        let (ids, times) = handled.entry((session, message)).or_default();
        ids.insert(id.to_owned());
        *times += 1;
    }
    handled
}

const KILLS: usize = 6;

/// So many events are new in a body, and so many bodies are answered before the server is killed.
const NEW: usize = 3;
const ANSWERED: usize = 8;

/// So many bodies are on their way at any time.
const SENDERS: usize = 4;

/// What the gateway knows of its events.
#[derive(Default)]
struct Gateway {
    next: usize,
    acknowledged: BTreeSet<usize>,
    /// What was sent without an answer.
    in_doubt: BTreeSet<usize>,
}

impl Gateway {
    /// New events, some in doubt, and one that was answered, batched as they never were.
    fn batch(&mut self) -> Vec<usize> {
        let new = self.next..self.next + NEW;
        self.next = new.end;
        let again = std::iter::from_fn(|| self.in_doubt.pop_last()).take(2);
        let again: Vec<usize> = again.collect();
        let answered = self.acknowledged.iter().nth(self.next % 7);
        new.chain(again).chain(answered.copied()).rev().collect()
    }
}

#[actix_web::test]
async fn each_event_of_a_batch_survives_kills_once() {
    let folder = Folder::new("batch-crash");
    settings(&folder, &format!("{JSONL}{META}"));
    let gateway = RefCell::new(Gateway::default());
    let mut unanswered = 0;
    for _ in 0..KILLS {
        let served = Served::start(&folder);
        let answered = Cell::new(0);
        let send = async || {
            loop {
                let batch = gateway.borrow_mut().batch();
                let request = signed(body(batch.iter().copied())).path("/meta");
                let answer = served.try_send(&request).await;
                let mut gateway = gateway.borrow_mut();
                let Some(answer) = answer else {
                    let mut left = batch;
                    left.retain(|one| !gateway.acknowledged.contains(one));
                    gateway.in_doubt.extend(left);
                    return;
                };
                assert_eq!(answer.status, 200, "{answer:?}");
                gateway.acknowledged.extend(batch);
                answered.set(answered.get() + 1);
            }
        };
        let kill = async {
            until("some answered", async || answered.get() >= ANSWERED).await;
            served.program.signal("KILL");
        };
        join(join_all((0..SENDERS).map(|_| send())), kill).await;
        unanswered += gateway.borrow().in_doubt.len();
    }

    // All of them once more: only what has no answer may be new.
    let gateway = gateway.into_inner();
    let served = Served::start(&folder);
    for first in (0..gateway.next).step_by(200) {
        let all = body(first..gateway.next.min(first + 200));
        let answer = served.try_send(&signed(all).path("/meta")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let count = gateway.next;
    until("all handled", async || handled(&folder).len() == count).await;
    served.program.stop();
    let handled = handled(&folder);
    let mut repeated = 0;
    for ((session, message), (ids, times)) in &handled {
        assert_eq!(ids.len(), 1, "{session} {message} is kept twice: {ids:?}");
        repeated += times - 1;
    }
    for number in &gateway.acknowledged {
        let (session, message, _) = event(*number);
        assert!(
            handled.contains_key(&(session, message)),
            "{number} is lost"
        );
    }
    println!(
        "{count} events over {KILLS} kills: {unanswered} without an answer at one, {repeated} handled again after one"
    );
    assert!(unanswered > 0);
}
