//! What an operator sees from outside: log lines and metrics.

pub mod logging;
mod metrics;
mod throttle;

#[cfg(feature = "sqlite")]
pub(crate) use metrics::JournalMetrics;
pub(crate) use metrics::{
    ConsumerMetrics, ListenerMetrics, Metrics, PipelineMetrics, QuietMetrics, RequestOutcome,
    SourceMetrics,
};
pub(crate) use throttle::Throttle;
