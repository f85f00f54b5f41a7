//! [`family`]: a metric's name, its help text, and a series for each set of labels; [`families!`]: a table
//! of them.

use std::fmt::Debug;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::family::Family as LabelledFamily;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::{TypedMetric, gauge};
use prometheus_client::registry::Registry;

/// The series of one metric.
pub(super) type Family<M> = LabelledFamily<Labels, M>;

/// The labels of one series; empty for a metric with only one series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A whole number, or 1 for yes and 0 for no.
pub(super) type Gauge = gauge::Gauge<u64, AtomicU64>;

pub(super) type SecondsGauge = gauge::Gauge<f64, AtomicU64>;

/// Declares the struct `Families`, with a field for each row `field: Metric = constructor, "name", "help";`.
macro_rules! families {
    ($($(#[$only:meta])* $field:ident: $metric:ty = $new:expr, $name:literal, $help:literal;)*) => {
        /// The families of all metrics, in the order in which a scraper sees them.
        #[derive(Debug, Clone)]
        struct Families {
            $($(#[$only])* $field: Family<$metric>,)*
        }

        impl Families {
            fn new(registry: &mut Registry) -> Self {
                Self {
                    $($(#[$only])* $field: family(registry, $name, $help, $new),)*
                }
            }

            /// Removes the series with these labels from every family.
            fn remove(&self, labels: &Labels) {
                $($(#[$only])* self.$field.remove(labels);)*
            }
        }
    };
}

pub(super) use families;

/// Registers a metric with the name and the help text that a scraper sees. The output omits it while it
/// has no series.
pub(super) fn family<M>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
    new: fn() -> M,
) -> Family<M>
where
    M: EncodeMetric + TypedMetric + Debug + Send + Sync + 'static,
{
    let family = Family::new_with_constructor(new);
    // The encoder appends this suffix to the name of every counter.
    let name = name.strip_suffix("_total").unwrap_or(name);
    registry.register(name, help, family.clone());
    family
}

/// Labels in the order in which they are displayed.
pub(super) fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).into()
}

pub(super) fn seconds() -> Histogram {
    Histogram::new([
        0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
    ])
}

#[cfg(feature = "sqlite")]
pub(super) fn events() -> Histogram {
    Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0])
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::prometheus_text;
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    /// The whole output: label values are escaped, and removed series do not appear.
    #[test]
    fn a_family_begins_once_with_its_help() {
        let mut registry = Registry::default();
        let counters = family(
            &mut registry,
            "n_total",
            "How many",
            Counter::<u64>::default,
        );
        let histograms = family(&mut registry, "s_seconds", "How long", seconds);
        let text = || {
            let mut text = String::new();
            prometheus_text::encode(&mut text, &registry).unwrap();
            text
        };
        assert_eq!(text(), "");

        let hostile = labels([("consumer", "b\\\"\n# TYPE x counter")]);
        counters.get_or_create_owned(&hostile).inc_by(2);
        assert_eq!(
            text(),
            "# HELP n_total How many.\n# TYPE n_total counter\n\
             n_total{consumer=\"b\\\\\\\"\\n# TYPE x counter\"} 2\n"
        );
        assert!(counters.remove(&hostile));
        assert_eq!(text(), "");

        let histogram = histograms.get_or_create_owned(&labels([("a", "1")]));
        for value in [0.0001, 0.0002, 1.0, 31.0] {
            histogram.observe(value);
        }
        histograms.get_or_create_owned(&Labels::new());
        let text = text();
        assert_eq!(
            text.matches("# TYPE s_seconds histogram\n").count(),
            1,
            "{text}"
        );
        for line in [
            "s_seconds_bucket{a=\"1\",le=\"0.0001\"} 1\n",
            "s_seconds_bucket{a=\"1\",le=\"0.00025\"} 2\n",
            "s_seconds_bucket{a=\"1\",le=\"0.5\"} 2\n",
            "s_seconds_bucket{a=\"1\",le=\"1\"} 3\n",
            "s_seconds_bucket{a=\"1\",le=\"30\"} 3\n",
            "s_seconds_bucket{a=\"1\",le=\"+Inf\"} 4\n",
            "s_seconds_sum{a=\"1\"} 32.0003\n",
            "s_seconds_count{a=\"1\"} 4\n",
            "s_seconds_count 0\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
