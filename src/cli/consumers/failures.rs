//! The newest failed attempts of a consumer, as `offhook consumers show` prints them.

use offhook::Timestamp;
use serde::Deserialize;

use super::super::table::{Row, age, wait};

/// An attempt that has failed.
#[derive(Deserialize)]
pub(super) struct Failed {
    at: String,
    event: String,
    attempt: u32,
    outcome: String,
    /// `None` for a dead letter.
    next_at: Option<String>,
}

impl Failed {
    pub(super) fn row(self, now: Timestamp) -> Row<4> {
        let next = self.next_at.as_deref();
        let cells = [
            age(&self.at, now),
            self.event,
            self.attempt.to_string(),
            next.map_or("dead letter".to_owned(), |at| wait(at, now)),
        ];
        Row {
            cells,
            below: Some(self.outcome),
        }
    }
}

pub(super) const HEADINGS: [&str; 4] = ["FAILED", "EVENT", "ATTEMPT", "NEXT TRY"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failure_is_a_row() {
        let row = |next_at: Option<&str>| {
            let failed = json!({
                "at": "2025-01-08T11:57:00Z", "event": "0198f9a2", "attempt": 4,
                "outcome": "no answer", "next_at": next_at,
            });
            let failed: Failed = serde_json::from_value(failed).unwrap();
            failed.row("2025-01-08T12:00:00Z".parse().unwrap())
        };
        let waits = row(Some("2025-01-08T12:00:30Z"));
        assert_eq!(waits.cells, ["3m ago", "0198f9a2", "4", "in 30s"]);
        assert_eq!(waits.below.as_deref(), Some("no answer"));
        assert_eq!(row(None).cells[3], "dead letter");
    }
}
