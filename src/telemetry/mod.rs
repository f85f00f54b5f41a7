//! Logging, metrics and news for the operator.

mod lines;
mod log_line;
mod log_settings;
pub mod logging;
mod metrics;
mod news;
mod overhearing;
mod recent;
mod stats;
mod throttle;
mod viewing;

pub use log_settings::{LogFormat, LogSettings};
#[cfg(feature = "sqlite")]
pub(crate) use metrics::JournalMetrics;
pub(crate) use metrics::{
    AppendLock, ClusterState, ConsumerMetrics, ConsumerState, ListenerMetrics, Metrics,
    PipelineMetrics, QuietMetrics, RequestOutcome, SourceMetrics,
};
pub(crate) use news::{About, Change, ChangeKind, DEFAULT_MAX_VIEWERS, News};
pub(crate) use overhearing::{Overhearing, PassedOn};
pub(crate) use recent::RecentFailure;
#[cfg(feature = "dashboard")]
pub(crate) use stats::Series;
pub(crate) use stats::Window;
pub(crate) use throttle::{ONGOING, Throttle};
pub(crate) use viewing::{Heard, NoPlace, Viewing};
