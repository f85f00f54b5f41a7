//! When sources and their sessions were last seen: [`QuietMetrics`].

use std::time::Duration;

use prometheus_client::registry::Registry;

use super::family::{Family, Gauge, SecondsGauge, family, labels};

pub(super) struct QuietFamilies {
    quiet: Family<Gauge>,
    since_last: Family<SecondsGauge>,
}

impl QuietFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            quiet: family(
                registry,
                "offhook_source_quiet",
                "1 while a source, or a session that is watched, has sent nothing for its quiet_after",
                Gauge::default,
            ),
            since_last: family(
                registry,
                "offhook_source_last_event_age_seconds",
                "Time since a source, or a session that is watched, was heard; NaN while nothing is known",
                SecondsGauge::default,
            ),
        }
    }
}

/// The handles of one source, or of one session of it.
#[derive(Debug)]
pub(crate) struct QuietMetrics {
    /// `None` when no `quiet_after` is set.
    quiet: Option<Gauge>,
    since_last: SecondsGauge,
}

impl QuietMetrics {
    pub(super) fn new(
        families: &QuietFamilies,
        source: &str,
        session: Option<&str>,
        watched: bool,
    ) -> Self {
        let labels = match session {
            Some(session) => labels([("source", source), ("session", session)]),
            None => labels([("source", source)]),
        };
        let since_last = families.since_last.get_or_create_owned(&labels);
        // The age is not known before the first event.
        since_last.set(f64::NAN);
        Self {
            quiet: watched.then(|| families.quiet.get_or_create_owned(&labels)),
            since_last,
        }
    }

    /// Sets whether it is quiet, if that is watched.
    pub(crate) fn quiet(&self, quiet: bool) {
        if let Some(gauge) = &self.quiet {
            gauge.set(quiet.into());
        }
    }

    /// Sets how long ago it was last seen.
    pub(crate) fn since_last(&self, age: Duration) {
        self.since_last.set(age.as_secs_f64());
    }
}
