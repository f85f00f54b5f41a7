//! [`Parts`]: what runs behind the listeners.

use std::sync::Arc;

use crate::admin::AdminState;
use crate::engine::Pipeline;
use crate::ingress::Ingress;
use crate::relay::Registry;
use crate::signature::Secret;
use crate::telemetry::Metrics;

/// What runs behind the listeners, for as long as there is a [`Receiver`](super::Receiver).
pub(crate) struct Parts {
    pub(crate) engine_name: &'static str,
    /// What the answer 200 means, for the log.
    pub(crate) promise: String,
    /// What the admin API asks for, where it is set.
    pub(crate) admin_token: Option<Secret>,
    /// The fingerprint of the settings.
    pub(crate) fingerprint: String,
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index, where there is a journal.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions, where there is a journal.
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Parts {
    /// What the admin API needs, on a listener of its own or mounted into an application's `App`.
    pub(super) fn admin_state(&self, is_mounted: bool) -> AdminState {
        AdminState {
            token: self.admin_token.clone(),
            is_mounted,
            fingerprint: self.fingerprint.clone(),
            engine: self.engine_name,
            metrics: Arc::clone(&self.metrics),
            listener: self.metrics.listener(),
            ingress: Arc::clone(&self.ingress),
            pipeline: self.pipeline.clone(),
            registry: self.registry.clone(),
            turns: AdminState::turns(),
        }
    }
}
