//! What an operator sees from outside: log lines and metrics.

pub mod logging;
mod metrics;
mod throttle;

pub(crate) use metrics::{
    ConsumerMetrics, JournalMetrics, ListenerMetrics, Metrics, PipelineMetrics, QuietMetrics,
    RequestOutcome, SourceMetrics,
};
pub(crate) use throttle::Throttle;
