//! Why there was no answer, in a few words that a user can act on.

use std::error::Error;
use std::io;

use super::client::TimeLimits;
use super::guard::Refusal;

/// What happened; never the URL, which may hold a token.
pub(super) fn in_words(error: &reqwest::Error, limits: TimeLimits) -> String {
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => return format!("no connection within {:?}", limits.connection),
        (true, false) => return format!("no answer within {:?}", limits.attempt),
        (false, _) => {}
    }
    innermost(error)
}

/// The first cause that is known, else the innermost: the rest tells only which library noticed.
pub(super) fn innermost(error: &reqwest::Error) -> String {
    let mut words = None;
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(known) = known(cause) {
            return known;
        }
        words = Some(cause.to_string());
        next = cause.source();
    }
    words.unwrap_or_else(|| "the request failed".to_owned())
}

fn known(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(refusal) = cause.downcast_ref::<Refusal>() {
        return Some(refusal.to_string());
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(format!("TLS: {error}"));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    match io.get_ref() {
        Some(inner) => known(inner),
        None => Some(io.kind().to_string()),
    }
}
