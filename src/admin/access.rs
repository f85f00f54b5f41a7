//! Which requests the admin listener answers.
//!
//! With a token, every path but `/health`, `/ready` and the pages of the dashboard needs it. The administrator's
//! allows everything, the viewer's only GET. Without a token (loopback only), the
//! request's `Host` must be a loopback name and its `Origin`, where it has one, must be this
//! listener's own, so that no web page can use the API through a browser on this machine. In any case a
//! request that a browser says is another site's is refused
//! ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)), except for those open paths; and a change needs
//! `Content-Type: application/json`, which a form cannot send.
//!
//! Mounted into an application's own `App`, the API has a listener that may be public, and a proxy may hide who
//! asks. There it answers nothing but health and readiness without a token.

use std::net::{IpAddr, SocketAddr};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, ORIGIN, TRANSFER_ENCODING,
};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, ResponseError as _, web};

use super::error::ApiError;
use super::guesses::Guess;
use super::headers::protect;
use super::request::{bearer, only};
use super::role::Role;
use super::state::AdminState;
#[cfg(feature = "dashboard")]
use super::ui;

/// Lets a request through, or answers 401, 403, 415 or 429. Every answer gets the headers that all have.
pub(super) async fn check_access(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = |request: ServiceRequest, error: &ApiError| {
        let mut answer = request.into_response(error.error_response());
        protect(answer.headers_mut());
        Ok(answer)
    };
    // Below the scope in which the API is mounted.
    let path = request.match_info().unprocessed();
    let role = match access(&state, path, &request) {
        Ok(role) => role,
        Err(error) => return refused(request, &error),
    };
    if let Some(role) = role {
        request.extensions_mut().insert(role);
    }
    // A disk that hangs must not hold all connections, nor hide whether the process lives.
    let is_short = matches!(path, "/health" | "/ready" | "/metrics");
    let turn = match state.turns.try_acquire() {
        Err(_) if !is_short => {
            let text = "too many requests are being answered; ask again in a moment";
            return refused(request, &ApiError::unavailable(text));
        }
        turn => turn.ok().filter(|_| !is_short),
    };
    let peer = request.peer_addr();
    let is_change = is_change(request.method());
    let mut answered = in_our_form(next.call(request).await?.map_into_boxed_body());
    drop(turn);
    if let Some(role) = role.filter(|_| is_change) {
        log_change(role, peer, &answered);
    }
    protect(answered.headers_mut());
    Ok(answered)
}

/// An error that no handler has made, such as that of a body that is too long, in the form that all have.
fn in_our_form(answered: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let error = answered.response().error();
    let Some(error) = error.filter(|error| error.as_error::<ApiError>().is_none()) else {
        return answered;
    };
    let error = ApiError::of_another(error);
    answered.into_response(error.error_response())
}

/// Logs who has asked for a change. Of the path of a subscription only the form is logged: the id of a session is
/// no text for the log, which is never erased.
fn log_change(role: Role, peer: Option<SocketAddr>, answered: &ServiceResponse<BoxBody>) {
    let (request, status) = (answered.request(), answered.status());
    if !status.is_success() {
        return;
    }
    let pattern = request.match_pattern().unwrap_or_default();
    let path = if pattern.contains("/sessions/") || pattern.contains("{session}") {
        &pattern
    } else {
        request.path()
    };
    let (role, method) = (role.name(), request.method());
    let peer = peer.map_or_else(
        || "an unknown address".to_owned(),
        |peer| peer.ip().to_string(),
    );
    log::info!(
        "{role} at {peer} has asked for {method} {path:?}, answered {}",
        status.as_u16()
    );
}

/// Whether the path is for all: it tells nothing, and a link from another site may lead to it.
fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/ready") || is_page(path)
}

#[cfg(feature = "dashboard")]
fn is_page(path: &str) -> bool {
    ui::is_open(path)
}

#[cfg(not(feature = "dashboard"))]
fn is_page(path: &str) -> bool {
    path == "/"
}

fn is_change(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The role of a request; `None` for an open path without a token.
fn access(
    state: &AdminState,
    path: &str,
    request: &ServiceRequest,
) -> Result<Option<Role>, ApiError> {
    let headers = request.headers();
    let access = state.access.now();
    if !is_open(path) {
        from_this_site(headers)?;
    }
    if access.token.is_none() && !state.is_mounted {
        from_this_machine(headers)?;
        json_only(request)?;
        return Ok(Some(Role::Administrator));
    }
    if access.token.is_none() && !matches!(path, "/health" | "/ready") {
        return Err(ApiError::forbidden(
            "mounted without a token, this API answers only /health and /ready; set a token (admin_token of \
             Offhook, token of [admin] in the settings)",
        ));
    }
    let Some(role) = access.role(headers) else {
        let guessed = guess(state, request);
        // A probe or a page is answered whatever token it has.
        return if is_open(path) {
            Ok(None)
        } else {
            Err(guessed.err().unwrap_or_else(ApiError::unauthorized))
        };
    };
    if !role.may_change() && is_change(request.method()) {
        let text = "the viewer's token may only read; this needs the administrator's";
        return Err(ApiError::forbidden_role(text));
    }
    json_only(request)?;
    Ok(Some(role))
}

/// Counts a token that is not valid. A missing one is none.
///
/// # Errors
///
/// When there were too many from its address, or from all.
fn guess(state: &AdminState, request: &ServiceRequest) -> Result<(), ApiError> {
    if bearer(request.headers()).is_none() {
        return Ok(());
    }
    let peer = request.peer_addr().map(|peer| peer.ip());
    match state.guesses.wrong(peer, state.clock.monotonic()) {
        Guess::Wrong => Ok(()),
        Guess::TooMany {
            retry_after,
            is_first,
            allowed,
            of_all,
        } => {
            if is_first {
                let sender = match peer {
                    _ if of_all => "all addresses together".to_owned(),
                    Some(ip) => ip.to_string(),
                    None => "an unknown address".to_owned(),
                };
                log::warn!(
                    "more than {allowed} wrong admin tokens in a minute from {sender}: further ones are answered 429"
                );
            }
            Err(ApiError::too_many_guesses(retry_after))
        }
    }
}

/// A change has no body, or one of JSON. A form of another site cannot send that.
fn json_only(request: &ServiceRequest) -> Result<(), ApiError> {
    let headers = request.headers();
    let length = only(headers, &CONTENT_LENGTH);
    let is_empty =
        length.is_none_or(|length| length == "0") && !headers.contains_key(TRANSFER_ENCODING);
    if is_empty || !is_change(request.method()) {
        return Ok(());
    }
    let kind = only(headers, &CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::not_json(kind))
}

/// Refuses a request that a browser makes for a page of another site. A page on another port of this machine
/// is of another site here.
fn from_this_site(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut sites = headers.get_all(SEC_FETCH_SITE);
    if sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        Ok(())
    } else {
        Err(ApiError::forbidden(
            "a page of another site must not use this API",
        ))
    }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that a web page may have made.
fn from_this_machine(headers: &HeaderMap) -> Result<(), ApiError> {
    let host = only(headers, &HOST).filter(|host| is_loopback(host));
    let Some(host) = host else {
        let text = "without a token the Host must be a loopback name, such as 127.0.0.1";
        return Err(ApiError::forbidden(text));
    };
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    // A page of another program on this machine is foreign too.
    let origin = only(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
    if origin.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host)) {
        Ok(())
    } else {
        let text = "without a token the Origin must be this listener's own";
        Err(ApiError::forbidden(text))
    }
}

/// Whether an authority, with or without a port, names this machine.
fn is_loopback(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => authority,
    };
    let bracketed = name.strip_prefix('[');
    let address = bracketed.and_then(|name| name.strip_suffix(']'));
    let address = address.unwrap_or(name).parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn hosts_and_origins_without_a_token() {
        let table = [
            (Some("127.0.0.1:5001"), None, true),
            (Some("localhost:5001"), None, true),
            (Some("LOCALHOST"), None, true),
            (Some("[::1]:5001"), None, true),
            (Some("[::1]"), None, true),
            (Some("[::1]evil.example"), None, false),
            (Some("[::1]:5001:evil.example"), None, false),
            (Some("::1"), None, false),
            (Some("127.0.0.1:5001"), Some("http://127.0.0.1:5001"), true),
            (Some("localhost:5001"), Some("http://LOCALHOST:5001"), true),
            (Some("127.0.0.1:5001"), Some("http://localhost:5001"), false),
            (Some("127.0.0.1:5001"), Some("http://127.0.0.1:8080"), false),
            (Some("127.0.0.1:5001"), Some("http://evil.example"), false),
            (
                Some("127.0.0.1:5001"),
                Some("http://localhost.evil.example"),
                false,
            ),
            (Some("127.0.0.1:5001"), Some("null"), false),
            (Some("evil.example:5001"), None, false),
            (Some("localhost.evil.example"), None, false),
            (Some("10.0.0.1:5001"), None, false),
            (None, None, false),
        ];
        for (host, origin, good) in table {
            let host = host.map(|host| (HOST, host));
            let origin = origin.map(|origin| (ORIGIN, origin));
            let pairs: Vec<_> = host.into_iter().chain(origin).collect();
            let found = from_this_machine(&headers(&pairs));
            assert_eq!(found.is_ok(), good, "{pairs:?}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let good = |sites: &[&str]| {
            let pairs: Vec<_> = sites.iter().map(|site| (SEC_FETCH_SITE, *site)).collect();
            from_this_site(&headers(&pairs)).is_ok()
        };
        assert!(good(&[]) && good(&["same-origin"]) && good(&["none"]));
        for sites in [
            &["cross-site"][..],
            &["same-site"],
            &[""],
            &["Same-Origin"],
            &["none", "cross-site"],
        ] {
            assert!(!good(sites), "{sites:?}");
        }
    }
}
