//! What a replay would do, as a dry run answers it: shown to a person, and read from a file to do it.

use bytesize::ByteSize;
use offhook::escape_controls;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cli::input::read_body;
use crate::cli::output::{self, Failure, counted, fact};

/// A request for exactly what was shown.
#[derive(Serialize)]
pub(super) struct Planned {
    plan: Value,
    expected: u64,
}

impl Planned {
    /// Reads what `--dry-run --json` has printed.
    pub(super) fn read(file: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            plan: Value,
            matched: u64,
        }
        let text = read_body(file)?;
        let answer: Answer = serde_json::from_slice(&text).map_err(|error| {
            Failure::usage(format!(
                "{file}: {error}\nExpected what `offhook replay … --dry-run --json` prints."
            ))
        })?;
        Ok(Self {
            plan: answer.plan,
            expected: answer.matched,
        })
    }
}

/// What a dry run says beside the number.
#[derive(Deserialize)]
pub(super) struct Preview {
    oldest: Option<String>,
    newest: Option<String>,
    bytes: u64,
    conversations: Option<u64>,
    done: u64,
    pending: u64,
    dead: u64,
    takes_s: Option<u64>,
    by_consumer: Vec<Gets>,
    #[serde(default)]
    more_consumers: u64,
    expires_at: String,
}

#[derive(Deserialize)]
struct Gets {
    name: String,
    would_get: u64,
}

impl Preview {
    pub(super) fn print(&self) -> Result<(), Failure> {
        for (name, value) in self.facts() {
            output::print(&fact(name, &value))?;
        }
        for one in &self.by_consumer {
            let wants = counted(one.would_get, "event");
            output::print(&format!("  {} wants {wants}", escape_controls(&one.name)))?;
        }
        if self.more_consumers > 0 {
            output::print(&format!(
                "  and {}",
                counted(self.more_consumers, "more consumer")
            ))?;
        }
        output::note(&format!(
            "To replay exactly this until {}: --dry-run --json > plan.json, then offhook replay --plan plan.json",
            escape_controls(&self.expires_at)
        ));
        Ok(())
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        if let (Some(oldest), Some(newest)) = (&self.oldest, &self.newest) {
            facts.push(("received", format!("{oldest} to {newest}")));
        }
        facts.push(("size", ByteSize::b(self.bytes).display().iec().to_string()));
        if let Some(count) = self.conversations {
            facts.push(("of", counted(count, "conversation")));
        }
        let (done, pending, dead) = (self.done, self.pending, self.dead);
        facts.push((
            "now",
            format!("{done} done, {pending} pending, {dead} dead"),
        ));
        if let Some(seconds) = self.takes_s {
            facts.push(("takes", counted(seconds, "second")));
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_say_what_is_known() {
        let answer = serde_json::json!({
            "oldest": "a", "newest": "b", "bytes": 2048, "conversations": null, "done": 2, "pending": 1, "dead": 0,
            "takes_s": 31, "by_consumer": [], "expires_at": "c",
        });
        let preview: Preview = serde_json::from_value(answer).unwrap();
        let facts = preview.facts();
        let facts: Vec<_> = facts
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let expected = [
            "received a to b",
            "size 2.0 KiB",
            "now 2 done, 1 pending, 0 dead",
            "takes 31 seconds",
        ];
        assert_eq!(facts, expected);
    }
}
