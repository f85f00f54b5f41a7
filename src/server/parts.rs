//! [`Parts`]: what runs behind the listeners.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::admin::{Access, AdminState, CurrentAccess, Guesses, Oldest, Plans};
use crate::clock::Clock;
use crate::engine::{InlineEngine, Pipeline};
use crate::ingress::Ingress;
use crate::relay::Registry;
use crate::reload::{ReadyMade, ReloadHandle, SettingsFile, Status};
use crate::settings::{AdminSettings, ShowBodies};
use crate::telemetry::Metrics;

/// What runs behind the listeners, for as long as there is a [`Receiver`](super::Receiver).
pub(crate) struct Parts {
    pub(crate) engine_name: &'static str,
    /// What the answer 200 means, for the log.
    pub(crate) promise: String,
    /// Who may use the admin API.
    pub(crate) access: CurrentAccess,
    /// Which settings run.
    pub(crate) status: Arc<Status>,
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index, where there is a journal.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions, where there is a journal.
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) metrics: Arc<Metrics>,
    /// What reloading needs beside the parts above.
    pub(crate) reloading: Reloading,
}

/// What reloading needs.
pub(crate) struct Reloading {
    /// Where the settings come from, if that is a file.
    pub(crate) file: Option<SettingsFile>,
    /// The engine `none`, if it is that.
    pub(crate) inline: Option<Arc<InlineEngine>>,
    /// The names of the handlers that the program has added.
    pub(crate) in_code: Vec<String>,
    pub(crate) ready_made: ReadyMade,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Parts {
    /// What the admin API needs, on a listener of its own or mounted into an application's `App`.
    pub(super) fn admin_state(&self, is_mounted: bool, reload: Option<ReloadHandle>) -> AdminState {
        AdminState {
            access: self.access.clone(),
            is_mounted,
            settings: Arc::clone(&self.status),
            reload,
            engine: self.engine_name,
            metrics: Arc::clone(&self.metrics),
            listener: self.metrics.listener(),
            ingress: Arc::clone(&self.ingress),
            pipeline: self.pipeline.clone(),
            registry: self.registry.clone(),
            turns: AdminState::turns(),
            body_search: Semaphore::new(1),
            previews: Semaphore::new(1),
            guesses: Guesses::default(),
            plans: Plans::default(),
            oldest: Oldest::default(),
            clock: Arc::clone(&self.reloading.clock),
        }
    }
}

/// Who may use the admin API, by the settings.
pub(crate) fn access(settings: Option<&AdminSettings>) -> Access {
    let Some(settings) = settings else {
        return Access::default();
    };
    Access {
        token: settings.token.clone(),
        viewer_token: settings.viewer_token.clone(),
        viewer_sees_bodies: settings.show_bodies == ShowBodies::Viewer,
        path_prefix: settings.path_prefix.clone().unwrap_or_default(),
    }
}
