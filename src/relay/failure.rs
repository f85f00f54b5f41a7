//! Says why there was no answer, in a few words that a user can act on.

use std::error::Error;
use std::time::Duration;
use std::{io, iter};

use hyper_util::client::legacy;
use rustls::InvalidMessage;

use super::answer::{LONGEST_HEAD, MOST_HEADERS};
use super::guard::RejectedAddress;

/// What happened to an attempt that may take `timeout`, without the URL, which may hold a token.
pub(super) fn describe(error: &legacy::Error, timeout: Duration) -> String {
    if !is_timeout(error) {
        innermost(error)
    } else if error.is_connect() {
        format!("no connection within {:?}", connection_limit(timeout))
    } else {
        no_answer(timeout)
    }
}

/// The time of the attempt is over.
pub(super) fn no_answer(timeout: Duration) -> String {
    format!("no answer within {timeout:?}")
}

/// How long resolving the host, connecting and TLS may take: three quarters of an attempt, so that an
/// error can say whether the connection or the answer was missing.
pub(super) fn connection_limit(timeout: Duration) -> Duration {
    timeout.mul_f64(0.75)
}

/// The first cause that helps a user, or the innermost one. The others only name the library that
/// noticed the error.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    let innermost = || causes(error).last().map(ToString::to_string);
    causes(error)
        .find_map(known)
        .or_else(innermost)
        .unwrap_or_else(|| "the request failed".to_owned())
}

/// Whether the subscriber says that it has not processed the request, so that it may be sent again
/// immediately. HTTP/2 can say so when a connection ends or has too many requests.
pub(super) fn is_unprocessed(error: &legacy::Error) -> bool {
    causes(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|error| {
            let ending = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            error.is_remote() && (ending || refused)
        })
}

/// Whether a connection was not made in time, or an HTTP/2 connection did not answer a ping.
pub(super) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
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
    if let Some(rejected) = cause.downcast_ref::<RejectedAddress>() {
        return Some(rejected.to_string());
    }
    if let Some(error) = cause.downcast_ref::<rustls::Error>() {
        return Some(match error {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                "TLS: the answer is no TLS; does the port want http://?".to_owned()
            }
            error => format!("TLS: {error}"),
        });
    }
    // `is_parse_too_large` is only there for servers.
    let hyper = cause.downcast_ref::<hyper::Error>();
    if hyper.is_some_and(|error| error.is_parse() && error.to_string() == TOO_LARGE) {
        return Some(format!(
            "the answer's head has more than {MOST_HEADERS} headers or {} KiB",
            LONGEST_HEAD / 1024
        ));
    }
    if hyper.is_some_and(hyper::Error::is_parse) {
        return Some(format!("the answer is no HTTP: {cause}"));
    }
    let io = cause.downcast_ref::<io::Error>()?;
    match io.get_ref() {
        Some(inner) => known(inner),
        None => Some(io.kind().to_string()),
    }
}

/// How hyper says that a head is too large.
const TOO_LARGE: &str = "message head is too large";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_tls_is_told() {
        let plain = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert!(innermost(&plain).ends_with("does the port want http://?"));
        let other = rustls::Error::DecryptError;
        assert!(innermost(&other).starts_with("TLS: "));
    }
}
