//! [`Buckets`]: a histogram that sorts each value at once.
//!
//! The exporter's own histograms keep every value, with the time, until somebody sorts them: that is a
//! look at the clock and an entry in a list for each, and a timer or a count that must not be forgotten.
//! These are two atomic additions.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::HistogramFn;

/// How many values were at most each bound, and their sum.
pub(super) struct Buckets {
    name: &'static str,
    labels: String,
    bounds: &'static [f64],
    /// One for each bound, not added up, and one for what is above all.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Buckets {
    pub(super) fn new(
        name: &'static str,
        labels: &[(&'static str, &str)],
        bounds: &'static [f64],
    ) -> Self {
        Self {
            name,
            labels: in_text(labels),
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0.0_f64.to_bits()),
        }
    }

    pub(super) fn is(&self, name: &str, labels: &[(&'static str, &str)]) -> bool {
        self.name == name && self.labels == in_text(labels)
    }

    /// Its family in Prometheus' text format.
    pub(super) fn render(&self) -> String {
        let Self { name, labels, .. } = self;
        let mut text = format!("# TYPE {name} histogram\n");
        let comma = if labels.is_empty() { "" } else { "," };
        let mut so_far = 0;
        let bounds = self.bounds.iter().map(f64::to_string);
        for (count, bound) in self.counts.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            so_far += count.load(Ordering::Relaxed);
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {so_far}"
            );
        }
        let labels = match labels.as_str() {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let sum = f64::from_bits(self.sum.load(Ordering::Relaxed));
        let _ = writeln!(
            text,
            "{name}_sum{labels} {sum}\n{name}_count{labels} {so_far}"
        );
        text
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let found = self.bounds.iter().position(|bound| value <= *bound);
        let at = found.unwrap_or(self.bounds.len());
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        let add = |sum| Some((f64::from_bits(sum) + value).to_bits());
        // It adds whatever the sum is.
        let _ = self
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

/// `a="1",b="2"`, escaped as
/// [the format](https://prometheus.io/docs/instrumenting/exposition_formats/#comments-help-text-and-type-information)
/// has it.
fn in_text(labels: &[(&'static str, &str)]) -> String {
    let each = labels.iter().map(|(name, value)| {
        let value = value.replace('\\', r"\\").replace('"', "\\\"");
        format!("{name}=\"{}\"", value.replace('\n', r"\n"))
    });
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_in_the_bucket_it_is_at_most() {
        let buckets = Buckets::new("s", &[("a", "x\"\\\n")], &[0.5, 2.0]);
        for value in [0.0, 0.5, 0.6, 2.0, 2.5, f64::INFINITY] {
            buckets.record(value);
        }
        let labels = r#"a="x\"\\\n""#;
        assert_eq!(
            buckets.render(),
            format!(
                "# TYPE s histogram\n\
                 s_bucket{{{labels},le=\"0.5\"}} 2\n\
                 s_bucket{{{labels},le=\"2\"}} 4\n\
                 s_bucket{{{labels},le=\"+Inf\"}} 6\n\
                 s_sum{{{labels}}} inf\n\
                 s_count{{{labels}}} 6\n"
            )
        );
        let plain = Buckets::new("s", &[], &[1.0]);
        plain.record(0.25);
        assert!(
            plain
                .render()
                .ends_with("le=\"+Inf\"} 1\ns_sum 0.25\ns_count 1\n")
        );
    }
}
