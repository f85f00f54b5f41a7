//! From the kept results to a page and its charts. Every figure on the page comes from a file beside
//! it; without files it says how to get them.

mod charts;
mod draw;
mod goals;
mod tables;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::Origin;
use crate::results::{Curve, Idle, Isolated, Kept, Open, Pages, Receive, Relayed, Watched};
use crate::runs::Over;

/// All results there are.
#[derive(Default)]
struct Results {
    receive: Option<Kept<Receive>>,
    /// At several rates and with several lengths of bodies.
    opens: Vec<Kept<Open>>,
    curves: Vec<Kept<Curve>>,
    relay: Option<Kept<Relayed>>,
    idle: Option<Kept<Idle>>,
    idle_full: Option<Kept<Idle>>,
    isolated: Option<Kept<Isolated>>,
    /// With pages, and with streams alone.
    watched: Vec<Kept<Watched>>,
    pages: Option<Kept<Pages>>,
}

/// Writes `README.md` and the charts into the folder of the results.
pub(crate) fn write(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let results = Results::read(folder)?;
    let images = charts::write(&results, folder)?;
    let page = folder.join("README.md");
    let mut text = results.page(&images);
    if folder.join(NOTES).exists() {
        text += &format!(
            "\n## What the figures say\n\nWhat falls short and why, and why curves bend: [by hand]({NOTES}).\n"
        );
    }
    std::fs::write(&page, text)?;
    println!("written: {}", page.display());
    Ok(())
}

impl Results {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut opens = Vec::new();
        for name in OPENS {
            opens.extend(Kept::read(folder, name)?);
        }
        let mut watched = Vec::new();
        for name in ["watched", "watched-streams"] {
            watched.extend(Kept::read(folder, name)?);
        }
        let mut curves = Vec::new();
        for over in Over::ALL {
            curves.extend(Kept::read(folder, &format!("curve-{}", over.name()))?);
        }
        Ok(Self {
            receive: Kept::read(folder, "receive")?,
            opens,
            curves,
            relay: Kept::read(folder, "relay")?,
            idle: Kept::read(folder, "idle")?,
            idle_full: Kept::read(folder, "idle-full")?,
            isolated: Kept::read(folder, "isolated")?,
            watched,
            pages: Kept::read(folder, "pages")?,
        })
    }

    fn page(&self, images: &[charts::Image]) -> String {
        let mut page = INTRODUCTION.to_owned();
        let origins = self.origins();
        if origins.is_empty() {
            page += "\nNo run is kept here yet.\n";
            return page;
        }
        page += &tables::machines(&origins);
        page += "\n## What it must reach\n\n";
        page += &goals::table(self);
        let mut section = |title: &str, origin: &Origin, image: &str, text: String| {
            page += &format!("\n## {title}\n\n");
            for image in images.iter().filter(|one| one.name.starts_with(image)) {
                page += &format!("![{}]({}.svg)\n\n", image.title, image.name);
            }
            page += &text;
            page += &format!("\n{}\n", tables::origin(origin));
        };
        if let Some(Kept { origin, results }) = &self.receive {
            section(
                "As fast as it answers",
                origin,
                "receive",
                tables::receive(results),
            );
        }
        for (number, Kept { origin, results }) in self.opens.iter().enumerate() {
            let image = if number == 0 { "open" } else { "no image" };
            let title = tables::open_title(results);
            section(&title, origin, image, tables::open(results));
        }
        if let Some(Kept { origin, results }) = &self.relay {
            section("Relaying", origin, "relay", tables::relay(results));
        }
        for Kept { origin, results } in &self.curves {
            let (title, image) = (
                tables::curve_title(results),
                format!("curve-{}", results.over),
            );
            section(&title, origin, &image, tables::curve(results));
        }
        for Kept { origin, results } in self.idle.iter().chain(&self.idle_full) {
            let title = format!("Nothing to do, {} events kept", tables::count(results.kept));
            section(&title, origin, "idle", tables::idle(results));
        }
        if let Some(Kept { origin, results }) = &self.isolated {
            let title = "One session fails";
            section(title, origin, "no image", tables::isolated(results));
        }
        for Kept { origin, results } in &self.watched {
            section(
                "Somebody watches",
                origin,
                "no image",
                tables::watched(results),
            );
        }
        if let Some(Kept { origin, results }) = &self.pages {
            let title = format!("The dashboard, {} events kept", tables::count(results.kept));
            section(&title, origin, "no image", tables::pages(results));
        }
        page
    }

    fn origins(&self) -> Vec<&Origin> {
        fn of<R: Serialize + DeserializeOwned>(kept: &Kept<R>) -> &Origin {
            &kept.origin
        }
        let mut all: Vec<&Origin> = Vec::new();
        all.extend(self.receive.iter().map(of));
        all.extend(self.opens.iter().map(of));
        all.extend(self.relay.iter().map(of));
        all.extend(self.curves.iter().map(of));
        all.extend(self.idle.iter().chain(&self.idle_full).map(of));
        all.extend(self.isolated.iter().map(of));
        all.extend(self.watched.iter().map(of));
        all.extend(self.pages.iter().map(of));
        all
    }
}

/// The names of the runs at a fixed rate. The first has a chart.
pub(crate) const OPENS: [&str; 3] = ["open", "open-20000-300", "open-4000-4096"];

/// Words on the figures, which no program writes.
const NOTES: &str = "notes.md";

const INTRODUCTION: &str = "\
# How fast it is

offhook side by side with what people use otherwise, and with what the machine can do at all. This page
and its charts are written by `offhook-bench`, and every figure comes from a `.json` file beside it,
which holds each round.

`setup` installs once what the others need, `--list` says which targets can run here, and `all` measures
everything (`--most 100000` leaves the longest out):

```sh
cargo run --release -p offhook-bench -- setup
cargo run --release -p offhook-bench -- --list
cargo run --release -p offhook-bench -- all
```

Single measurements, and this page from the files:

```sh
cargo run --release -p offhook-bench -- receive --only none,bare,sqlite,file
cargo run --release -p offhook-bench -- report
```

Every target does the same job: check the signature over the raw bytes, parse, hand the message to some
code, answer. It runs on one core, a database with it; the load generator runs on another and sends
unique messages, signed before the clock starts, over connections that are kept. Targets take turns
within each round, the first round warms up, and figures are medians with the least and the most. CPU
time is that of all of a target's processes, until they have nothing left to do; a row in bold answers
only when the message is on disk. An answer that is no 200, a message taken for a duplicate and a message
not handled end the run.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::{CurveOf, Latency, Point, Received};

    fn kept<R>(results: R) -> Kept<R> {
        let origin = Origin {
            date: "2025-01-08 12:00 UTC".to_owned(),
            command: "cargo run".to_owned(),
            commit: "0000000".to_owned(),
            machine: Machine {
                cpu: "a cpu".to_owned(),
                cores: 2,
                memory_gib: 1.0,
                kernel: "Linux".to_owned(),
                file_system: "ext4".to_owned(),
                sync_median: 100,
                sync_p99: 200,
                server_core: 0,
                load_core: 1,
            },
        };
        Kept { origin, results }
    }

    fn example() -> Results {
        let received = |target: &str, rate: f64| Received {
            target: target.to_owned(),
            version: None,
            rates: vec![rate, rate * 1.1, rate * 0.9],
            cpu_micros: vec![1e6 / rate],
            behind: vec![0.1],
            commits: Vec::new(),
            events_a_commit: Vec::new(),
            resident_mib: 20.0,
        };
        let latency = |target: &str, p99: f64| Latency {
            target: target.to_owned(),
            p50: vec![200.0],
            p99: vec![p99],
            p999: vec![2.0 * p99],
            percentiles: vec![(50.0, 200.0), (99.0, p99), (100.0, 3.0 * p99)],
        };
        let point = |at, rate| Point {
            at,
            rates: vec![rate],
            cpu_micros: vec![10.0],
            resident_mib: 30.0,
        };
        Results {
            receive: Some(kept(Receive {
                connections: 64,
                body: 300,
                ceiling: vec![150_000.0],
                targets: vec![
                    received("none", 100.0),
                    received("bare", 100.0),
                    received("sqlite", 70.0),
                    received("file", 100.0),
                ],
                ..Receive::default()
            })),
            opens: vec![kept(Open {
                rate: 4_000.0,
                body: 300,
                targets: vec![latency("sqlite", 1_200.0), latency("file", 1_000.0)],
                ..Open::default()
            })],
            curves: vec![kept(Curve {
                over: "kept".to_owned(),
                counted: "requests".to_owned(),
                targets: vec![CurveOf {
                    target: "sqlite".to_owned(),
                    points: vec![point(10_000, 100.0), point(10_000_000, 95.0)],
                }],
                ..Curve::default()
            })],
            ..Results::default()
        }
    }

    #[test]
    fn goals_are_judged_from_the_rounds() {
        let table = goals::table(&example());
        let judged = |what: &str| {
            let row = table.lines().find(|line| line.contains(what)).unwrap();
            row.split('|').rev().nth(1).unwrap().trim().to_owned()
        };
        assert_eq!(judged("÷ bare actix-web"), "met");
        assert_eq!(judged("÷ the one-file limit |"), "**not met**");
        assert_eq!(judged("÷ Express"), "not measured");
        assert_eq!(judged("p99"), "met");
        assert_eq!(judged("10 M kept ÷"), "met");
    }

    #[test]
    fn an_empty_page_says_so() {
        let page = Results::default().page(&[]);
        assert!(page.contains("No run is kept here yet"));
        assert!(!page.contains("## What it must reach"));
        let page = example().page(&[]);
        for shown in [
            "a cpu",
            "**sqlite**",
            "150,000",
            "Events kept",
            "not measured",
        ] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
    }

    #[test]
    fn charts_come_in_both_forms() {
        let folder =
            std::env::temp_dir().join(format!("offhook-bench-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let images = charts::write(&example(), &folder).unwrap();
        assert!(!images.is_empty());
        for image in &images {
            let read = |end: &str| std::fs::read(folder.join(format!("{}.{end}", image.name)));
            assert!(read("svg").unwrap().starts_with(b"<svg"), "{}", image.name);
            assert!(
                read("png").unwrap().starts_with(b"\x89PNG"),
                "{}",
                image.name
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
