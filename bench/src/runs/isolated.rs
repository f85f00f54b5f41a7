//! What one session whose events all fail does to the others: how long theirs take until they are handled, on a
//! server with so many failing events and on one with as many that were handled, in turns.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use offhook::clock::{Clock as _, SystemClock};

use super::{Contestant, FILLING, Plan};
use crate::lab::Lab;
use crate::load::{self, Pace, Requests, Shape};
use crate::process::pause;
use crate::results::{Isolated, Others, Spread};
use crate::targets::{BESIDE, Setting, Target};

/// Measures, one event after the other. The server whose turn it is not stands still.
pub(crate) fn isolated(lab: &Lab, plan: &Plan, failing: u64) -> anyhow::Result<Isolated> {
    let target = Target::named("sqlite").context("no target sqlite")?;
    let setting = Setting {
        failing: Some(FAILING),
        ..Setting::default()
    };
    let mut requests = Requests::new()?;
    let mut without = Side::start(target, lab, &setting)?;
    let mut with = Side::start(BESIDE, lab, &setting)?;
    let works = with.server.shape(plan);
    let fails = Shape {
        session: FAILING,
        ..works.clone()
    };
    for (side, shape) in [(&without, &works), (&with, &fails)] {
        let mut left = failing;
        while left > 0 {
            let batch = requests.take(left.min(200_000), shape);
            left -= batch.len() as u64;
            load::load(&side.server.running.to, &batch, FILLING, Pace::All)?;
        }
    }
    without.server.running.settle();
    without.handled = without.server.running.handled()?.unwrap_or(0);
    for side in [&without, &with] {
        side.server.running.stand_still(true)?;
    }
    // The first round warms up.
    for round in 0..=plan.rounds {
        let sides = match round % 2 {
            0 => [&mut without, &mut with],
            _ => [&mut with, &mut without],
        };
        for side in sides {
            side.slice(&mut requests, plan, round)?;
        }
    }
    for side in [&mut without, &mut with] {
        side.found.resident_mib = side.server.resident_mib();
        // It has to end by itself.
        side.server.running.stand_still(false)?;
    }
    let found = Isolated {
        failing,
        lanes: fails.lanes,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        without: without.found,
        with: with.found,
    };
    if let Some(ratio) = Spread::ratio(&found.with.p50, &found.without.p50) {
        let memory = found.with.resident_mib - found.without.resident_mib;
        println!(
            "{:.2} times as long ({:.2} to {:.2}), {memory:.0} MiB more memory",
            ratio.median, ratio.low, ratio.high
        );
    }
    Ok(found)
}

/// One of the two servers.
struct Side {
    server: Contestant,
    handled: u64,
    found: Others,
}

impl Side {
    fn start(target: Target, lab: &Lab, setting: &Setting) -> anyhow::Result<Self> {
        Ok(Self {
            server: Contestant::start(target, lab, setting)?,
            handled: 0,
            found: Others::default(),
        })
    }

    /// Events of a session that works, for the plan's time.
    fn slice(&mut self, requests: &mut Requests, plan: &Plan, round: usize) -> anyhow::Result<()> {
        let shape = self.server.shape(plan);
        let batch = requests.take(
            (plan.time.as_secs_f64() / BETWEEN.as_secs_f64()) as u64,
            &shape,
        );
        self.server.running.stand_still(false)?;
        // Retries that were due meanwhile would be no part of what goes on usually.
        pause(CATCH_UP);
        let mut connection = TcpStream::connect(self.server.running.to.first())?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(LONGEST))?;
        let end = SystemClock.monotonic() + plan.time;
        let mut times = Vec::new();
        for number in 0..batch.len() {
            if SystemClock.monotonic() >= end {
                break;
            }
            let asked = SystemClock.monotonic();
            send(&mut connection, batch.request(number))?;
            self.wait_until_handled(asked)?;
            times.push((SystemClock.monotonic() - asked).as_secs_f64() * 1e6);
            pause(BETWEEN);
        }
        self.server.running.stand_still(true)?;
        let count = times.len();
        let spread = Spread::of(times).context("no event was sent")?;
        println!(
            "round {round}  {:<8} {count:>6} events  median {:>7.0} µs, longest {:>8.0} µs",
            self.server.target.name, spread.median, spread.high
        );
        if round > 0 {
            self.found.counts.push(count as u64);
            self.found.p50.push(spread.median);
            self.found.longest.push(spread.high);
        }
        Ok(())
    }

    fn wait_until_handled(&mut self, asked: Instant) -> anyhow::Result<()> {
        self.handled += 1;
        loop {
            let handled = self.server.running.handled()?.unwrap_or(0);
            if handled > self.handled {
                bail!("{handled} events were handled of {} sent", self.handled);
            }
            if handled == self.handled {
                return Ok(());
            }
            if SystemClock.monotonic() - asked > LONGEST {
                bail!("an event of another session is not handled after {LONGEST:?}");
            }
            pause(LOOK);
        }
    }
}

/// Sends a request, and reads its answer, which must be 200.
fn send(connection: &mut TcpStream, request: &[u8]) -> anyhow::Result<()> {
    connection.write_all(request)?;
    let (mut answer, mut part) = (Vec::new(), [0; 1024]);
    while !answer.ends_with(RECEIVED) {
        let count = connection.read(&mut part).context("no answer")?;
        answer.extend_from_slice(&part[..count]);
        if count == 0 || !answer.starts_with(&b"HTTP/1.1 200"[..answer.len().min(12)]) {
            bail!("not 200: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

/// The session whose events all fail.
const FAILING: &str = "failing";

const RECEIVED: &[u8] = br#"{"status":"received"}"#;

/// From the time a server goes on until it is measured.
const CATCH_UP: Duration = Duration::from_secs(2);

/// From one event to the next.
const BETWEEN: Duration = Duration::from_millis(2);

/// How often it is asked whether an event was handled.
const LOOK: Duration = Duration::from_micros(50);

const LONGEST: Duration = Duration::from_secs(30);
