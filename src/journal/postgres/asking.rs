//! [`Asking`]: has the other instances store now what they store only now and then, notes or progress, so that who asks sees
//! what happened elsewhere a moment ago.
//!
//! Who asks for notes tells `f<id>`. Each of the others leaves its notes, and then tells `F<id>`. Notifications arrive in the
//! order in which they were committed, so who hears the last answer has heard of all those notes before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::clock::Clock;

/// What instances ask of each other.
#[derive(Debug, Default)]
pub(super) struct Asking {
    state: Mutex<AskingState>,
    /// Another instance has asked.
    was_asked: Notify,
    /// When a question that callers share was answered last.
    answered_at: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct AskingState {
    /// What this instance has asked, and how many have answered.
    waiting: BTreeMap<Uuid, watch::Sender<usize>>,
    /// What others have asked.
    asked: VecDeque<Uuid>,
    /// How many instances lived at the last renewal, with this one.
    living: usize,
    /// Who did not answer in time is not waited for until then.
    silent_until: Option<Instant>,
}

impl Asking {
    /// Takes note of how many instances live.
    pub(super) fn live(&self, living: usize) {
        self.lock().living = living;
    }

    /// Another instance asks, or this one hears itself.
    pub(super) fn heard_question(&self, id: Uuid) {
        let mut state = self.lock();
        if state.waiting.contains_key(&id) {
            return;
        }
        if state.asked.len() == MOST_ASKED {
            state.asked.pop_front();
        }
        state.asked.push_back(id);
        drop(state);
        self.was_asked.notify_one();
    }

    /// Another instance has answered a question, maybe one of this instance.
    pub(super) fn heard_answer(&self, id: Uuid) {
        if let Some(answers) = self.lock().waiting.get(&id) {
            answers.send_modify(|answers| *answers += 1);
        }
    }

    /// Waits until others have asked. Dropping the future loses nothing.
    pub(super) async fn asked(&self) -> Vec<Uuid> {
        loop {
            let asked = self.take();
            if !asked.is_empty() {
                return asked;
            }
            self.was_asked.notified().await;
        }
    }

    fn take(&self) -> Vec<Uuid> {
        self.lock().asked.drain(..).collect()
    }

    /// Asks, unless a question was answered within this time. Callers at the same time wait for the same answers.
    pub(super) async fn share(
        &self,
        pause: Duration,
        clock: &dyn Clock,
        question: impl Future<Output = ()>,
    ) {
        let mut answered_at = self.answered_at.lock().await;
        if answered_at.is_none_or(|at| clock.monotonic() >= at + pause) {
            question.await;
            *answered_at = Some(clock.monotonic());
        }
    }

    /// Begins to wait for the answers of the others. `None` if there are none, or they did not answer before.
    pub(super) fn ask(&self, id: Uuid, now: Instant) -> Option<Question<'_>> {
        let mut state = self.lock();
        let others = state.living.saturating_sub(1);
        let is_silent = state.silent_until.is_some_and(|until| now < until);
        if others == 0 || is_silent || state.waiting.len() >= MOST_ASKED {
            return None;
        }
        let (answers, answered) = watch::channel(0);
        state.waiting.insert(id, answers);
        Some(Question {
            asking: self,
            id,
            others,
            answered,
        })
    }

    /// Somebody has not answered in time.
    pub(super) fn is_silent(&self, now: Instant) {
        self.lock().silent_until = Some(now + SILENCE);
    }

    fn lock(&self) -> MutexGuard<'_, AskingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was asked, until it is dropped.
#[derive(Debug)]
pub(super) struct Question<'a> {
    asking: &'a Asking,
    id: Uuid,
    others: usize,
    answered: watch::Receiver<usize>,
}

impl Question<'_> {
    /// Waits until all others have answered.
    pub(super) async fn answered(&mut self) {
        let others = self.others;
        // It is there as long as this is.
        let _ = self.answered.wait_for(|answers| *answers >= others).await;
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.asking.lock().waiting.remove(&self.id);
    }
}

/// So many questions are open at most.
const MOST_ASKED: usize = 64;

/// One that does not answer, because it is away or of an older version, holds up only one request in this time.
const SILENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use futures_util::poll;
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock::{FakeClock, SystemClock};

    #[test]
    fn each_question_counts_its_own_answers() {
        let (asking, now) = (Asking::default(), SystemClock.monotonic());
        let [one, two, other] = [1, 2, 3].map(Uuid::from_u128);
        assert!(asking.ask(one, now).is_none(), "it lives alone");
        asking.live(3);
        let first = asking.ask(one, now).unwrap();
        let second = asking.ask(two, now).unwrap();
        assert_eq!(first.others, 2);
        // It hears itself.
        asking.heard_question(one);
        asking.heard_question(other);
        assert_eq!(asking.take(), [other]);
        for id in [one, other, one, two] {
            asking.heard_answer(id);
        }
        let counts = (*first.answered.borrow(), *second.answered.borrow());
        assert_eq!(counts, (2, 1));
        // Whoever asks may stop to wait.
        drop((first, second));
        assert!(asking.lock().waiting.is_empty());
        asking.is_silent(now);
        assert!(asking.ask(one, now).is_none());
        assert!(asking.ask(one, now + SILENCE).is_some());
    }

    /// A caller that asks while another one waits sees what the others answer to that one.
    #[tokio::test]
    async fn callers_at_the_same_time_share_the_answers() {
        const PAUSE: Duration = Duration::from_millis(500);
        let asking = Asking::default();
        let clock = FakeClock::new(crate::Timestamp::UNIX_EPOCH);
        let (answer, answered) = oneshot::channel::<()>();
        let first = asking.share(PAUSE, &clock, async { drop(answered.await) });
        let none = || {
            asking.share(PAUSE, &clock, async {
                panic!("it was answered just before")
            })
        };
        let (mut first, mut second) = (Box::pin(first), Box::pin(none()));
        assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
        clock.advance(PAUSE);
        drop(answer);
        join(first, second).await;
        clock.advance(PAUSE / 2);
        none().await;
        clock.advance(PAUSE / 2);
        let mut count = 0;
        asking.share(PAUSE, &clock, async { count += 1 }).await;
        assert_eq!(count, 1);
        // A caller that stops to wait leaves the question to the next one.
        clock.advance(PAUSE);
        let hangs = asking.share(PAUSE, &clock, std::future::pending());
        assert!(poll!(Box::pin(hangs)).is_pending());
        asking.share(PAUSE, &clock, async { count += 1 }).await;
        assert_eq!(count, 2);
    }

    #[test]
    fn no_more_questions_are_held_than_there_may_be() {
        let (asking, now) = (Asking::default(), SystemClock.monotonic());
        asking.live(2);
        let mut questions = Vec::new();
        for number in 0..100 {
            asking.heard_question(Uuid::from_u128(number));
            questions.extend(asking.ask(Uuid::from_u128(1000 + number), now));
        }
        let asked = asking.take();
        assert_eq!(asked.len(), MOST_ASKED);
        assert_eq!(asked.last(), Some(&Uuid::from_u128(99)));
        assert_eq!(questions.len(), MOST_ASKED);
    }
}
