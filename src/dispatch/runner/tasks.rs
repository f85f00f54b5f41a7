//! [`Attempts`]: the tasks that make the attempts of a runner.
//!
//! Attempts wait in one queue, and a task takes one after the other: most end immediately, and a task for each
//! would cost more than the attempt. An attempt that has to wait keeps its task, and another task takes its place at
//! the queue. So does a task that was busy for [`TURN`], so that others get their turn on its thread. As many tasks
//! as threads take attempts, so a handler that computes holds up no more than one thread.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::bodies::BodyReading;
use super::context::RunnerContext;
use crate::clock::Clock;
use crate::dispatch::consumer::{Consumer, EndedAttempt};
use crate::dispatch::records::events_of;
use crate::dispatch::schedule::Start;
use crate::journal::{Hold, Part, Record, Unavailable};
use crate::telemetry::About;
use crate::{Delivery, Event};

/// The attempts of a runner: those that wait for a task, those that run, and those that have ended.
pub(super) struct Attempts(Arc<Queue>);

/// An attempt that is to be made.
pub(super) struct Planned {
    pub(super) start: Start,
    pub(super) is_replay: bool,
    /// The events that are handed over together, if those are not one.
    pub(super) together: Option<Vec<Part>>,
    /// The record, if it is in memory.
    pub(super) record: Option<Arc<Record>>,
    /// Set if the record cannot be used as it is.
    pub(super) reading: Option<Box<BodyReading>>,
}

/// An attempt that has ended, and how.
pub(super) type Ended = (Start, End);

/// How an attempt has ended.
pub(super) enum End {
    Made(EndedAttempt),
    /// Retention has removed the event.
    Removed,
    /// The event could not be read.
    Unread(Unavailable),
    /// The share is not held any more: the attempt was not begun, or did not go on.
    Lapsed,
}

struct Queue {
    consumer: Arc<Consumer>,
    /// Says whether the share is still held, with the clock to ask it by.
    hold: Option<(Hold, Arc<dyn Clock>)>,
    /// How many tasks take attempts at most.
    threads: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Planned>,
    ended: Vec<Ended>,
    /// How many of the tasks take attempts. The others have one that waits.
    taking: usize,
    tasks: JoinSet<()>,
    /// The runner, while it waits for attempts that have ended.
    runner: Option<Waker>,
}

impl Attempts {
    /// Must be called in a runtime, whose threads make the attempts.
    pub(super) fn of(consumer: Arc<Consumer>, context: &RunnerContext) -> Self {
        let hold = context.hold.clone();
        Self(Arc::new(Queue {
            consumer,
            hold: hold.map(|hold| (hold, Arc::clone(&context.clock))),
            threads: Handle::current().metrics().num_workers(),
            state: Mutex::default(),
        }))
    }

    /// Makes an attempt as soon as a task is free.
    pub(super) fn begin(&self, attempt: Planned) {
        let mut state = self.0.lock();
        state.waiting.push_back(attempt);
        if state.taking < self.0.threads {
            state.taking += 1;
            self.0.start_task(&mut state);
        }
    }

    /// Waits until an attempt has ended.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            let mut state = self.0.lock();
            state.reap(cx);
            if state.ended.is_empty() {
                state.runner = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Takes the attempts that have ended, but for those above `most`.
    pub(super) fn take_ended(&self, most: usize) -> Vec<Ended> {
        let mut state = self.0.lock();
        let count = state.ended.len().min(most);
        state.ended.drain(..count).collect()
    }

    /// Drops the attempts that have not ended.
    pub(super) async fn break_off(&self) {
        self.0.lock().break_off();
        poll_fn(|cx| {
            let mut state = self.0.lock();
            // One that has panicked is over, too.
            while ready!(state.tasks.poll_join_next(cx)).is_some() {}
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.0.lock().break_off();
    }
}

impl State {
    fn break_off(&mut self) {
        self.waiting.clear();
        self.tasks.abort_all();
    }

    /// Forgets the tasks that have ended.
    fn reap(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            // A handler's panic ends its attempt and not the task. This one is a fault of offhook's own,
            // and the supervisor starts the runner again.
            if let Err(error) = ended
                && let Ok(panic) = error.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Queue {
    fn start_task(self: &Arc<Self>, state: &mut State) {
        state.tasks.spawn(Arc::clone(self).take_attempts());
    }

    /// Makes one attempt after the other.
    async fn take_attempts(self: Arc<Self>) {
        let mut busy = Duration::ZERO;
        while let Some(planned) = self.next() {
            let start = planned.start;
            let mut attempt = pin!(make(&self.consumer, planned));
            let mut has_waited = false;
            let ended = poll_fn(|cx| {
                // The process may have stood still since the attempt was planned, or while it waited.
                if self.is_lapsed() {
                    return Poll::Ready(End::Lapsed);
                }
                let polled = attempt.as_mut().poll(cx);
                if polled.is_pending() && !std::mem::replace(&mut has_waited, true) {
                    self.replace();
                }
                polled
            });
            let ended = ended.await;
            if let End::Made(made) = &ended {
                busy += made.took;
            }
            self.lock().ended.push((start, ended));
            if has_waited {
                return;
            }
            if busy >= TURN {
                return self.replace();
            }
        }
    }

    fn is_lapsed(&self) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|(hold, clock)| hold.is_over(clock.monotonic()))
    }

    /// The next attempt for a task; without one the task ends.
    fn next(&self) -> Option<Planned> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.taking -= 1;
        }
        next
    }

    /// Another task takes attempts instead of this one.
    fn replace(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.taking -= 1;
        } else {
            self.start_task(&mut state);
        }
        // Those before the one that waits must not wait with it.
        if !state.ended.is_empty()
            && let Some(runner) = state.runner.take()
        {
            runner.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes an attempt.
async fn make(consumer: &Consumer, planned: Planned) -> End {
    let Planned {
        start,
        is_replay,
        together,
        record,
        reading,
    } = planned;
    let position = start.position;
    let found = match reading {
        None => record.map(|record| (record, None)),
        Some(reading) => match reading.read(position, record).await {
            Ok(found) => found,
            Err(error) => return End::Unread(error),
        },
    };
    let Some((record, _room)) = found else {
        return End::Removed;
    };
    let (part, received) = (position.part(), &record.received);
    let session = record.parts.view(part, received).session;
    let delivery = Delivery::new(Arc::clone(received), start.attempt, is_replay);
    let mut delivery = delivery.of_part(part, session);
    let parts = together.as_deref().unwrap_or(std::slice::from_ref(&part));
    if consumer.takes_bodies() && parts.len() < usize::from(record.parts.count()) {
        delivery = delivery.of_parts(parts.iter().copied());
    }
    let events = parts.iter().flat_map(|part| events_of(&record, *part));
    let mut made = consumer.attempt(&delivery, events).await;
    if consumer.metrics.news.is_heard() {
        let parts = parts.iter();
        made.about = parts.map(|part| about(&record, *part)).collect();
    }
    End::Made(made)
}

/// What an event of a body is.
fn about(record: &Record, part: Part) -> About {
    let received = &record.received;
    let session = record.parts.view(part, received).session;
    About {
        source: received.source.to_string(),
        session: session.map(str::to_owned),
        event: events_of(record, part).first().map(Event::kind),
    }
}

/// How long a task takes attempts before another takes its place.
const TURN: Duration = Duration::from_millis(1);
