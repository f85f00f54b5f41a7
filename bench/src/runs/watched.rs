//! What it costs a receiver that somebody watches: slices with viewers and without, in turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use super::{Contestant, Plan};
use crate::lab::Lab;
use crate::load::{Asks, Pace, Requests};
use crate::process::pause;
use crate::results::{Spread, Watched};
use crate::targets::{Setting, Target};

/// Receives at a fixed rate, with so many viewers in every second slice. With `only_streams` no viewer asks for pages.
pub(crate) fn watched(
    lab: &Lab,
    plan: &Plan,
    viewers: usize,
    rate: f64,
    only_streams: bool,
) -> anyhow::Result<Watched> {
    let target = Target::named("sqlite").context("no target sqlite")?;
    let setting = Setting {
        admin: true,
        ..Setting::default()
    };
    let mut server = Contestant::start(target, lab, &setting)?;
    let admin = server.running.admin()?;
    let mut requests = Requests::new()?;
    let shape = server.shape(plan);
    let count = (rate * plan.time.as_secs_f64()) as u64;
    let mut found = Watched {
        viewers,
        rate,
        body: plan.body,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        only_streams,
        ..Watched::default()
    };
    // The first round warms up.
    for round in 0..=plan.rounds {
        // Which one comes first changes, because a journal that grows makes the second one dearer.
        let mut both = [0.0; 2];
        for with in [round % 2 == 1, round % 2 == 0] {
            let watching = with.then(|| Viewers::open(admin, viewers, only_streams));
            pause(Duration::from_millis(300));
            let pace = Pace::Open(rate);
            let measured = server.measure(&mut requests, count, &shape, plan.connections, pace)?;
            both[usize::from(with)] = measured.cpu_micros;
            if let Some(watching) = watching {
                let (rows, pages) = watching.close()?;
                found.streamed_bytes.push(rows);
                found.pages_shown.push(pages);
            }
        }
        let [without, with] = both;
        let ratio = with / without;
        println!(
            "round {round}  {without:>6.2} µs CPU each, {with:>6.2} with {viewers} viewers: {:+.2} %",
            (ratio - 1.0) * 100.0
        );
        if round > 0 {
            found.without.push(without);
            found.with.push(with);
            found.ratios.push(ratio);
        }
    }
    if let Some(ratio) = Spread::of(found.ratios.iter().copied()) {
        let percent = |ratio: f64| (ratio - 1.0) * 100.0;
        println!(
            "{viewers} viewers: {:+.2} % CPU for each event ({:+.2} to {:+.2} %), to be less than {BOUND} %",
            percent(ratio.median),
            percent(ratio.low),
            percent(ratio.high)
        );
    }
    Ok(found)
}

/// Each follows the stream; all but the last show a page again a second after it has changed, as the dashboard does.
struct Viewers {
    ends: Arc<AtomicBool>,
    streams: Vec<JoinHandle<anyhow::Result<u64>>>,
    pages: Vec<JoinHandle<anyhow::Result<()>>>,
    shown: Arc<AtomicU64>,
}

impl Viewers {
    fn open(admin: SocketAddr, count: usize, only_streams: bool) -> Self {
        let (ends, shown) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (mut streams, mut pages) = (Vec::new(), Vec::new());
        for number in 0..count {
            let end = Arc::clone(&ends);
            let (page, stream) = PAGES[number % PAGES.len()];
            streams.push(std::thread::spawn(move || {
                Asks::connect(admin)?.watch(stream, &end)
            }));
            if only_streams || number + 1 == count {
                continue;
            }
            let (end, shown) = (Arc::clone(&ends), Arc::clone(&shown));
            pages.push(std::thread::spawn(move || {
                let mut asks = Asks::connect(admin)?;
                while !end.load(Ordering::Relaxed) {
                    asks.get(page)?;
                    shown.fetch_add(1, Ordering::Relaxed);
                    pause(AGAIN);
                }
                Ok(())
            }));
        }
        Self {
            ends,
            streams,
            pages,
            shown,
        }
    }

    /// Returns how many bytes they were streamed, and how many pages they were shown.
    fn close(self) -> anyhow::Result<(u64, u64)> {
        self.ends.store(true, Ordering::Relaxed);
        let mut bytes = 0;
        for stream in self.streams {
            bytes += stream
                .join()
                .map_err(|_| anyhow::anyhow!("a viewer panicked"))??;
        }
        for page in self.pages {
            page.join()
                .map_err(|_| anyhow::anyhow!("a viewer panicked"))??;
        }
        Ok((bytes, self.shown.load(Ordering::Relaxed)))
    }
}

/// What is shown, and what tells that it has changed.
const PAGES: [(&str, &str); 3] = [
    ("ui/events", "api/stream?kinds=event,state"),
    ("ui/now", "api/stream?kinds=event,consumer,source,replay"),
    ("ui/events", "api/stream"),
];

/// How long a page stays as it is, though something has changed.
const AGAIN: Duration = Duration::from_secs(1);

/// How much four viewers may cost, in percent.
const BOUND: f64 = 2.0;
