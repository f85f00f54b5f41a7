//! How long each page of the dashboard, and each part of its API, takes with so many events kept.

use anyhow::{Context as _, bail};
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde_json::Value;

use super::{Contestant, Plan};
use crate::lab::Lab;
use crate::load::{Asks, Requests, Shape};
use crate::results::{PageTime, Pages};
use crate::targets::{Setting, Target};

/// Fills a journal, starts the server again, and asks for everything so many times.
pub(crate) fn pages(
    lab: &Lab,
    plan: &Plan,
    kept: u64,
    asks: usize,
    drop_caches: bool,
) -> anyhow::Result<Pages> {
    let target = Target::named("sqlite").context("no target sqlite")?;
    let setting = Setting {
        admin: true,
        ..Setting::default()
    };
    let mut requests = Requests::new()?;
    let mut filled = Contestant::start(target, lab, &setting)?;
    let shape: Shape = filled.shape(plan);
    filled.fill(&mut requests, &shape, kept)?;
    drop(filled);
    if drop_caches {
        // What was only in memory must be on the disk.
        let synced = std::process::Command::new("sync").status()?;
        let dropped = std::fs::write("/proc/sys/vm/drop_caches", "3");
        if !synced.success() || dropped.is_err() {
            bail!("--drop-caches needs root");
        }
    }
    let running = target.start_again(lab, &setting)?;
    let admin = running.admin()?;
    let mut all = PAGES.map(|(path, bound)| PageTime {
        path: path.to_owned(),
        bound_ms: bound,
        ..PageTime::default()
    });
    let mut to = Asks::connect(admin)?;
    // The first time of each is the coldest.
    let ids = ids(&mut to)?;
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..asks.max(1) {
        for (page, times) in all.iter_mut().zip(&mut times) {
            let path = page.path.replace("{id}", &ids[round * STEP % ids.len()]);
            let path = path.replace("{peer}", &format!("%2B{:07}", round as u64 % shape.lanes));
            let started = SystemClock.monotonic();
            let answer = to.get(&path)?;
            let took = (SystemClock.monotonic() - started).as_secs_f64() * 1e3;
            if round == 0 {
                (page.first_ms, page.bytes) = (took, answer.len());
            }
            times.push(took);
        }
    }
    for (page, times) in all.iter_mut().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).ceil() as usize];
        (page.p50_ms, page.p95_ms) = (at(0.5), at(0.95));
        let bound = page.bound_ms.map(|bound| {
            let is_kept = if page.p95_ms <= bound {
                ""
            } else {
                ", TOO LONG"
            };
            format!("(at most {bound} ms{is_kept})")
        });
        println!(
            "{:<64} {:>8.2} ms first, {:>8.2} p50, {:>8.2} p95  {}",
            page.path,
            page.first_ms,
            page.p50_ms,
            page.p95_ms,
            bound.unwrap_or_default()
        );
    }
    Ok(Pages {
        kept,
        asks,
        drop_caches,
        pages: all.into(),
    })
}

/// Ids of events from all over the journal, as soon as the index has them all.
fn ids(to: &mut Asks) -> anyhow::Result<Vec<String>> {
    let mut read =
        |path: &str| -> anyhow::Result<Value> { Ok(serde_json::from_slice(&to.get(path)?)?) };
    let stats = read("api/stats")?;
    let time = |name: &str| -> anyhow::Result<i64> {
        let text = stats["journal"][name]
            .as_str()
            .context("no events are kept")?;
        Ok(text.parse::<Timestamp>()?.as_millisecond())
    };
    let (oldest, newest) = (time("oldest_at")?, time("newest_at")?);
    let mut ids = Vec::new();
    for place in 1..=PLACES {
        let at = oldest + (newest - oldest) * place / PLACES;
        let at = Timestamp::from_millisecond(at + 1)?;
        let page = read(&format!("api/events?limit=5&to={at}"))?;
        let found = page["events"].as_array().into_iter().flatten();
        ids.extend(found.filter_map(|event| Some(event["id"].as_str()?.to_owned())));
    }
    if ids.is_empty() {
        bail!("no events were found");
    }
    Ok(ids)
}

/// From how many times events are taken.
const PLACES: i64 = 40;

/// From one id to the next that is asked for: it has no factor in common with their number.
const STEP: usize = 37;

/// Paths, and how many ms they may take in 95 of 100 cases, where that was said.
const PAGES: [(&str, Option<f64>); 26] = [
    ("ui/now", Some(50.0)),
    ("ui/events", Some(80.0)),
    (
        "ui/events?session=408f7372-f7c9-4299-a8db-326bc5548a73",
        Some(80.0),
    ),
    ("ui/events?state=dead", None),
    ("ui/events/{id}", Some(30.0)),
    ("ui/conversations", None),
    (
        "ui/conversations?session=408f7372-f7c9-4299-a8db-326bc5548a73",
        None,
    ),
    (
        "ui/conversations?session=408f7372-f7c9-4299-a8db-326bc5548a73&peer={peer}",
        None,
    ),
    ("ui/consumers", None),
    ("ui/consumers/handler:counter-0", None),
    ("ui/dead", None),
    ("ui/refused", None),
    ("ui/settings", None),
    ("api/events", None),
    ("api/events?event=status", None),
    ("api/events?state=dead", None),
    ("api/events/{id}", None),
    ("api/events/{id}/body", None),
    ("api/consumers", None),
    ("api/consumers/handler:counter-0", None),
    ("api/dead", None),
    ("api/stats", None),
    ("api/refused", None),
    ("api/replays", None),
    ("metrics", None),
    ("health", None),
];
