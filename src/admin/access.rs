//! Which requests the admin listener answers.
//!
//! With a token, every path but `/health` and `/ready` needs it. Without one (loopback only), the
//! request's `Host` must be a loopback name and its `Origin`, where it has one, must be this
//! listener's own, so that no web page can use the API through a browser on this machine. In any case a
//! request that a browser says is another site's is refused
//! ([Fetch Metadata](https://www.w3.org/TR/fetch-metadata/)), except for those two.
//!
//! Mounted into an application's own `App`, the API has a listener that may be public, and a proxy may hide who
//! asks. There it answers nothing but those two without a token.

use std::net::IpAddr;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HOST, HeaderMap, HeaderName, ORIGIN};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError as _, web};

use super::error::ApiError;
use super::request::only;
use super::state::{AdminState, shows};

/// Lets a request through, or answers 401 or 403.
pub(super) async fn check_access(
    state: web::Data<AdminState>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refused = |request: ServiceRequest, error: &ApiError| {
        Ok(request.into_response(error.error_response()))
    };
    // Below the scope in which the API is mounted.
    let path = request.match_info().unprocessed();
    if let Err(error) = access(&state, path, request.headers()) {
        return refused(request, &error);
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
    let answered = next.call(request).await?.map_into_boxed_body();
    drop(turn);
    Ok(answered)
}

/// Whether the path is for all: it tells nothing, and a link from another site may lead to it.
fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/ready")
}

fn access(state: &AdminState, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    if !is_open(path) {
        from_this_site(headers)?;
    }
    match state.token.now().as_ref() {
        None if !state.is_mounted => from_this_machine(headers),
        _ if is_open(path) => Ok(()),
        None => Err(ApiError::forbidden(
            "mounted without a token, this API answers only /health and /ready; set a token (admin_token of \
             Offhook, token of [admin] in the settings)",
        )),
        Some(token) if shows(token, headers) => Ok(()),
        Some(_) => Err(ApiError::unauthorized()),
    }
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
