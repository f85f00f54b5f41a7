//! Times as users write and read them.

use offhook::Timestamp;
use offhook::escape_controls;

/// Parses `--from` and `--to`: a time in RFC 3339, or how long before `now`.
pub(super) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let duration = humantime::parse_duration(text).ok();
    let time = duration.and_then(|duration| now.checked_sub(duration).ok());
    time.ok_or_else(|| {
        "expected a time such as 2025-01-08T12:00:00Z, or how long ago, such as 2h or 3days"
            .to_owned()
    })
}

/// A server's time in UTC, to the second, with its age. A text that is not a time stays unchanged.
pub(super) fn time_and_age(text: &str, now: Timestamp) -> String {
    match text.parse::<Timestamp>() {
        Ok(time) => format!("{time:.0} ({})", since(time, now)),
        Err(_) => escape_controls(text).into_owned(),
    }
}

/// How long ago a time of the server is.
pub(super) fn age(text: &str, now: Timestamp) -> String {
    match text.parse() {
        Ok(time) => since(time, now),
        Err(_) => escape_controls(text).into_owned(),
    }
}

fn since(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(time).as_secs();
    match seconds {
        // The server's clock may be slightly ahead.
        ..=0 => "just now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

/// The difference to an earlier time: `+12 ms`.
pub(super) fn later(time: Timestamp, than: Timestamp) -> String {
    let millis = time.duration_since(than).as_millis();
    match millis {
        ..0 => String::new(),
        0..10_000 => format!("+{millis} ms"),
        10_000..600_000 => format!("+{} s", millis / 1_000),
        600_000..36_000_000 => format!("+{} min", millis / 60_000),
        _ => format!("+{} h", millis / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2025-01-08T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn moments() {
        let table = [
            ("2025-01-08T14:30:00+02:00", "2025-01-08T12:30:00Z"),
            ("2025-01-01T00:00:00.5Z", "2025-01-01T00:00:00.5Z"),
            ("2h", "2025-01-08T10:00:00Z"),
            ("1day 30m", "2025-01-07T11:30:00Z"),
        ];
        for (text, time) in table {
            assert_eq!(moment(text, now()), Ok(time.parse().unwrap()), "{text}");
        }
        for odd in ["", "2", "yesterday", "2025-01-08", "-2h", "99999999years"] {
            assert!(moment(odd, now()).unwrap_err().contains("2h"), "{odd}");
        }
    }

    #[test]
    fn ages() {
        let table = [
            ("2025-01-08T12:00:05Z", "just now"),
            ("2025-01-08T11:59:59.5Z", "just now"),
            ("2025-01-08T11:59:01Z", "59 s ago"),
            ("2025-01-08T11:57:00Z", "3 min ago"),
            ("2025-01-08T11:00:00Z", "1 h ago"),
            ("2025-01-06T12:00:01Z", "47 h ago"),
            ("2025-01-06T12:00:00Z", "2 days ago"),
            ("some\u{1b}time", r"some\u{001b}time"),
        ];
        for (time, expected) in table {
            assert_eq!(age(time, now()), expected);
        }
        assert_eq!(
            time_and_age("2025-01-08T11:56:00.123Z", now()),
            "2025-01-08T11:56:00Z (3 min ago)"
        );
    }

    #[test]
    fn what_came_later() {
        let table = [
            ("2025-01-08T11:59:59Z", ""),
            ("2025-01-08T12:00:00.012Z", "+12 ms"),
            ("2025-01-08T12:01:00Z", "+60 s"),
            ("2025-01-08T12:30:00Z", "+30 min"),
            ("2025-01-09T12:00:00Z", "+24 h"),
        ];
        for (time, expected) in table {
            assert_eq!(later(time.parse().unwrap(), now()), expected, "{time}");
        }
    }
}
