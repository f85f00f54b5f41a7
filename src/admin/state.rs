//! [`AdminState`]: what the handlers of the admin API need.

use std::sync::Arc;

use super::error::ApiError;
use crate::engine::Pipeline;
use crate::index::Search;
use crate::ingress::Ingress;
use crate::relay::Registry;
use crate::signature::Secret;
use crate::telemetry::{ListenerMetrics, Metrics};

/// What the handlers of the admin API need.
pub(crate) struct AdminState {
    /// The admin token. Without one the listener is on a loopback address.
    pub(crate) token: Option<Secret>,
    /// The fingerprint of the settings.
    pub(crate) fingerprint: String,
    /// The engine's name.
    pub(crate) engine: &'static str,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: ListenerMetrics,
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index; `None` with the engine `none`.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions; `None` with the engine `none`.
    pub(crate) registry: Option<Arc<Registry>>,
}

impl AdminState {
    /// The journal, its consumers and its index.
    ///
    /// # Errors
    ///
    /// When the engine is `none`.
    pub(super) fn pipeline(&self) -> Result<&Pipeline, ApiError> {
        self.pipeline.as_deref().ok_or_else(ApiError::nothing_kept)
    }

    /// The search over all events.
    ///
    /// # Errors
    ///
    /// When the engine is `none`, or there is no index.
    pub(super) fn search(&self) -> Result<&dyn Search, ApiError> {
        self.pipeline()?.search().ok_or_else(ApiError::no_search)
    }

    /// The subscriptions.
    ///
    /// # Errors
    ///
    /// When the engine is `none`.
    pub(super) fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.registry.as_ref().ok_or_else(ApiError::nothing_kept)
    }
}
