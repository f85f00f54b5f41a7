//! [`Access`]: who may ask for what, which a reload may change. [`Role`]: what a request may do.

use std::future::{Ready, ready};
use std::sync::Arc;

use actix_web::dev::Payload;
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use arc_swap::ArcSwap;

use super::error::ApiError;
use super::request::bearer;
use crate::signature::Secret;

/// Who may ask for what.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// The administrator's token.
    pub(crate) token: Option<Secret>,
    /// The token of a viewer, who may only read.
    pub(crate) viewer_token: Option<Secret>,
    /// Whether a viewer sees the texts of bodies.
    pub(crate) viewer_sees_bodies: bool,
    /// The path under which a proxy shows the pages.
    #[cfg_attr(
        not(feature = "dashboard"),
        expect(dead_code, reason = "only pages name their own addresses")
    )]
    pub(crate) path_prefix: String,
}

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Administrator,
    Viewer { sees_bodies: bool },
}

impl Access {
    /// Whether the tokens are the same.
    pub(crate) fn has_tokens_of(&self, other: &Self) -> bool {
        self.token == other.token && self.viewer_token == other.viewer_token
    }

    /// The role that a valid token gives.
    pub(super) fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let shown = bearer(headers)?.as_bytes();
        let is = |token: &Option<Secret>| token.as_ref().is_some_and(|token| token.is(shown));
        if is(&self.token) {
            Some(Role::Administrator)
        } else if is(&self.viewer_token) {
            let sees_bodies = self.viewer_sees_bodies;
            Some(Role::Viewer { sees_bodies })
        } else {
            None
        }
    }
}

impl Role {
    /// Whether it may change something.
    pub(super) fn may_change(self) -> bool {
        self == Self::Administrator
    }

    /// As [`may_change`](Self::may_change), for a form that only leads to a change.
    ///
    /// # Errors
    ///
    /// For a viewer.
    #[cfg(feature = "dashboard")]
    pub(super) fn check_change(self) -> Result<(), ApiError> {
        if self.may_change() {
            return Ok(());
        }
        Err(ApiError::forbidden_role("the viewer's token may only read"))
    }

    /// Whether it sees bodies, and what contains text of them.
    pub(super) fn sees_bodies(self) -> bool {
        match self {
            Self::Administrator => true,
            Self::Viewer { sees_bodies } => sees_bodies,
        }
    }

    /// For the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Administrator => "the administrator",
            Self::Viewer { .. } => "the viewer",
        }
    }
}

impl FromRequest for Role {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        // Only what was let through has one.
        let role = request.extensions().get().copied();
        ready(role.ok_or_else(ApiError::unauthorized))
    }
}

/// The [`Access`] that runs.
#[derive(Clone)]
pub(crate) struct CurrentAccess(Arc<ArcSwap<Access>>);

impl CurrentAccess {
    pub(crate) fn new(access: Access) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(access)))
    }

    /// The next request is judged by this.
    pub(crate) fn replace(&self, access: Access) {
        self.0.store(Arc::new(access));
    }

    /// What a request is judged by.
    pub(crate) fn now(&self) -> Arc<Access> {
        self.0.load_full()
    }
}
