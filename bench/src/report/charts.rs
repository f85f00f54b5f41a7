//! Which charts there are, and what is in them.

use std::path::Path;

use super::Results;
use super::draw::{Axis, Bar, Bars, Chart, Line, Lines};
use super::tables::curve_title;
use crate::results::{Curve, Open, Receive, Received, Spread};
use crate::targets::Target;

/// A chart that was written as `NAME.svg` and `NAME.png`.
pub(super) struct Image {
    pub(super) name: String,
    pub(super) title: String,
}

pub(super) fn write(results: &Results, folder: &Path) -> anyhow::Result<Vec<Image>> {
    let mut charts = Vec::new();
    if let Some(kept) = &results.receive {
        charts.push(("receive-rate".to_owned(), rates(&kept.results)));
        charts.push(("receive-cpu".to_owned(), cpu(&kept.results)));
    }
    if let Some(kept) = results.opens.first() {
        charts.push(("open".to_owned(), latencies(&kept.results)));
    }
    for kept in &results.curves {
        charts.push((format!("curve-{}", kept.results.over), curve(&kept.results)));
    }
    let mut images = Vec::new();
    for (name, chart) in charts {
        chart.save(folder, &name)?;
        let title = chart.title().to_owned();
        images.push(Image { name, title });
    }
    Ok(images)
}

fn rates(receive: &Receive) -> Chart {
    let title = format!("Requests per second, {} connections", receive.connections);
    bars(
        receive,
        title,
        |received| &received.rates,
        |one, other| other.total_cmp(&one),
    )
}

fn cpu(receive: &Receive) -> Chart {
    let title = "CPU time per request, in µs".to_owned();
    bars(
        receive,
        title,
        |received| &received.cpu_micros,
        |one, other| one.total_cmp(&other),
    )
}

fn bars(
    receive: &Receive,
    title: String,
    values: impl Fn(&Received) -> &[f64],
    order: impl Fn(f64, f64) -> std::cmp::Ordering,
) -> Chart {
    let bar = |received: &Received| {
        let spread = Spread::of(values(received).iter().copied())?;
        let target = Target::named(&received.target);
        Some(Bar {
            name: received.target.clone(),
            value: spread.median,
            ours: OURS.contains(&received.target.as_str()),
            durable: target.is_some_and(|target| target.durable),
        })
    };
    let mut bars: Vec<Bar> = receive.targets.iter().filter_map(bar).collect();
    bars.sort_by(|one, other| order(one.value, other.value));
    Chart::Bars(Bars { title, bars })
}

/// Percentiles by their distance from 100 %, which grows tenfold with each nine.
fn latencies(open: &Open) -> Chart {
    let line = |latency: &crate::results::Latency| {
        let points = latency
            .percentiles
            .iter()
            .filter(|(percentile, _)| *percentile < 100.0);
        let points = points.map(|(at, micros)| (100.0 / (100.0 - at), micros / 1e3));
        Line {
            name: latency.target.clone(),
            points: points.collect(),
        }
    };
    Chart::Lines(Lines {
        title: format!("Latency at {} requests per second", open.rate),
        x: Axis::Percentiles,
        y: "ms".to_owned(),
        lines: open.targets.iter().map(line).collect(),
    })
}

fn curve(curve: &Curve) -> Chart {
    let line = |of: &crate::results::CurveOf| {
        let points = of.points.iter().filter_map(|point| {
            let spread = Spread::of(point.rates.iter().copied())?;
            Some((point.at as f64, spread.median))
        });
        Line {
            name: of.target.clone(),
            points: points.collect(),
        }
    };
    let title = curve_title(curve);
    Chart::Lines(Lines {
        title: format!("{title}: {} per second", curve.counted),
        x: Axis::Named(title),
        y: "per second".to_owned(),
        lines: curve.targets.iter().map(line).collect(),
    })
}

const OURS: [&str; 2] = ["none", "sqlite"];
