//! [`AdminState`]: what the handlers of the admin API need, and what a request names in it.

use std::fmt::Display;
use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use actix_web::web;
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::guesses::Guesses;
use super::oldest::Oldest;
use super::plans::Plans;
use super::request::IdBeginning;
use super::role::CurrentAccess;
use crate::EventId;
use crate::clock::Clock;
use crate::dispatch::ConsumerControls;
use crate::engine::Pipeline;
use crate::index::{EventEntry, Search};
use crate::ingress::Ingress;
#[cfg(feature = "dashboard")]
use crate::journal::Seq;
use crate::relay::{RegisteredSubscription, Registry};
use crate::reload::{ReloadHandle, Status};
use crate::telemetry::{ListenerMetrics, Metrics};

/// The state as handlers get it.
pub(super) type State = web::Data<AdminState>;

/// What the handlers of the admin API need.
pub(crate) struct AdminState {
    /// Who may ask. Without a token the listener is on a loopback address, or only health and readiness are
    /// answered.
    pub(crate) access: CurrentAccess,
    /// Whether it is part of an application's own `App`, whose listener may be public.
    pub(crate) is_mounted: bool,
    /// Which settings run.
    pub(crate) settings: Arc<Status>,
    /// Loads them again, where there is a file to load.
    pub(crate) reload: Option<ReloadHandle>,
    /// The engine's name.
    pub(crate) engine: &'static str,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: ListenerMetrics,
    pub(crate) ingress: Arc<Ingress>,
    /// The journal, its consumers and its index; `None` with the engine `none`.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    /// The subscriptions; `None` with the engine `none`.
    pub(crate) registry: Option<Arc<Registry>>,
    /// Bounds the requests to the API that are being answered.
    pub(crate) turns: Semaphore,
    /// One search in bodies at a time.
    pub(crate) body_search: Semaphore,
    /// One preview of a replay at a time; others wait.
    pub(crate) previews: Semaphore,
    /// The wrong tokens of the last minute.
    pub(crate) guesses: Guesses,
    /// The replays that were shown and can be confirmed.
    pub(crate) plans: Plans,
    /// The oldest body of the journal.
    pub(crate) oldest: Oldest,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AdminState {
    /// So many requests to the API are answered at the same time.
    pub(crate) fn turns() -> Semaphore {
        Semaphore::new(64)
    }

    /// Whether a request shows a valid token; never without one.
    pub(crate) fn shows_token(&self, headers: &HeaderMap) -> bool {
        self.access.now().role(headers).is_some()
    }

    /// Whether a request has a token, or there is none.
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let access = self.access.now();
        access.token.is_none() || access.role(headers).is_some()
    }

    /// The journal, its consumers and its index. An error with the engine `none`.
    pub(super) fn pipeline(&self) -> Result<&Pipeline, ApiError> {
        self.pipeline.as_deref().ok_or_else(ApiError::nothing_kept)
    }

    /// The same, to keep.
    pub(super) fn shared_pipeline(&self) -> Result<&Arc<Pipeline>, ApiError> {
        self.pipeline.as_ref().ok_or_else(ApiError::nothing_kept)
    }

    /// The number of the newest body in the journal.
    #[cfg(feature = "dashboard")]
    pub(super) fn head(&self) -> Option<Seq> {
        let pipeline = self.pipeline.as_ref()?;
        Some(pipeline.journal().tail().head())
    }

    /// The search over all events. An error with the engine `none`, or without an index.
    pub(super) fn search(&self) -> Result<&dyn Search, ApiError> {
        self.pipeline()?.search().ok_or_else(ApiError::no_search)
    }

    /// The subscriptions. An error with the engine `none`.
    pub(super) fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.registry.as_ref().ok_or_else(ApiError::nothing_kept)
    }

    /// The event with this id, or the only one whose id begins so, be it deleted or not.
    pub(super) async fn event(&self, id: &str) -> Result<EventEntry, ApiError> {
        if let Ok(id) = id.parse() {
            return self.exact_event(id).await;
        }
        let (first, last) = IdBeginning::parse(id)?.bounds();
        let head = self.pipeline()?.journal().tail().head();
        let found = self.search()?.between(first, last, head).await?;
        let mut found = found.ok_or_else(|| {
            let text = "the index does not have all events yet, so others may begin so too; give the complete id";
            ApiError::unavailable(text)
        })?;
        match found.as_slice() {
            [one, other, ..] => Err(ApiError::bad_request_as(
                "ambiguous_id",
                format!(
                    "several events begin with {id}, among them {} and {}; give more of the id",
                    one.id, other.id
                ),
            )),
            _ => found.pop().ok_or_else(|| no_event(id)),
        }
    }

    /// The event with this id.
    pub(super) async fn exact_event(&self, id: EventId) -> Result<EventEntry, ApiError> {
        let head = self.pipeline()?.journal().tail().head();
        let search = self.search()?;
        if let Some(found) = search.by_id(id).await? {
            return Ok(found);
        }
        if search.is_complete(head).await {
            return Err(no_event(id));
        }
        let text =
            "the index does not have all events yet, and not this one; ask again in a moment";
        Err(ApiError::unavailable(text))
    }

    /// The consumer with this name.
    pub(super) fn consumer(&self, name: &str) -> Result<ConsumerControls, ApiError> {
        let all = self.pipeline()?.consumers();
        let found = all.iter().find(|consumer| consumer.name() == name);
        found.cloned().ok_or_else(|| {
            if let Some(entry) = self.idle(name) {
                return ApiError::not_active(name, &entry);
            }
            let names: Vec<&str> = all.iter().map(ConsumerControls::name).collect();
            let others = match names.join(", ") {
                names if names.is_empty() => "none runs".to_owned(),
                names => format!("there are: {names}"),
            };
            ApiError::not_found(format!("there is no consumer {name:?}; {others}"))
        })
    }

    /// Fails if there is no source with this name.
    pub(super) fn check_source(&self, name: &str) -> Result<(), ApiError> {
        let names = self.ingress.names();
        match names.iter().any(|known| known == name) {
            true => Ok(()),
            false => Err(ApiError::no_source(name, &names)),
        }
    }

    /// Fails if there is no consumer with this name, and no subscription that is to have none now.
    pub(super) fn check_consumer(&self, name: &str) -> Result<(), ApiError> {
        if self.idle(name).is_some() {
            return Ok(());
        }
        self.consumer(name).map(drop)
    }

    /// The subscription with this consumer's name, if it is to have no consumer now. One that is about to end
    /// may still run: [`AdminState::consumer`] finds it.
    pub(super) fn idle(&self, name: &str) -> Option<RegisteredSubscription> {
        let mut all = self.registry.as_ref()?.list(None).into_iter();
        all.find(|entry| !entry.has_consumer() && entry.subscription.key.consumer() == name)
    }

    /// The consumer with this name, if it can be asked.
    pub(super) fn running(&self, name: &str) -> Result<ConsumerControls, ApiError> {
        let consumer = self.consumer(name)?;
        if !consumer.is_up() {
            return Err(ApiError::restarting(name));
        }
        Ok(consumer)
    }

    /// The consumer with this name, or all consumers.
    pub(super) fn consumers(&self, name: Option<&str>) -> Result<Vec<ConsumerControls>, ApiError> {
        match name {
            Some(name) => Ok(vec![self.consumer(name)?]),
            None => Ok(self.pipeline()?.consumers()),
        }
    }
}

fn no_event(id: impl Display) -> ApiError {
    ApiError::not_found(format!("there is no event {id}"))
}
