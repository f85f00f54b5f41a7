//! Checks of a registration: its session and name, its size, and whether its URL may be posted to.

use actix_web::{HttpRequest, web};
use url::Url;

use crate::admin::error::ApiError;
use crate::relay::{Guard, RejectedAddress, SubscriptionKey, SubscriptionKeyError};
use crate::signature::{Secret, is_undecodable};

/// The session in the path, percent-decoded as the ingress does it, so that both mean the same one.
pub(super) fn session(request: &HttpRequest) -> Result<String, ApiError> {
    let raw = request.match_info().get("id").unwrap_or_default();
    let session = percent_encoding::percent_decode_str(raw).decode_utf8_lossy();
    // A bad session is reported before the body is read, when the name is not known yet.
    key(session.clone().into_owned(), None)?;
    Ok(session.into_owned())
}

/// The key of the subscription with this name, or with the default name.
pub(super) fn key(session: String, name: Option<&str>) -> Result<SubscriptionKey, ApiError> {
    SubscriptionKey::new(session, name.unwrap_or(DEFAULT_NAME)).map_err(|error| {
        let code = match error {
            SubscriptionKeyError::Session => "bad_session",
            SubscriptionKeyError::Name(_) => "bad_name",
        };
        ApiError::bad_request_as(code, error.to_string())
    })
}

/// The subscription's name, which the query, the body, or both may give.
pub(super) fn one_name<'a>(
    in_query: Option<&'a str>,
    in_body: Option<&'a str>,
) -> Result<Option<&'a str>, ApiError> {
    match (in_query, in_body) {
        (Some(one), Some(other)) if one != other => Err(ApiError::bad_request(
            "the name in the path's query and the one in the body differ",
        )),
        (one, other) => Ok(one.or(other)),
    }
}

/// A request's body, up to [`MAX_BODY`].
pub(super) async fn limited_body(body: web::Payload) -> Result<web::Bytes, ApiError> {
    match body.to_bytes_limited(MAX_BODY).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(ApiError::bad_request(format!("the body: {error}"))),
        Err(_) => Err(ApiError::too_large(MAX_BODY)),
    }
}

/// The URL, if it may be posted to, and a warning if its host does not resolve now.
pub(super) async fn check_url(guard: &Guard, url: &str) -> Result<(Url, Option<String>), ApiError> {
    let url = guard.url(url).map_err(|error| rejected(&error))?;
    match guard.vet(&url).await {
        Ok(_) => Ok((url, None)),
        Err(error) if error.is_unresolved() => {
            let warning = format!("{error}; events wait until it does");
            Ok((url, Some(warning)))
        }
        Err(error) => Err(rejected(&error)),
    }
}

fn rejected(error: &RejectedAddress) -> ApiError {
    let code = match error {
        RejectedAddress::Address { .. } => "refused_address",
        _ => "bad_url",
    };
    ApiError::bad_request_as(code, format!("webhookUrl: {error}"))
}

/// What is accepted but probably a mistake, in one text.
pub(super) fn warning(
    unresolved: Option<String>,
    secret: Option<&Option<Secret>>,
) -> Option<String> {
    let mut warnings = Vec::from_iter(unresolved);
    if let Some(Some(secret)) = secret
        && is_undecodable(secret)
    {
        let text =
            "secret begins with whsec_, but what follows is no base64, so the text is the key";
        warnings.push(text.to_owned());
    }
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

/// The name of a subscription that is registered without one.
const DEFAULT_NAME: &str = "default";

/// The longest body of a registration, in bytes.
const MAX_BODY: usize = 64 * 1024;
