//! [`Report`]: what has come of a reload. [`Status`]: which settings run, and the last report.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::plan::{Change, NeedsRestart};
use crate::Timestamp;
use crate::error::Problems;
use crate::settings::Settings;

/// What has come of a reload.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    /// That of the settings that run.
    pub(crate) fingerprint: String,
}

#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Reloaded {
        changes: Vec<Change>,
        /// Otherwise some consumers still finish what they have begun with the old settings.
        is_finished: bool,
    },
    /// A reload would make these changes.
    WouldReload(Vec<Change>),
    /// The file says what runs.
    Unchanged,
    Invalid(Problems),
    RestartNeeded(Vec<NeedsRestart>),
    /// It looks like a half-written file.
    HalfWritten(Problems),
    /// It removes something, and may not be written to its end yet.
    Unconfirmed,
    /// Why handlers and subscriptions cannot change now. It is tried again.
    NotReady(&'static str),
}

impl Outcome {
    /// The name in metrics and answers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Reloaded { .. } => "reloaded",
            Self::WouldReload(_) => "would_reload",
            Self::Unchanged => "unchanged",
            Self::Invalid(_) => "invalid",
            Self::RestartNeeded(_) => "restart_needed",
            Self::HalfWritten(_) => "half_written",
            Self::Unconfirmed => "unconfirmed",
            Self::NotReady(_) => "not_ready",
        }
    }

    /// Whether the file is not what runs.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_) | Self::RestartNeeded(_) | Self::HalfWritten(_) | Self::NotReady(_)
        )
    }

    pub(crate) fn changes(&self) -> &[Change] {
        match self {
            Self::Reloaded { changes, .. } | Self::WouldReload(changes) => changes,
            _ => &[],
        }
    }

    /// Why nothing was changed, one line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            Self::Invalid(problems) | Self::HalfWritten(problems) => {
                problems.list().iter().map(ToString::to_string).collect()
            }
            Self::RestartNeeded(keys) => keys.iter().map(ToString::to_string).collect(),
            Self::NotReady(why) => vec![format!(
                "{why}, so handlers and subscriptions cannot change now; the settings are loaded again when it can"
            )],
            _ => Vec::new(),
        }
    }
}

/// Which settings run.
#[derive(Debug)]
pub(crate) struct Status(Mutex<Known>);

#[derive(Debug)]
struct Known {
    fingerprint: String,
    /// That of the file when it was read last; `None` if it was invalid.
    file_fingerprint: Option<String>,
    loaded_at: Timestamp,
    /// Without secrets.
    settings: Value,
    last: Option<Report>,
}

impl Status {
    /// These settings run from now on.
    pub(crate) fn new(running: &Settings, file: Option<&Settings>, at: Timestamp) -> Self {
        Self(Mutex::new(Known {
            fingerprint: running.fingerprint(),
            file_fingerprint: file.map(Settings::fingerprint),
            loaded_at: at,
            settings: shown(running),
            last: None,
        }))
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.lock().fingerprint.clone()
    }

    pub(super) fn loaded_at(&self) -> Timestamp {
        self.lock().loaded_at
    }

    /// Whether the last reload was refused.
    pub(super) fn is_stale(&self) -> bool {
        let known = self.lock();
        known
            .last
            .as_ref()
            .is_some_and(|report| report.outcome.is_refused())
    }

    /// The file could be read.
    pub(super) fn read(&self, fingerprint: String) {
        self.lock().file_fingerprint = Some(fingerprint);
    }

    pub(super) fn runs(&self, settings: &Settings) {
        let mut known = self.lock();
        known.fingerprint = settings.fingerprint();
        known.settings = shown(settings);
    }

    pub(super) fn reloaded(&self, report: Report) {
        let mut known = self.lock();
        match report.outcome {
            Outcome::Reloaded { .. } => known.loaded_at = report.at,
            Outcome::Invalid(_) => known.file_fingerprint = None,
            _ => {}
        }
        known.last = Some(report);
    }

    /// For `/health`.
    pub(crate) fn health(&self) -> Value {
        let known = self.lock();
        let last = known.last.as_ref().map(|report| {
            json!({
                "at": report.at,
                "outcome": report.outcome.name(),
                "problems": report.outcome.problems(),
            })
        });
        json!({
            "fingerprint": known.fingerprint,
            "file_fingerprint": known.file_fingerprint,
            "loaded_at": known.loaded_at,
            "last_reload": last,
        })
    }

    /// The settings that run, without secrets.
    pub(crate) fn settings(&self) -> Value {
        self.lock().settings.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // No panic can leave it half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings as they may be shown.
fn shown(settings: &Settings) -> Value {
    settings.shown()
}
