//! [`LogSettings`]: how the program's log is written, and how much.

use log::LevelFilter;
use serde::{Serialize, Serializer};

/// `[log]`: the lines on standard error.
///
/// ```
/// use offhook::settings::{LogFormat, LogSettings};
///
/// let mut log = LogSettings::default();
/// log.format = LogFormat::Json;
/// offhook::logging::init_with(&log);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogSettings {
    /// The form of a line. Default: text.
    pub format: LogFormat,
    /// Which lines are written, if `RUST_LOG` does not say it. Default: `info`.
    #[serde(serialize_with = "write_level")]
    pub level: LevelFilter,
}

/// `log.format`: the form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level and message, for people.
    #[default]
    Text,
    /// One JSON object, for programs.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            level: LevelFilter::Info,
        }
    }
}

fn write_level<S: Serializer>(level: &LevelFilter, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&level.as_str().to_ascii_lowercase())
}
