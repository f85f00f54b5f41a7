//! Answers the appends of a commit.
//!
//! Many appends wait for one commit, and those of one server thread should be woken together. If
//! they were woken one by one, the thread would run after the first, find nothing more to do and
//! sleep until the next. So all outcomes of a commit are set first. Then one waiter of each thread
//! is woken; it wakes the other waiters of its thread from there, without a system call for each. A
//! waiter must therefore be polled when it is woken, or dropped, as every task is: one that is kept
//! without being polled would delay the others.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;

use crate::journal::{Appended, Unavailable};

type Outcome = Result<Appended, Unavailable>;

/// Makes the sending and the receiving end of one answer.
pub(super) fn answer() -> (Answer, Answered) {
    let ticket = Arc::new(Ticket {
        thread: std::thread::current().id(),
        state: Mutex::default(),
    });
    (Answer(Arc::clone(&ticket)), Answered(ticket))
}

/// Sends the outcome. If it is dropped without one, the waiter gets [`Unavailable::Ended`].
#[derive(Debug)]
pub(super) struct Answer(Arc<Ticket>);

/// Waits for the outcome.
#[derive(Debug)]
pub(super) struct Answered(Arc<Ticket>);

#[derive(Debug)]
struct Ticket {
    /// The thread that began to wait.
    thread: ThreadId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outcome: Option<Outcome>,
    /// Whether the outcome was set, even if it has been taken since.
    is_set: bool,
    waker: Option<Waker>,
    /// The waiters that this one wakes.
    behind: Vec<Arc<Ticket>>,
    /// Whether it has taken its outcome or no longer waits.
    gone: bool,
}

/// Sends all outcomes of one commit.
pub(super) fn answer_all(outcomes: impl IntoIterator<Item = (Answer, Outcome)>) {
    // One for each thread of the server.
    let mut groups: Vec<Vec<Arc<Ticket>>> = Vec::new();
    for (answer, outcome) in outcomes {
        answer.0.set(outcome);
        let ticket = Arc::clone(&answer.0);
        let mut known = groups.iter_mut();
        match known.find(|group| group[0].thread == ticket.thread) {
            Some(group) => group.push(ticket),
            None => groups.push(vec![ticket]),
        }
    }
    for mut group in groups {
        if let Some(first) = group.pop() {
            first.lead(group);
        }
    }
}

impl Ticket {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, outcome: Outcome) {
        let mut state = self.lock();
        state.is_set = true;
        state.outcome = Some(outcome);
    }

    /// Wakes this waiter, which wakes the others.
    fn lead(&self, others: Vec<Arc<Self>>) {
        let mut state = self.lock();
        if state.gone {
            drop(state);
            return others.iter().for_each(|other| other.wake());
        }
        state.behind = others;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn wake(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Stops waiting, and wakes the waiters behind this one.
    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.gone = true;
        let behind = std::mem::take(&mut state.behind);
        drop(state);
        behind.iter().for_each(|other| other.wake());
    }
}

impl Future for Answered {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut state = self.0.lock();
        let Some(outcome) = state.outcome.take() else {
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                None => state.waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        self.0.leave(state);
        Poll::Ready(outcome)
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        let state = self.0.lock();
        self.0.leave(state);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if !state.is_set {
            state.outcome = Some(Err(Unavailable::Ended));
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A waiter that counts how often it was woken.
    struct Waiter {
        answered: Pin<Box<Answered>>,
        woken: Arc<Counter>,
    }

    impl Waiter {
        fn new() -> (Answer, Self) {
            let (answer, answered) = answer();
            let mut waiter = Self {
                answered: Box::pin(answered),
                woken: Arc::default(),
            };
            assert_eq!(waiter.poll(), Poll::Pending);
            (answer, waiter)
        }

        fn poll(&mut self) -> Poll<Outcome> {
            let waker = Waker::from(Arc::clone(&self.woken));
            self.answered
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    fn waiters(count: usize) -> (Vec<Answer>, Vec<Waiter>) {
        (0..count).map(|_| Waiter::new()).unzip()
    }

    fn outcome(seq: u64) -> Outcome {
        Ok(Appended::new(seq))
    }

    fn answer_in_order(answers: Vec<Answer>) {
        answer_all(
            (1..)
                .map(outcome)
                .zip(answers)
                .map(|(outcome, to)| (to, outcome)),
        );
    }

    fn woken(waiters: &[Waiter]) -> Vec<usize> {
        waiters.iter().map(Waiter::woken).collect()
    }

    #[test]
    fn one_of_a_thread_is_woken_and_wakes_the_others_when_it_runs() {
        let (answers, mut here) = waiters(3);
        let (more, mut there) = std::thread::spawn(|| waiters(2)).join().unwrap();
        answer_in_order(answers.into_iter().chain(more).collect());
        assert_eq!((woken(&here), woken(&there)), (vec![0, 0, 1], vec![0, 1]));
        assert_eq!(here[2].poll(), Poll::Ready(outcome(3)));
        assert_eq!((woken(&here), woken(&there)), (vec![1, 1, 1], vec![0, 1]));
        assert_eq!(there[1].poll(), Poll::Ready(outcome(5)));
        assert_eq!(woken(&there), [1, 1]);
        for (waiter, seq) in here
            .iter_mut()
            .take(2)
            .chain(there.iter_mut().take(1))
            .zip([1, 2, 4])
        {
            assert_eq!(waiter.poll(), Poll::Ready(outcome(seq)));
        }
    }

    #[test]
    fn who_waits_no_longer_leaves_nobody_behind() {
        // It leaves before the outcome is set.
        let (answers, mut waiters_left) = waiters(3);
        drop(waiters_left.pop());
        answer_in_order(answers);
        assert_eq!(woken(&waiters_left), [1, 1]);
        // It leaves after it was woken, before it ran.
        let (answers, mut waiters_left) = waiters(3);
        answer_in_order(answers);
        drop(waiters_left.pop());
        assert_eq!(woken(&waiters_left), [1, 1]);
        // It polls by itself before it is woken.
        let (answers, mut waiters) = waiters(3);
        for (answer, seq) in answers.iter().zip(1..) {
            answer.0.set(outcome(seq));
        }
        assert_eq!(waiters[2].poll(), Poll::Ready(outcome(3)));
        let others = answers[..2].iter().map(|answer| Arc::clone(&answer.0));
        answers[2].0.lead(others.collect());
        assert_eq!(woken(&waiters), [1, 1, 0]);
    }

    #[test]
    fn who_cannot_be_answered_is_told() {
        let (answer, mut waiter) = Waiter::new();
        drop(answer);
        assert_eq!(waiter.woken(), 1);
        assert_eq!(waiter.poll(), Poll::Ready(Err(Unavailable::Ended)));
    }

    #[test]
    fn everybody_is_answered_whoever_leaves() {
        let threads = 4;
        let (send, receive) = std::sync::mpsc::channel::<Answer>();
        let waiting: Vec<_> = (0..threads)
            .map(|thread| {
                let send = send.clone();
                std::thread::spawn(move || {
                    let mut runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = runtime.enable_time().build().unwrap();
                    let local = tokio::task::LocalSet::new();
                    let tasks: Vec<_> = (0..500)
                        .map(|number| {
                            let (answer, answered) = answer();
                            send.send(answer).unwrap();
                            let leaves = (number + thread) % 3 == 0;
                            let pause = if leaves { 0 } else { 60_000 };
                            local.spawn_local(async move {
                                let pause = Duration::from_millis(pause);
                                let answered = tokio::time::timeout(pause, answered).await;
                                assert!(answered.is_ok() || leaves);
                            })
                        })
                        .collect();
                    drop(send);
                    local.block_on(&runtime, async {
                        for task in tasks {
                            task.await.unwrap();
                        }
                    });
                })
            })
            .collect();
        drop(send);
        while let Ok(first) = receive.recv() {
            let more = receive.try_iter().take(50);
            answer_in_order(std::iter::once(first).chain(more).collect());
        }
        for thread in waiting {
            thread.join().unwrap();
        }
    }
}
