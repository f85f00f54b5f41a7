//! [`route`]: where an address leads.

use std::sync::Arc;

use actix_http::Uri;
use actix_web::dev::Url;

use super::Ingress;

/// Where an address leads, and what its segments name.
pub(super) struct Route<'a> {
    pub(super) ingress: &'a Ingress,
    pub(super) token: Option<String>,
    pub(super) session: Option<String>,
}

/// Where this one leads; the same as the routes that `Receiver::configure` gives to actix, by the path as
/// actix matches it.
pub(super) fn route<'a>(sources: &'a [Arc<Ingress>], uri: &Uri) -> Option<Route<'a>> {
    let decoded;
    let path = match uri.path() {
        path if path.contains('%') => {
            decoded = Url::new(uri.clone());
            decoded.path()
        }
        path => path,
    };
    let sources = || sources.iter().map(Arc::as_ref);
    let exact = sources()
        .find(|ingress| ingress.source.path_token.is_none() && ingress.source.path == path);
    if let Some(ingress) = exact {
        return Some(Route {
            ingress,
            token: None,
            session: None,
        });
    }
    let matching = sources().filter_map(|ingress| {
        let rest = path.strip_prefix(ingress.source.path.as_str())?;
        let segments: Vec<_> = rest.strip_prefix('/')?.split('/').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let (token, session) = match (&ingress.source.path_token, &segments[..]) {
            (None, [session]) => (None, Some(*session)),
            (Some(_), [token]) => (Some(*token), None),
            (Some(_), [token, session]) => (Some(*token), Some(*session)),
            _ => return None,
        };
        Some(Route {
            ingress,
            token: token.map(str::to_owned),
            session: session.map(str::to_owned),
        })
    });
    matching.max_by_key(|route| route.ingress.source.path.len())
}
