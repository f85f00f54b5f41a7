//! What a subscriber's answer means for the event. A pure function of the answer's head.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::{Duration, UNIX_EPOCH};

use http::header::{HeaderValue, LOCATION, RETRY_AFTER};
use http::response::Parts;
use http::{StatusCode, Uri};
use jiff::Timestamp;
use url::Url;

use super::subscription::shown;
use crate::HandlerError;

/// Judges the answer of `target` at `uri`: 2xx is delivered, 410 and the statuses of `give_up_on` are final, and
/// everything else is tried again.
///
/// `Retry-After` counts with 429 and 503, as the standard says, and up to [`LONGEST_PAUSE`]. One that
/// cannot be parsed is ignored. The time is asked for only when it matters.
pub(super) fn judge(
    target: &dyn Display,
    uri: &Uri,
    head: &Parts,
    give_up_on: &BTreeSet<u16>,
    now: impl FnOnce() -> Timestamp,
) -> Result<(), HandlerError> {
    let status = head.status;
    if status.is_success() {
        return Ok(());
    }
    let reason = format!("POST {target}: {}", describe(uri, head));
    let pause = match status {
        StatusCode::GONE => return Err(HandlerError::reject(reason)),
        other if give_up_on.contains(&other.as_u16()) => return Err(HandlerError::reject(reason)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let asked = head.headers.get(RETRY_AFTER);
            asked.and_then(|value| pause(value, now()))
        }
        _ => None,
    };
    let Some(pause) = pause.map(|pause| pause.min(LONGEST_PAUSE)) else {
        return Err(HandlerError::retry(reason));
    };
    let reason = format!("{reason}, Retry-After {} s", pause.as_secs());
    Err(HandlerError::retry(reason).after(pause))
}

/// The status with its standard name, and where a redirect leads. The subscriber's own reason phrase could
/// be anything.
fn describe(uri: &Uri, head: &Parts) -> String {
    let status = head.status;
    let reason = status.canonical_reason().unwrap_or_default();
    let words = format!("{} {reason}", status.as_str());
    let words = words.trim_end();
    if !status.is_redirection() {
        return words.to_owned();
    }
    match leads_to(uri, head) {
        Some(place) => format!("{words} to {place}: redirects are not followed"),
        None => format!("{words}: redirects are not followed"),
    }
}

/// Where a redirect leads, without the parts that may be tokens.
fn leads_to(uri: &Uri, head: &Parts) -> Option<String> {
    let location = String::from_utf8_lossy(head.headers.get(LOCATION)?.as_bytes());
    // It may be relative.
    let place = Url::parse(&uri.to_string()).ok()?.join(&location).ok()?;
    Some(shown(&place).chars().take(MAX_PLACE).collect())
}

/// Seconds, or an HTTP date.
fn pause(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for `u64` is cut to the longest pause anyway.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    // `Timestamp` ends a day earlier than the dates of HTTP.
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(UNIX_EPOCH).ok()?;
    let now = Duration::try_from(now.duration_since(Timestamp::UNIX_EPOCH)).ok()?;
    // `None` for a date in the past, which asks for no pause.
    date.checked_sub(now)
}

/// How much of the place to which a redirect leads is shown, in characters.
const MAX_PLACE: usize = 300;

/// How many headers an answer has at most. The client takes memory for so many, for each answer.
pub(super) const MOST_HEADERS: usize = 1024;

/// How long the head of an answer is at most, in bytes.
pub(super) const LONGEST_HEAD: usize = 400 * 1024;

/// The longest pause that a subscriber can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the answer is final, and the pause that it asks for; `None` for a delivery.
    type Judged = Option<(bool, Option<Duration>)>;

    const FINAL: Judged = Some((true, None));

    fn retry(pause: Option<Duration>) -> Judged {
        Some((false, pause))
    }

    fn judged(status: u16, retry_after: Option<&str>) -> Judged {
        let mut answer = http::Response::builder().status(status);
        if let Some(text) = retry_after {
            answer = answer.header(RETRY_AFTER, text);
        }
        let (head, ()) = answer.body(()).unwrap().into_parts();
        // 1994-11-06T08:49:37Z
        let now = Timestamp::from_second(784_111_777).unwrap();
        let uri = Uri::from_static("http://crm.example/hook");
        let judged = judge(&"it", &uri, &head, &[404, 204, 410].into(), || now);
        judged.err().map(|error| (error.is_reject(), error.pause()))
    }

    #[test]
    fn each_status_has_its_judgement() {
        let retry = retry(None);
        let table = [
            (200, None),
            (204, None),
            (299, None),
            (404, FINAL),
            (410, FINAL),
            (301, retry),
            (304, retry),
            (400, retry),
            (401, retry),
            (429, retry),
            (500, retry),
            (503, retry),
            (599, retry),
            (999, retry),
        ];
        for (status, judgement) in table {
            assert_eq!(judged(status, None), judgement, "{status}");
        }
    }

    #[test]
    fn each_form_of_retry_after_is_read() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let table = [
            ("0", seconds(0)),
            ("7", seconds(7)),
            (" 7 ", seconds(7)),
            ("86400", seconds(86_400)),
            ("86401", seconds(86_400)),
            ("99999999999999999999999", seconds(86_400)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", seconds(30)),
            ("Sunday, 06-Nov-94 08:50:07 GMT", seconds(30)),
            ("Sun Nov  6 08:50:07 1994", seconds(30)),
            ("Sat, 06 Nov 2094 08:50:07 GMT", seconds(86_400)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", seconds(86_400)),
            // This date is not a Sunday.
            ("Sun, 06 Nov 2094 08:50:07 GMT", None),
            ("Sun, 06 Nov 1994 08:49:36 GMT", None),
            ("-7", None),
            ("7.5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, pause) in table {
            assert_eq!(judged(429, Some(text)), retry(pause), "{text}");
            assert_eq!(judged(503, Some(text)), retry(pause), "{text}");
            assert_eq!(judged(500, Some(text)), retry(None), "{text}");
        }
    }

    #[test]
    fn a_redirect_says_where_it_leads() {
        let table = [
            (308, None, "308 Permanent Redirect"),
            (
                308,
                Some("/hook/"),
                "308 Permanent Redirect to https://crm.example:8443/hook/",
            ),
            (
                301,
                Some("https://user:hidden@www.crm.example/a/hidden-0123456789?k=hidden#hidden"),
                "301 Moved Permanently to https://www.crm.example/a/…?…",
            ),
            (302, Some("http://[bad"), "302 Found"),
            (304, None, "304 Not Modified"),
        ];
        for (status, location, words) in table {
            let mut answer = http::Response::builder().status(status);
            if let Some(location) = location {
                answer = answer.header(LOCATION, location);
            }
            let (head, ()) = answer.body(()).unwrap().into_parts();
            let uri = Uri::from_static("https://crm.example:8443/hook?key=hidden");
            let expected = format!("{words}: redirects are not followed");
            assert_eq!(describe(&uri, &head), expected);
        }
    }
}
