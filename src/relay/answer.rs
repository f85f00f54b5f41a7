//! What a subscriber's answer means. A pure function: a status and a header in, a judgement out.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER};
use http::response::Parts;
use jiff::Timestamp;

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// 2xx: the subscriber has the event.
    Delivered,
    /// 410: the subscriber wants no more events.
    Gone,
    /// A status of `relay.give_up_on`.
    Final,
    /// Anything else: retry, after the pause that the subscriber asks for, if it asks for one.
    Retry(Option<Duration>),
}

/// Judges the head of an answer. `Retry-After` counts with 429 and 503, as the standard says, and up to
/// [`LONGEST_PAUSE`]. One that cannot be parsed is ignored. The time is asked for only when it matters.
pub(super) fn judge(
    head: &Parts,
    give_up_on: &BTreeSet<u16>,
    now: impl FnOnce() -> Timestamp,
) -> Judgement {
    match head.status {
        delivered if delivered.is_success() => Judgement::Delivered,
        StatusCode::GONE => Judgement::Gone,
        other if give_up_on.contains(&other.as_u16()) => Judgement::Final,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let asked = head.headers.get(RETRY_AFTER);
            let pause = asked.and_then(|value| pause(value, now()));
            Judgement::Retry(pause.map(|pause| pause.min(LONGEST_PAUSE)))
        }
        _ => Judgement::Retry(None),
    }
}

/// Seconds, or an HTTP date.
fn pause(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number too large for `u64` is cut to the longest pause anyway.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()?;
    // The conversion fails for a date in the past, which asks for no pause.
    Duration::try_from(date.duration_since(now)).ok()
}

/// The longest pause that a subscriber can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Judgement {
        let mut answer = http::Response::builder().status(status);
        if let Some(text) = retry_after {
            answer = answer.header(RETRY_AFTER, text);
        }
        let (head, ()) = answer.body(()).unwrap().into_parts();
        // 1994-11-06T08:49:37Z
        let now = Timestamp::from_second(784_111_777).unwrap();
        judge(&head, &[404, 204, 410].into(), || now)
    }

    #[test]
    fn each_status_has_its_judgement() {
        let retry = Judgement::Retry(None);
        let table = [
            (200, Judgement::Delivered),
            (204, Judgement::Delivered),
            (299, Judgement::Delivered),
            (404, Judgement::Final),
            (410, Judgement::Gone),
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
            // This date is not a Sunday.
            ("Sun, 06 Nov 2094 08:50:07 GMT", None),
            ("Sun, 06 Nov 1994 08:49:36 GMT", None),
            ("-7", None),
            ("7.5", None),
            ("soon", None),
            ("", None),
        ];
        for (text, pause) in table {
            assert_eq!(judged(429, Some(text)), Judgement::Retry(pause), "{text}");
            assert_eq!(judged(503, Some(text)), Judgement::Retry(pause), "{text}");
            assert_eq!(judged(500, Some(text)), Judgement::Retry(None), "{text}");
        }
    }
}
