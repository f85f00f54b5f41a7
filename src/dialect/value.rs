//! Reads one value from its JSON text: an unreadable value is `None`, never an error.

use jiff::Timestamp;

use super::object;

/// A time: RFC 3339, or a number (also as a string) of seconds, milliseconds or microseconds since 1970,
/// distinguished by magnitude.
pub(super) fn timestamp(json: &str) -> Option<Timestamp> {
    match object::string(json) {
        Some(text) => rfc3339(&text).or_else(|| unix(&text)),
        None => unix(json),
    }
}

/// [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339#section-5.6), with its offset: a local time does
/// not identify an instant.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let digits = text.as_bytes();
    let shaped = digits.len() >= 20 && digits[4] == b'-' && digits[7] == b'-';
    shaped.then(|| text.parse().ok()).flatten()
}

fn unix(text: &str) -> Option<Timestamp> {
    // Only numbers as JSON defines them: not "inf", "nan" or "+1".
    text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
        .then_some(())?;
    if let Ok(whole) = text.parse::<i64>() {
        return match whole.unsigned_abs() {
            0..SECONDS_END => Timestamp::from_second(whole).ok(),
            SECONDS_END..MILLIS_END => Timestamp::from_millisecond(whole).ok(),
            MILLIS_END..MICROS_END => Timestamp::from_microsecond(whole).ok(),
            MICROS_END.. => None,
        };
    }
    let number: f64 = text.parse().ok()?;
    let micros = match number.abs() {
        magnitude if magnitude < SECONDS_END as f64 => number * 1e6,
        magnitude if magnitude < MILLIS_END as f64 => number * 1e3,
        magnitude if magnitude < MICROS_END as f64 => number,
        _ => return None,
    };
    // In range: the magnitudes above are far below 2^63.
    Timestamp::from_microsecond(micros.round() as i64).ok()
}

// Seconds reach the year 5138, milliseconds begin in 1973, microseconds likewise.
const SECONDS_END: u64 = 100_000_000_000;
const MILLIS_END: u64 = SECONDS_END * 1000;
const MICROS_END: u64 = MILLIS_END * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_can_be_read() {
        let table = [
            (r#""2025-01-08T12:00:00.000Z""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08T12:00:00Z""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08T15:00:00.000+03:00""#, "2025-01-08T12:00:00Z"),
            (r#""2025-01-08t12:00:00.25z""#, "2025-01-08T12:00:00.25Z"),
            ("1736337600", "2025-01-08T12:00:00Z"),
            (r#""1736337600""#, "2025-01-08T12:00:00Z"),
            ("1736337600000", "2025-01-08T12:00:00Z"),
            (r#""1736337600000""#, "2025-01-08T12:00:00Z"),
            ("1736337600000000", "2025-01-08T12:00:00Z"),
            ("1736337600.5", "2025-01-08T12:00:00.5Z"),
            ("1.7363376e9", "2025-01-08T12:00:00Z"),
            ("1736337600000.25", "2025-01-08T12:00:00.00025Z"),
            ("0", "1970-01-01T00:00:00Z"),
            ("-1", "1969-12-31T23:59:59Z"),
        ];
        for (json, expected) in table {
            let read = timestamp(json).map(|time| time.to_string());
            assert_eq!(read.as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn times_that_cannot() {
        let table = [
            r#""not-a-date""#,
            r#""""#,
            r#""2025-01-08""#,
            r#""2025-01-08T12:00:00""#,
            r#""2025-13-08T12:00:00Z""#,
            r#""12:00:00""#,
            r#""inf""#,
            r#""+1""#,
            "1e300",
            "99999999999999999999",
            "999999999999999999",
            "null",
            "true",
            "[1736337600]",
            "{}",
        ];
        for json in table {
            assert_eq!(timestamp(json), None, "{json}");
        }
    }
}
