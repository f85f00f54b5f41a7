//! Logging and metrics for the operator.

mod lines;
pub mod logging;
mod metrics;
mod throttle;

#[cfg(feature = "sqlite")]
pub(crate) use metrics::JournalMetrics;
pub(crate) use metrics::{
    ConsumerMetrics, ConsumerState, ListenerMetrics, Metrics, PipelineMetrics, QuietMetrics,
    RequestOutcome, SourceMetrics,
};
pub(crate) use throttle::{ONGOING, Throttle};
