//! [`FailureLog`]: what the log says of a consumer's failed attempts.
//!
//! A consumer that fails may fail thousands of times a second. The log has the first failure, then from time
//! to time how many there were since, and one line when the consumer works again. Each attempt is logged at
//! `debug`.

use std::fmt;
use std::time::{Duration, Instant};

use log::Level;

use crate::dispatch::progress::Positions;
use crate::journal::Position;
use crate::{EventId, Timestamp};

/// What was logged of a consumer's failures, and what is not logged yet.
#[derive(Debug)]
pub(super) struct FailureLog {
    /// Set from the first failure until the consumer works again.
    outage: Option<Outage>,
    unlogged: Unlogged,
    /// The earliest time of the next line.
    next_line: Option<Instant>,
    pause: Duration,
}

/// An attempt that has failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) event: EventId,
    pub(super) attempt: u32,
    pub(super) reason: String,
    /// When the event is tried again; `None` for a dead letter.
    pub(super) pause: Option<Duration>,
    /// The handler has rejected the event. That alone does not mean that it does not work.
    pub(super) is_rejected: bool,
}

#[derive(Debug)]
struct Outage {
    since: Timestamp,
    last: Instant,
    attempts: u64,
    /// A line has named it.
    is_logged: bool,
}

/// What has failed since the last line.
#[derive(Debug, Default)]
struct Unlogged {
    attempts: u64,
    events: Positions,
    dead: u64,
    last: Option<Failure>,
}

impl Default for FailureLog {
    fn default() -> Self {
        Self {
            outage: None,
            unlogged: Unlogged::default(),
            next_line: None,
            pause: SHORTEST,
        }
    }
}

impl FailureLog {
    /// Notes a failed attempt of the consumer `name`. Returns the line to log as a warning, if it is time.
    pub(super) fn failed(
        &mut self,
        name: &str,
        position: Position,
        failure: Failure,
        (at, now): (Timestamp, Instant),
    ) -> Option<Line> {
        if !failure.is_rejected {
            let outage = self.outage.get_or_insert(Outage {
                since: at,
                last: now,
                attempts: 0,
                is_logged: false,
            });
            outage.last = now;
        }
        if let Some(outage) = &mut self.outage {
            outage.attempts += 1;
        }
        let is_due = self.next_line.is_none_or(|next| now >= next);
        if !is_due || self.unlogged.attempts > 0 {
            failure.line(name).log(Level::Debug);
        }
        self.unlogged.add(position, failure);
        if is_due { self.line(name, now) } else { None }
    }

    /// Notes that an attempt has succeeded. `recovers`: one of an event that had failed, or no event waits for a
    /// retry any more. Returns the line that says that the consumer works again.
    pub(super) fn succeeded(&mut self, name: &str, recovers: bool, now: Instant) -> Option<Line> {
        let last = self.outage.as_ref()?.last;
        let is_over = now.saturating_duration_since(last) >= SHORTEST;
        let outage = self.outage.take_if(|_| recovers || is_over)?;
        // An outage that begins soon is not logged before the next line is due.
        self.next_line = self.next_line.map(|next| next.min(now + SHORTEST));
        self.pause = SHORTEST;
        if !outage.is_logged {
            return None;
        }
        self.unlogged = Unlogged::default();
        let Outage {
            attempts, since, ..
        } = outage;
        Some(Line {
            text: format!("{name}: works again; {attempts} attempts had failed since {since:.0}"),
            consumer: name.to_owned(),
            about: None,
        })
    }

    /// Whether the log says that the consumer fails.
    pub(super) fn says_that_it_fails(&self) -> bool {
        self.outage.as_ref().is_some_and(|outage| outage.is_logged)
    }

    /// When there is a line to log; `None` when there is nothing to log.
    pub(super) fn due(&self) -> Option<Instant> {
        self.unlogged.last.as_ref().and(self.next_line)
    }

    /// The line that tells what is not logged yet, if it is time.
    pub(super) fn line_if_due(&mut self, name: &str, now: Instant) -> Option<Line> {
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due { self.line(name, now) } else { None }
    }

    /// The line that tells what is not logged yet.
    pub(super) fn line(&mut self, name: &str, now: Instant) -> Option<Line> {
        let unlogged = std::mem::take(&mut self.unlogged);
        let last = unlogged.last.as_ref()?.line(name);
        let text = match (unlogged.attempts, &self.outage) {
            (1, _) => last.text,
            (_, Some(outage)) => {
                let (since, last) = (outage.since, last.text);
                format!("{name}: {unlogged}; failing since {since:.0}; the last: {last}")
            }
            (_, None) => format!("{name}: {unlogged}; the last: {}", last.text),
        };
        let line = Line { text, ..last };
        if let Some(outage) = &mut self.outage {
            outage.is_logged = true;
        }
        // The longer it goes on, the fewer lines.
        let quiet = self
            .next_line
            .map(|next| now.saturating_duration_since(next));
        let goes_on = quiet.is_some_and(|quiet| quiet < self.pause);
        self.pause = if goes_on {
            (self.pause * 2).min(LONGEST)
        } else {
            SHORTEST
        };
        self.next_line = Some(now + self.pause);
        Some(line)
    }
}

/// A line of the log about a consumer.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    consumer: String,
    /// The event, and which attempt.
    about: Option<(EventId, u32)>,
}

impl Line {
    pub(super) fn log(&self, level: Level) {
        let (event, attempt) = self.about.unzip();
        let event = event.map(|event| event.to_string());
        log::log!(level, consumer = self.consumer, event, attempt; "{}", self.text);
    }
}

impl Failure {
    fn line(&self, name: &str) -> Line {
        let then = match self.pause {
            Some(pause) => format!(", the next in {pause:.1?}"),
            None => " was the last: dead letter".to_owned(),
        };
        let (event, reason, attempt) = (self.event, &self.reason, self.attempt);
        Line {
            text: format!("event {event}: {name}: {reason}; attempt {attempt}{then}"),
            consumer: name.to_owned(),
            about: Some((event, attempt)),
        }
    }
}

impl Unlogged {
    fn add(&mut self, position: Position, failure: Failure) {
        self.attempts += 1;
        self.dead += u64::from(failure.pause.is_none());
        if self.events.len() < MOST_COUNTED {
            self.events.insert(position);
        }
        self.last = Some(failure);
    }
}

impl fmt::Display for Unlogged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = if self.events.len() < MOST_COUNTED {
            ""
        } else {
            "at least "
        };
        let (attempts, events) = (self.attempts, self.events.len());
        write!(f, "{attempts} attempts failed, of {over}{events} events")?;
        match self.dead {
            0 => Ok(()),
            dead => write!(f, ", {dead} of which became dead letters"),
        }
    }
}

/// The pause between two lines, at first.
const SHORTEST: Duration = Duration::from_secs(30);

/// The same while failures go on.
const LONGEST: Duration = Duration::from_secs(240);

/// How many different events are counted between two lines.
const MOST_COUNTED: u64 = 65_536;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    /// A log at second 0, and the lines with the second of each.
    struct World {
        log: FailureLog,
        start: Instant,
        logged: Vec<(u64, String)>,
    }

    impl World {
        fn new() -> Self {
            Self {
                log: FailureLog::default(),
                start: SystemClock.monotonic(),
                logged: Vec::new(),
            }
        }

        fn at(&self, second: u64) -> (Timestamp, Instant) {
            let at = Timestamp::from_second(second as i64).unwrap();
            (at, self.start + Duration::from_secs(second))
        }

        fn fails(&mut self, second: u64, event: u64, pause: Option<u64>, is_rejected: bool) {
            let failure = Failure {
                event: Uuid::from_u128(event.into()).into(),
                attempt: 1,
                reason: "no".to_owned(),
                pause: pause.map(Duration::from_secs),
                is_rejected,
            };
            let (name, at) = ("handler:a", self.at(second));
            let line = self.log.failed(name, Position::first(event), failure, at);
            self.logged.extend(line.map(|line| (second, line.text)));
        }

        fn works(&mut self, second: u64, recovers: bool) {
            let (_, now) = self.at(second);
            let line = self.log.succeeded("handler:a", recovers, now);
            self.logged.extend(line.map(|line| (second, line.text)));
        }

        fn wakes(&mut self, second: u64) {
            let (_, now) = self.at(second);
            let line = self.log.line_if_due("handler:a", now);
            self.logged.extend(line.map(|line| (second, line.text)));
        }

        #[track_caller]
        fn logged(&mut self, expected: &[(u64, &str)]) {
            let logged = std::mem::take(&mut self.logged);
            let matches = logged.len() == expected.len() && { logged.iter().zip(expected) }.all(
                |((second, line), (at, words))| {
                    second == at && words.split('…').all(|words| line.contains(words))
                },
            );
            assert!(matches, "{logged:#?}");
        }
    }

    #[test]
    fn an_outage_is_summed_up() {
        let mut world = World::new();
        for second in 0..=400 {
            for event in 1..=3 {
                world.fails(second, event, Some(1), false);
            }
        }
        world.logged(&[
            (0, "event 00000000-0000-0000-0000-000000000001: handler:a: no; attempt 1, the next in 1.0s"),
            (30, "handler:a: 90 attempts failed, of 3 events; failing since 1970-01-01T00:00:00Z; the last: event 0"),
            (90, "handler:a: 180 attempts failed, of 3 events"),
            (210, "handler:a: 360 attempts failed, of 3 events"),
        ]);
        // A first attempt succeeds while others still wait for their retries.
        world.works(401, false);
        world.logged(&[]);
        world.works(402, true);
        world.works(403, true);
        world.logged(&[(
            402,
            "handler:a: works again; 1203 attempts had failed since 1970-01-01T00:00:00Z",
        )]);
        assert_eq!(world.log.due(), None);
        world.fails(500, 7, Some(1), false);
        world.logged(&[(500, "000000000007: handler:a: no")]);
    }

    #[test]
    fn a_consumer_that_flaps_makes_few_lines() {
        let mut world = World::new();
        for second in 0..300 {
            world.fails(second, second + 1, Some(1), false);
            world.works(second, true);
            world.wakes(second);
        }
        assert!(world.logged.len() <= 20, "{:#?}", world.logged);
        // What happened last is logged though nothing more fails.
        world.logged.clear();
        world.wakes(600);
        world.logged(&[(600, "attempts failed, of ")]);
        world.wakes(900);
        world.logged(&[]);
    }

    #[test]
    fn rejected_events_are_no_outage() {
        let mut world = World::new();
        for second in 0..60 {
            world.fails(second, second + 1, None, true);
            world.works(second, true);
        }
        world.wakes(100);
        world.logged(&[
            (0, "000000000001: handler:a: no; attempt 1 was the last: dead letter"),
            (30, "handler:a: 30 attempts failed, of 30 events, 30 of which became dead letters; the last: event"),
            (100, "handler:a: 29 attempts failed, of 29 events"),
        ]);
    }
}
