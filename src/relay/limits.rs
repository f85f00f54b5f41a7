//! [`TimeLimits`]: how long an attempt, and the connection it needs, may take.

use std::time::Duration;

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Resolving the host, connecting and TLS.
    pub(super) connection: Duration,
    /// The connection, the request and the answer's head.
    pub(super) attempt: Duration,
}

impl TimeLimits {
    /// The limits of an attempt that may take `timeout`. A connection may take three quarters of it,
    /// so that an error can say whether the connection or the answer was missing.
    pub(super) fn within(timeout: Duration) -> Self {
        Self {
            connection: timeout.mul_f64(0.75),
            attempt: timeout,
        }
    }
}
