//! [`Series`]: metrics that end together, in a recorder of their own, which forgets none by itself; and
//! [`Families`], which makes one text of those of many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::buckets::Buckets;

/// Metrics that end together.
pub(super) struct Series {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    histograms: Mutex<Vec<Arc<Buckets>>>,
}

impl Series {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        Self {
            handle: recorder.handle(),
            recorder,
            histograms: Mutex::default(),
        }
    }

    /// All of them in Prometheus' text format, without what they tell.
    pub(super) fn render(&self) -> String {
        let mut text = self.handle.render();
        for buckets in self.histograms().iter() {
            text += &buckets.render();
        }
        text
    }

    pub(super) fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder
            .register_counter(&key(name, labels), &METADATA)
    }

    pub(super) fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    /// Of seconds, or of events where the name says so.
    pub(super) fn histogram(
        &self,
        name: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        let bounds: &[f64] = match name.ends_with("_events") {
            true => &EVENTS,
            false => &SECONDS,
        };
        let mut histograms = self.histograms();
        let known = histograms.iter().find(|known| known.is(name, labels));
        let buckets = known.map(Arc::clone).unwrap_or_else(|| {
            let buckets = Arc::new(Buckets::new(name, labels, bounds));
            histograms.push(Arc::clone(&buckets));
            buckets
        });
        Histogram::from_arc(buckets)
    }

    fn histograms(&self) -> MutexGuard<'_, Vec<Arc<Buckets>>> {
        // Nothing here can leave the list half-changed.
        let histograms = self.histograms.lock();
        histograms.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The texts of many [`Series`] as one: in it each family may begin only once.
#[derive(Default)]
pub(super) struct Families(BTreeMap<String, Family>);

#[derive(Default)]
struct Family {
    kind: String,
    lines: String,
}

impl Families {
    pub(super) fn add(&mut self, text: &str) {
        let mut family = None;
        for line in text.lines().filter(|line| !line.is_empty()) {
            let begins = line.strip_prefix("# TYPE ");
            if let Some((name, kind)) = begins.and_then(|rest| rest.split_once(' ')) {
                let begun = self.0.entry(name.to_owned()).or_default();
                kind.clone_into(&mut begun.kind);
                family = Some(begun);
            } else if let Some(family) = &mut family {
                family.lines.push_str(line);
                family.lines.push('\n');
            }
        }
    }

    /// The text; `tells` says what a family tells.
    pub(super) fn text(&self, tells: impl Fn(&str) -> Option<&'static str>) -> String {
        let mut text = String::new();
        for (name, Family { kind, lines }) in &self.0 {
            if let Some(tells) = tells(name) {
                text += &format!("# HELP {name} {tells}\n");
            }
            text += &format!("# TYPE {name} {kind}\n{lines}\n");
        }
        text
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The upper bounds of the buckets of histograms of seconds.
const SECONDS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The upper bounds of the buckets of histograms of events.
const EVENTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_begins_once_and_its_lines_are_together() {
        let series = ["a", "b\n# TYPE x counter"].map(|consumer| {
            let series = Series::new();
            series
                .counter("n_total", &[("consumer", consumer)])
                .increment(2);
            series
                .histogram("s_seconds", &[("consumer", consumer)])
                .record(0.2);
            series
        });
        let mut families = Families::default();
        for one in &series {
            families.add(&one.render());
        }
        let text = families.text(|name| (name == "n_total").then_some("How many"));
        let head = "# HELP n_total How many\n# TYPE n_total counter\n\
                    n_total{consumer=\"a\"} 2\n\
                    n_total{consumer=\"b\\n# TYPE x counter\"} 2\n\n\
                    # TYPE s_seconds histogram\n\
                    s_seconds_bucket{consumer=\"a\",le=\"0.0001\"} 0\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains("s_seconds_sum{consumer=\"a\"} 0.2\n"),
            "{text}"
        );
        assert_eq!(text.matches("# TYPE s_seconds").count(), 1, "{text}");
    }
}
