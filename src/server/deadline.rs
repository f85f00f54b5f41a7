//! [`RequestDeadline`]: what the sender on a connection owes next, and until when;
//! [`LazyTimer`] waits for that.
//!
//! | phase | from | until | the sender owes |
//! |---|---|---|---|
//! | `Head` | the head's first byte, or the connection's start | `request_timeout` | the rest of the head |
//! | `Body` | the application has the head | [`BodyPace`] says | the rest of the body |
//! | `Working` | the body has ended | no limit | nothing |
//! | `Rest` | the answer, where the body has not ended | [`LINGER`] | the rest of the body |
//! | `Idle` | the answer, where the body has ended | `keep_alive` | the next request |

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::seats::Seat;
use super::timer::LazyTimer;
use crate::clock::{Clock as _, SystemClock};
use crate::signature::{BodyPace, BodyProgress, Deadline};

/// How long the other side of a connection may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) pace: BodyPace,
    pub(super) keep_alive: Duration,
}

/// The deadline of a connection's current request. The connection and the application share it.
#[derive(Debug, Clone)]
pub(super) struct RequestDeadline(Rc<State>);

#[derive(Debug)]
struct State {
    /// What the settings say now.
    live: Arc<ArcSwap<Times>>,
    /// What they said when the newest head began.
    times: Cell<Times>,
    phase: Cell<Phase>,
    /// When the head of the request began.
    begun: Cell<Instant>,
    /// `None` in the phase `Working`.
    deadline: Cell<Option<Instant>>,
    /// The deadline has passed, and the connection reads nothing more.
    late: Cell<bool>,
    /// The task that reads the connection.
    reader: RefCell<Option<Waker>>,
    /// When that task's timer runs out.
    alarm: Cell<Option<Instant>>,
    /// The connection holds what follows the request.
    has_more: Cell<bool>,
    /// How much of the next head actix-http has got.
    head: Cell<HeadGiven>,
    /// How many bytes it has got of what follows the newest head.
    behind_head: Cell<u64>,
    /// How many bytes of the body it has not got; `None` if the body does not say its length.
    to_come: Cell<Option<u64>>,
    /// What has come of the body, while it is waited for.
    body: Cell<Option<BodyProgress>>,
    /// How many bytes of it have come since, on the wire.
    newly_come: Cell<u64>,
    seat: Seat,
    /// When the connection has last said that it is proven.
    proven_at: Cell<Option<Instant>>,
    ending: Cell<Ending>,
    /// The stream of what the sender sends has ended.
    seen_end: Cell<bool>,
    is_flushed: Cell<bool>,
    /// The request that waits for the connection's end.
    waiting: RefCell<Option<Waker>>,
}

/// What actix-http may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appetite {
    /// The next head, of which it has got something or nothing.
    Head { is_begun: bool },
    /// The rest of a body: so many bytes, if its length is known, and nothing behind it.
    Body(Option<u64>),
    /// Everything: it is discarded.
    All,
    /// Nothing: a request is being answered.
    Nothing,
}

/// How much of a head actix-http has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeadGiven {
    None,
    Begun,
    All,
}

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    NotYet,
    /// An answer said that it is the last.
    LastAnswer,
    /// Nothing more can be sent.
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A head has begun and has not ended. `answered`: something was written since it began, which is
    /// an answer to it.
    Head { answered: bool },
    /// The application has the head, and the body has not ended.
    Body,
    /// The application has the whole request.
    Working,
    /// The request was answered before its body ended.
    Rest,
    /// Between two requests.
    Idle,
}

impl Times {
    /// Times that do not change.
    pub(super) fn fixed(pace: BodyPace, keep_alive: Duration) -> Arc<ArcSwap<Self>> {
        Arc::new(ArcSwap::from_pointee(Self { pace, keep_alive }))
    }
}

impl RequestDeadline {
    /// The deadline of a new connection, whose first head begins now.
    pub(super) fn new(live: Arc<ArcSwap<Times>>, seat: Seat) -> Self {
        let now = SystemClock.monotonic();
        let times = **live.load();
        Self(Rc::new(State {
            live,
            times: Cell::new(times),
            phase: Cell::new(Phase::Head { answered: false }),
            begun: Cell::new(now),
            deadline: Cell::new(Some(now + times.pace.request_timeout)),
            late: Cell::new(false),
            reader: RefCell::new(None),
            alarm: Cell::new(None),
            has_more: Cell::new(false),
            head: Cell::new(HeadGiven::None),
            behind_head: Cell::new(0),
            to_come: Cell::new(None),
            body: Cell::new(None),
            newly_come: Cell::new(0),
            seat,
            proven_at: Cell::new(None),
            ending: Cell::new(Ending::NotYet),
            seen_end: Cell::new(false),
            is_flushed: Cell::new(true),
            waiting: RefCell::new(None),
        }))
    }

    /// What the settings said when the newest head began.
    pub(super) fn times(&self) -> Times {
        self.0.times.get()
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.0.seat
    }

    /// The answer that is being given is the last one.
    pub(super) fn last_answer(&self) {
        self.set_flushed(false);
        if self.0.ending.get() == Ending::NotYet {
            self.0.ending.set(Ending::LastAnswer);
        }
    }

    /// Whether the last answer was given: what the sender still sends is not served.
    pub(super) fn is_ending(&self) -> bool {
        self.0.ending.get() != Ending::NotYet
    }

    /// Whether a request that is not served waits for the end.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.waiting.borrow().is_some()
    }

    /// Whether nothing more can be sent.
    pub(super) fn is_over(&self) -> bool {
        self.0.ending.get() == Ending::Over
    }

    /// From now on nothing is sent.
    pub(super) fn end(&self) {
        self.0.ending.set(Ending::Over);
        if let Some(waiting) = self.0.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }

    /// Waits for the connection's end.
    pub(super) async fn ended(&self) {
        let ended = poll_fn(|cx| {
            if self.has_seen_end() && self.is_flushed() {
                // Nothing is read any more, so the reader cannot tell.
                self.end();
            }
            if self.is_over() {
                return Poll::Ready(());
            }
            let waiting = self.0.waiting.borrow_mut().replace(cx.waker().clone());
            // The reader has to know; it is woken once, because it may be the task that waits.
            if waiting.is_none()
                && let Some(reader) = self.0.reader.borrow().as_ref()
            {
                reader.wake_by_ref();
            }
            Poll::Pending
        });
        if tokio::time::timeout(2 * LINGER, ended).await.is_err() {
            self.end();
        }
    }

    /// The sender sends nothing more.
    pub(super) fn seen_end(&self) {
        self.0.seen_end.set(true);
    }

    pub(super) fn has_seen_end(&self) -> bool {
        self.0.seen_end.get()
    }

    /// Whether all answers are sent.
    pub(super) fn is_flushed(&self) -> bool {
        self.0.is_flushed.get()
    }

    pub(super) fn set_flushed(&self, is_flushed: bool) {
        self.0.is_flushed.set(is_flushed);
    }

    /// The connection has received something.
    pub(super) fn received(&self) {
        if self.0.phase.get() == Phase::Idle {
            self.begin_head();
        }
    }

    /// Whether a head has begun that the application has not got.
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Head { .. })
    }

    /// The connection has sent something.
    pub(super) fn sent(&self) {
        if self.0.phase.get() == (Phase::Head { answered: false }) {
            self.0.phase.set(Phase::Head { answered: true });
        }
    }

    /// The application takes the request. Its body is still to come, unless it has none; `length` is what the
    /// head says of it.
    pub(super) fn request_begun(&self, has_body: bool, length: Option<u64>) {
        if !self.is_in_head() {
            // Its head came together with the request before. Its time begins now.
            self.begin_head();
        }
        self.0.phase.set(Phase::Body);
        let behind_head = self.0.behind_head.take();
        let to_come = length.map(|length| length.saturating_sub(behind_head));
        self.0.to_come.set(to_come);
        self.0.head.set(HeadGiven::None);
        self.give_more();
        if !has_body {
            self.body_ended();
        } else if to_come != Some(0) {
            self.begin_body(behind_head);
        }
    }

    /// Whether the request's body has ended.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Working | Phase::Idle)
    }

    /// The request is answered, unless [`Deadline::answered_at`] has said so.
    pub(super) fn answered(&self) {
        if !matches!(self.0.phase.get(), Phase::Idle | Phase::Rest) {
            self.answered_at(SystemClock.monotonic());
        }
    }

    /// What may be given to actix-http now.
    pub(super) fn appetite(&self) -> Appetite {
        if self.is_ending() {
            return Appetite::All;
        }
        match self.0.phase.get() {
            Phase::Head { .. } | Phase::Idle => match self.0.head.get() {
                HeadGiven::None => Appetite::Head { is_begun: false },
                HeadGiven::Begun => Appetite::Head { is_begun: true },
                // Until it has read this head.
                HeadGiven::All => Appetite::Nothing,
            },
            Phase::Body => Appetite::Body(self.0.to_come.get()),
            Phase::Rest => Appetite::All,
            Phase::Working => Appetite::Nothing,
        }
    }

    /// actix-http has got a part of a head; `behind` is how many bytes it has got behind the head's end.
    pub(super) fn head_given(&self, behind: Option<usize>) {
        let given = behind.map_or(HeadGiven::Begun, |behind| {
            self.0.behind_head.set(behind as u64);
            HeadGiven::All
        });
        self.0.head.set(given);
    }

    /// actix-http has got so many bytes of a body, in chunks or not.
    pub(super) fn body_given(&self, bytes: usize) {
        self.0
            .newly_come
            .set(self.0.newly_come.get() + bytes as u64);
        let to_come = self.0.to_come.get();
        let left = to_come.map(|to_come| to_come.saturating_sub(bytes as u64));
        self.0.to_come.set(left);
    }

    /// Wakes the reader, if it has more.
    fn give_more(&self) {
        if self.0.has_more.take()
            && let Some(reader) = self.0.reader.borrow().as_ref()
        {
            reader.wake_by_ref();
        }
    }

    /// The reader is to be woken when more is wanted, because it has more.
    pub(super) fn has_more(&self) {
        self.0.has_more.set(true);
    }

    /// Ready when the deadline has passed. Called by the task that reads the connection when there is
    /// nothing to read; it is woken when the deadline has passed.
    pub(super) fn poll_late(&self, timer: &mut LazyTimer, cx: &mut Context<'_>) -> Poll<()> {
        let is_known = self.remember_reader(cx.waker());
        self.note_progress();
        match self.0.deadline.get() {
            None => Poll::Pending,
            Some(deadline) if is_known && timer.runs(deadline) => Poll::Pending,
            Some(deadline) => {
                let late = timer.poll(deadline, cx);
                self.0.alarm.set(timer.alarm());
                late
            }
        }
    }

    /// The deadline has passed, and the connection reads nothing more. Returns whether the sender is to
    /// be told 408: its head is late, and it has no answer yet. A late body is answered by the
    /// application.
    pub(super) fn give_up(&self) -> bool {
        self.0.late.set(true);
        self.0.phase.get() == (Phase::Head { answered: false })
    }

    /// The body is waited for, of which `bytes` have come with the head.
    fn begin_body(&self, bytes: u64) {
        let now = SystemClock.monotonic();
        self.0.newly_come.set(0);
        self.0.body.set(Some(BodyProgress::new(now, bytes)));
        self.set(now, self.times().pace.request_timeout);
    }

    /// Moves the deadline by what has come of the body. That is done only when there is nothing more to read, so
    /// that the clock is not asked for every piece.
    fn note_progress(&self) {
        let bytes = self.0.newly_come.take();
        if bytes > 0
            && self.0.phase.get() == Phase::Body
            && let Some(mut body) = self.0.body.get()
        {
            body.add(bytes, SystemClock.monotonic());
            self.0.body.set(Some(body));
            self.0.deadline.set(Some(self.times().pace.deadline(&body)));
        }
    }

    fn begin_head(&self) {
        let now = SystemClock.monotonic();
        self.0.phase.set(Phase::Head { answered: false });
        self.0.begun.set(now);
        self.0.times.set(**self.0.live.load());
        self.set(now, self.times().pace.request_timeout);
    }

    /// Sets the deadline to `time` from `now`. The reader is woken, unless its timer runs out before:
    /// it may have to wait for an earlier deadline than it knows.
    fn set(&self, now: Instant, time: Duration) {
        let deadline = now + time;
        self.0.deadline.set(Some(deadline));
        let alarm = self.0.alarm.get();
        let is_in_time = alarm.is_some_and(|alarm| now < alarm && alarm <= deadline);
        if !is_in_time && let Some(reader) = self.0.reader.borrow().as_ref() {
            reader.wake_by_ref();
        }
    }

    /// Remembers the task that reads the connection.
    pub(super) fn remember(&self, waker: &Waker) {
        self.remember_reader(waker);
    }

    /// Returns whether the reader was the same before.
    fn remember_reader(&self, waker: &Waker) -> bool {
        let mut reader = self.0.reader.borrow_mut();
        let is_known = reader
            .as_ref()
            .is_some_and(|reader| reader.will_wake(waker));
        if !is_known {
            *reader = Some(waker.clone());
        }
        is_known
    }
}

impl Deadline for RequestDeadline {
    fn begun(&self) -> Option<Instant> {
        Some(self.0.begun.get())
    }

    fn body_ended(&self) {
        self.0.seat.set_busy(true);
        self.0.phase.set(Phase::Working);
        self.0.body.set(None);
        self.0.deadline.set(None);
    }

    fn is_late(&self) -> bool {
        self.0.late.get()
    }

    fn answered_at(&self, now: Instant) {
        let (phase, time) = if self.is_complete() {
            (Phase::Idle, self.times().keep_alive)
        } else {
            (Phase::Rest, LINGER)
        };
        self.set_flushed(false);
        self.0.seat.set_busy(false);
        self.0.phase.set(phase);
        self.set(now, time);
        self.give_more();
    }

    fn proven(&self, now: Instant) -> bool {
        self.0.seat.prove();
        let before = self.0.proven_at.get();
        let is_news =
            before.is_none_or(|before| now.saturating_duration_since(before) > PROVEN_FOR);
        if is_news {
            self.0.proven_at.set(Some(now));
        }
        is_news
    }
}

/// A connection says once in this time that its sender is proven.
const PROVEN_FOR: Duration = Duration::from_secs(60);

/// How long the rest of a body is read and discarded after an answer that came before its end, so that
/// the sender sees the answer and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::seats::Seats;
    use super::*;

    const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
    const PACE: BodyPace = BodyPace {
        request_timeout: REQUEST_TIMEOUT,
        min_rate: 1000,
        max_body: 1 << 20,
    };
    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    fn new() -> RequestDeadline {
        RequestDeadline::new(Times::fixed(PACE, KEEP_ALIVE), Seats::new(1).take(None))
    }

    #[test]
    fn a_body_has_a_deadline_of_its_own() {
        let deadline = new();
        let end = deadline.begun().unwrap() + REQUEST_TIMEOUT;
        assert_eq!(deadline.0.deadline.get(), Some(end));
        deadline.request_begun(true, None);
        assert!(deadline.0.deadline.get() > Some(end));
        assert!(!deadline.is_complete());
    }

    #[test]
    fn a_body_that_came_with_its_head_keeps_the_deadline() {
        let deadline = new();
        let end = deadline.begun().unwrap() + REQUEST_TIMEOUT;
        deadline.head_given(Some(7));
        deadline.request_begun(true, Some(7));
        assert_eq!(deadline.0.deadline.get(), Some(end));
    }

    #[test]
    fn what_comes_of_a_body_moves_its_deadline() {
        for length in [Some(50_000), None] {
            let deadline = new();
            let mut cx = Context::from_waker(std::task::Waker::noop());
            deadline.head_given(Some(5000));
            deadline.request_begun(true, length);
            let begun = deadline.0.body.get().unwrap().begun;
            deadline.body_given(20_000);
            // As in 25 s, without waiting.
            let long_ago = begun.checked_sub(Duration::from_secs(25)).unwrap();
            deadline.0.body.set(Some(BodyProgress::new(long_ago, 5000)));
            deadline.note_progress();
            let end = deadline.0.deadline.get().unwrap();
            assert_eq!(end - long_ago, Duration::from_secs(26));
            deadline.body_ended();
            assert_eq!(deadline.0.deadline.get(), None);
            deadline.body_given(9);
            let mut timer = LazyTimer::default();
            assert!(deadline.poll_late(&mut timer, &mut cx).is_pending());
            assert_eq!(deadline.0.deadline.get(), None);
        }
    }

    #[test]
    fn nothing_is_owed_while_the_application_works() {
        let deadline = new();
        deadline.request_begun(false, None);
        assert!(deadline.is_complete());
        assert_eq!(deadline.0.deadline.get(), None);
    }

    #[test]
    fn the_answer_starts_keep_alive_or_linger() {
        for (has_body, time) in [(false, KEEP_ALIVE), (true, LINGER)] {
            let deadline = new();
            let now = SystemClock.monotonic();
            deadline.request_begun(has_body, None);
            deadline.answered_at(now);
            assert_eq!(deadline.0.deadline.get(), Some(now + time));
            // The time that was measured first counts.
            deadline.answered();
            assert_eq!(deadline.0.deadline.get(), Some(now + time));
        }
    }

    #[test]
    fn each_head_has_a_deadline_of_its_own() {
        for is_pipelined in [false, true] {
            let deadline = new();
            deadline.request_begun(false, None);
            deadline.answered_at(SystemClock.monotonic());
            if is_pipelined {
                deadline.request_begun(true, Some(0));
            } else {
                deadline.received();
            }
            let end = deadline.begun().unwrap() + REQUEST_TIMEOUT;
            assert_eq!(deadline.0.deadline.get(), Some(end));
            // More bytes of the same request do not move it.
            deadline.received();
            assert_eq!(deadline.0.deadline.get(), Some(end));
        }
    }

    #[test]
    fn only_an_unanswered_late_head_is_told_408() {
        assert!(new().give_up());
        let answered = new();
        answered.sent();
        assert!(!answered.give_up() && answered.is_late());
        let body = new();
        body.request_begun(true, None);
        assert!(!body.give_up());
        let idle = new();
        idle.request_begun(false, None);
        idle.answered();
        idle.sent();
        assert!(!idle.give_up());
        // What was sent for the request before does not count for the next head.
        let next = new();
        next.sent();
        next.request_begun(false, None);
        next.answered();
        next.received();
        assert!(next.give_up());
    }
}
