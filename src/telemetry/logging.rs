//! Sets up the program's log: to standard error, with `env_logger`.

use std::io::Write as _;

use crate::clock::{Clock as _, SystemClock};

/// Logs to standard error, unless a logger is already set. `RUST_LOG` sets the level. Default: `info`.
///
/// At the default level no line holds a secret or a body. A line about one event names its id.
pub fn init() {
    let filter = env_logger::Env::default().default_filter_or(DEFAULT);
    let mut builder = env_logger::Builder::from_env(filter);
    builder.format(|out, record| {
        let now = SystemClock.now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let level = record.level();
        let style = out.default_level_style(level);
        writeln!(out, "{now} {style}{level:<5}{style:#} {}", record.args())
    });
    // Keeps a logger that is already set.
    let _ = builder.try_init();
}

// Messages of actix about malformed requests are caused by clients and would fill the log.
const DEFAULT: &str = "info,actix_http=off,actix_server=warn";
