//! [`ApiError`]: why a request to the admin listener does not get what it asks for.

use std::fmt::Display;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use uuid::Uuid;

use crate::EventId;
use crate::journal::Unavailable;
use crate::relay::{ChangeError, RegisteredSubscription};
use crate::telemetry::{ONGOING, Throttle};

/// What a handler returns.
pub(super) type Answer = Result<HttpResponse, ApiError>;

/// An answer that is not a success, in the form that every admin path has:
/// `{"success":false,"error":…,"code":…}`.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    text: String,
    /// The client should ask again after so many seconds.
    retry_after: Option<u64>,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body must not be read as the next request.
            response.force_close();
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        response.json(json!({ "success": false, "error": self.text, "code": self.code }))
    }
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            status,
            code,
            text,
            retry_after: None,
        }
    }

    /// Whether what is asked for makes no sense.
    #[cfg(feature = "dashboard")]
    pub(super) fn is_bad_request(&self) -> bool {
        self.status == StatusCode::BAD_REQUEST
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::bad_request_as("bad_request", text)
    }

    /// An error that the web server has found.
    pub(super) fn of_another(error: &actix_web::Error) -> Self {
        let status = error.as_response_error().status_code();
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            status if status.is_client_error() => "bad_request",
            _ => "unavailable",
        };
        Self::new(status, code, error.to_string())
    }

    /// A bad request with a code of its own.
    pub(super) fn bad_request_as(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// The body has a field that there is not.
    pub(super) fn unknown_field(text: impl Into<String>) -> Self {
        Self::bad_request_as("unknown_field", text)
    }

    pub(super) fn unauthorized() -> Self {
        let text = "Authorization: Bearer with the admin token is needed";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", text)
    }

    pub(super) fn forbidden(text: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", text)
    }

    /// The viewer asks for what only the administrator may.
    pub(super) fn forbidden_role(text: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden_role", text)
    }

    /// The viewer asks for what contains text of bodies.
    pub(super) fn no_bodies() -> Self {
        Self::forbidden_role(
            "this contains texts of bodies, which only the administrator sees (show_bodies of [admin])",
        )
    }

    /// The same work is done for others already.
    pub(super) fn busy(text: &str) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
        }
    }

    /// The body of a change is said to be something else than JSON.
    pub(super) fn not_json(found: &str) -> Self {
        let text = format!("Content-Type: found {found:?}, expected \"application/json\"");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text)
    }

    /// Too many wrong tokens came from one address.
    pub(super) fn too_many_guesses(retry_after: Duration) -> Self {
        let text = "too many wrong tokens came in the last minute";
        Self {
            retry_after: Some(retry_after.as_secs().max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text)
        }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// There is no source with this name.
    pub(super) fn no_source(name: &str, names: &[String]) -> Self {
        let names = names.join(", ");
        Self::not_found(format!("there is no source {name:?}; there are: {names}"))
    }

    /// The consumer cannot be asked now.
    pub(super) fn restarting(consumer: &str) -> Self {
        Self::unavailable(format!(
            "{consumer} starts again after a fault; ask again in a minute"
        ))
    }

    /// The consumer ended while it was asked.
    pub(super) fn has_ended(consumer: &str) -> Self {
        Self::not_found(format!(
            "{consumer} has ended; `offhook consumers` says whether it can be resumed"
        ))
    }

    /// Nothing is sent for this subscription.
    pub(super) fn not_active(consumer: &str, entry: &RegisteredSubscription) -> Self {
        let subscription = &entry.subscription;
        let again = format!("until it is resumed: offhook consumers resume '{consumer}'");
        let (why, again) = match (&subscription.ended, entry.rejected()) {
            (Some(ended), _) => (format!("has ended: {}", ended.reason), again),
            (None, Some(rejected)) if subscription.active => {
                let allowed = "until [relay] allows its address, or it has another URL";
                (format!("is suspended: {rejected}"), allowed.to_owned())
            }
            _ => ("is not active".to_owned(), again),
        };
        let text = format!("{consumer} {why}; nothing is sent {again}");
        Self::conflict("not_active", text)
    }

    fn conflict(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, text)
    }

    /// What was shown is not what would be done.
    pub(super) fn plan_changed(why: impl Display) -> Self {
        let text = format!("{why}; nothing was done, so look again at what would be done");
        Self::conflict("plan_changed", text)
    }

    /// The plan was shown too long ago, or many others were since.
    pub(super) fn plan_expired(id: Uuid) -> Self {
        let text = format!(
            "plan {id} is not known, or too old; nothing was done, so look again at what would be done"
        );
        Self::conflict("plan_expired", text)
    }

    /// A plan is good once.
    pub(super) fn plan_used(id: Uuid) -> Self {
        let text = format!(
            "plan {id} was used already, so nothing was done now; `offhook replays` shows its replay"
        );
        Self::conflict("plan_used", text)
    }

    /// The engine `none` keeps no events and has no subscriptions.
    pub(super) fn nothing_kept() -> Self {
        let text = "the engine is none, which keeps no events";
        Self::conflict("nothing_kept", text)
    }

    /// The journal is one that a program brought, and no index searches it.
    pub(super) fn no_search() -> Self {
        Self::conflict("no_search", "there is no search over this journal")
    }

    /// The event was deleted.
    pub(super) fn deleted(id: EventId) -> Self {
        let text = format!("event {id} was deleted, so it cannot be handed over again");
        Self::new(StatusCode::GONE, "deleted", text)
    }

    /// The body of the event was deleted.
    pub(super) fn deleted_body(id: EventId) -> Self {
        let text = format!("the body of {id} was deleted");
        Self::new(StatusCode::GONE, "deleted", text)
    }

    /// As many streams are watched as may be.
    pub(super) fn too_many_viewers(most: usize) -> Self {
        let text = format!(
            "{most} streams are watched already (max_viewers of [admin]); try again in 5 s"
        );
        Self {
            retry_after: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_viewers", text)
        }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text)
    }
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        if let Some(unsaid) = UNANSWERED.pass() {
            let more = Throttle::more(unsaid);
            log::warn!("an administrator's request: {error}{more}");
        }
        Self::unavailable("the journal cannot answer now; the log says why")
    }
}

/// A dashboard asks again and again while the journal is away.
static UNANSWERED: Throttle = Throttle::every(ONGOING);

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Defined(_) | ChangeError::DefinedInactive(..) => {
                Self::conflict("defined_in_settings", error.to_string())
            }
            ChangeError::Conflict(_) => Self::conflict("conflict", error.to_string()),
            ChangeError::TooMany => Self::conflict("too_many", error.to_string()),
            ChangeError::Rejected(..) => Self::bad_request_as("refused_address", error.to_string()),
            ChangeError::Unknown(_) => Self::not_found(error.to_string()),
            ChangeError::Exists(_) => {
                Self::new(StatusCode::PRECONDITION_FAILED, "exists", error.to_string())
            }
            ChangeError::Unavailable(error) => error.into(),
        }
    }
}
