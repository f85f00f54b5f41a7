//! Why there was no answer, in a few words that a user can act on.

use std::error::Error;
use std::{io, iter};

use hyper_util::client::legacy;

use super::client::TimeLimits;
use super::guard::Refusal;

/// What happened; never the URL, which may hold a token.
pub(super) fn in_words(error: &legacy::Error, limits: TimeLimits) -> String {
    match (is_timeout(error), error.is_connect()) {
        (true, true) => format!("no connection within {:?}", limits.connection),
        (true, false) => no_answer(limits),
        (false, _) => innermost(error),
    }
}

/// That the attempt's time is over.
pub(super) fn no_answer(limits: TimeLimits) -> String {
    format!("no answer within {:?}", limits.attempt)
}

/// The first cause that is known, else the innermost: the rest tells only which library noticed.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut words = None;
    for cause in causes(error) {
        if let Some(known) = known(cause) {
            return known;
        }
        words = Some(cause.to_string());
    }
    words.unwrap_or_else(|| "the request failed".to_owned())
}

/// Whether the other side says that it has not looked at the request, so that it may be sent again
/// at once: HTTP/2 does, where a connection comes to its end or has too many requests.
pub(super) fn is_untouched(error: &legacy::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| {
            let ending = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            error.is_remote() && (ending || refused)
        })
}

/// A connection that was not made in time is one of these, and so is a silence on one of HTTP/2.
pub(crate) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        let hyper = cause.downcast_ref::<hyper::Error>();
        io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
            || hyper.is_some_and(hyper::Error::is_timeout)
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
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
