//! What is not well: the problems that the page Now tells, each with the page that says more.

use maud::{Markup, html};
use serde_json::Value;

use super::parts::{Tone, dead_letters, many, number, segment, short_name, with_query};
use crate::Timestamp;
use crate::admin::state::AdminState;
use crate::clock::{Clock as _, SystemClock};
use crate::ingress::SeenReport;
use crate::refused::Selection;
use crate::telemetry::{Series, Window};

/// Something that is not well, and the page that says more.
pub(super) struct Problem {
    pub(super) tone: Tone,
    text: String,
    page: String,
}

impl Problem {
    fn new(tone: Tone, text: String, page: impl Into<String>) -> Self {
        let page = page.into();
        Self { tone, text, page }
    }

    pub(super) fn show(&self) -> Markup {
        html! { a.state.(self.tone.class()) href=(self.page) { (self.text) } }
    }
}

/// Everything that is not well, the worst first.
pub(super) async fn problems(
    state: &AdminState,
    sources: &[SeenReport],
    consumers: &[Value],
    settings: &Value,
) -> Vec<Problem> {
    let (mut problems, now) = (Vec::new(), state.clock.now());
    if let Some(why) = state.ingress.not_ready() {
        let text = format!("New events are answered 503: {why}");
        problems.push(Problem::new(Tone::Bad, text, "settings"));
    }
    let outcome = settings["last_reload"]["outcome"]
        .as_str()
        .unwrap_or_default();
    if matches!(
        outcome,
        "invalid" | "restart_needed" | "half_written" | "not_ready"
    ) {
        let text = format!(
            "The settings file could not be taken: {}",
            outcome.replace('_', " ")
        );
        problems.push(Problem::new(Tone::Warn, text, "settings"));
    }
    let cluster = state.pipeline.as_ref().and_then(|all| all.cluster());
    if let Some(text) = cluster.and_then(|cluster| cluster.differ()) {
        problems.push(Problem::new(Tone::Warn, text, "settings"));
    }
    problems.extend(refusals(state).await);
    if let Some(count) = dead_letters(state).await.filter(|count| count != "0") {
        let text = format!("Dead letters: {count}");
        problems.push(Problem::new(Tone::Warn, text, "dead"));
    }
    if state.pipeline.is_some() && consumers.is_empty() {
        let text = "No handler and no subscriber: nobody gets the events".to_owned();
        problems.push(Problem::new(Tone::Warn, text, "consumers"));
    }
    problems.extend(consumers.iter().filter_map(|one| of_consumer(one, now)));
    for source in sources.iter().filter(|source| source.quiet_since.is_some()) {
        let session = source
            .session
            .as_ref()
            .map(|session| format!(", session {session}"));
        let text = format!("{}{} is quiet", source.source, session.unwrap_or_default());
        problems.push(Problem::new(Tone::Warn, text, "events"));
    }
    problems.sort_by_key(|problem| problem.tone);
    problems
}

/// What is not well with a consumer: it does not run, or is far behind.
fn of_consumer(consumer: &Value, now: Timestamp) -> Option<Problem> {
    let text = |key: &str| consumer[key].as_str().unwrap_or_default();
    let (name, word) = (text("name"), text("state"));
    let page = format!("consumers/{}", segment(name));
    let oldest = text("oldest_waiting").parse::<Timestamp>().ok();
    let age = oldest.map(|at| now.duration_since(at).as_secs());
    if matches!(word, "running" | "inactive") {
        let is_late = word == "running" && age.is_some_and(|age| age >= LONG_S);
        let minutes = many(LONG_S.unsigned_abs() / 60, "minute");
        let text = format!(
            "{} is behind: its oldest event waits for more than {minutes}",
            short_name(name)
        );
        return is_late.then(|| Problem::new(Tone::Warn, text, page));
    }
    let lag = consumer["lag"].as_u64().unwrap_or_default();
    let waiting = if lag == 0 {
        String::new()
    } else {
        format!(", {} waiting", many(lag, "event"))
    };
    let text = format!("{} is {word}{waiting}", short_name(name));
    Some(Problem::new(Tone::of(word).min(Tone::Warn), text, page))
}

/// Refused requests that could be accepted, and sources of which little else has come in the last minutes.
async fn refusals(state: &AdminState) -> Vec<Problem> {
    let mut problems = Vec::new();
    let refused = state.ingress.refused();
    refused.settle().await;
    let groups = refused.page(&Selection::default(), None, 0).groups;
    let explained = groups.iter().filter(|group| group.explained);
    let (mended, explained): (Vec<_>, Vec<_>) =
        explained.partition(|group| group.reason == Some("accepted-now"));
    for (groups, one, what) in [
        (
            mended,
            "refused request",
            "can be accepted now: verify again",
        ),
        (
            explained,
            "request",
            "refused whose sender knows the secret",
        ),
    ] {
        let count: u64 = groups.iter().map(|group| group.count).sum();
        if count > 0 {
            let text = format!("{} {what}", many(count, one));
            problems.push(Problem::new(Tone::Warn, text, "refused"));
        }
    }
    let sources = state
        .metrics
        .stats()
        .sources(Window::Hour, SystemClock.monotonic());
    for (name, [received, duplicates, refused, _]) in &sources {
        let (accepted, refused) = (last_of(received) + last_of(duplicates), last_of(refused));
        if refused > 0 && refused >= accepted {
            let text = format!(
                "{name}: {} refused and {} accepted in the last {MINUTES} minutes",
                many(refused, "request"),
                number(accepted)
            );
            let page = with_query("refused", &[("source", Some(name))]);
            problems.push(Problem::new(Tone::Warn, text, page));
        }
    }
    problems
}

/// The sum of the last minutes.
fn last_of(series: &Series) -> u64 {
    let last = series.iter().rev().take(MINUTES);
    last.map(|count| u64::from(count.unwrap_or_default())).sum()
}

/// The minutes over which refusals are compared with what was accepted.
const MINUTES: usize = 10;

/// An event that waits so many seconds is told.
const LONG_S: i64 = 300;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_consumer_that_is_behind_is_told() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let told = |state: &str, oldest: Value| {
            let one = json!({ "name": "handler:crm", "state": state, "lag": 3, "oldest_waiting": oldest });
            of_consumer(&one, now).map(|problem| (problem.tone, problem.text))
        };
        assert_eq!(told("running", json!("2026-11-27T11:55:01Z")), None);
        assert_eq!(told("running", Value::Null), None);
        assert_eq!(told("inactive", json!("2026-11-20T00:00:00Z")), None);
        let text = "crm is behind: its oldest event waits for more than 5 minutes".to_owned();
        assert_eq!(
            told("running", json!("2026-11-27T11:55:00Z")),
            Some((Tone::Warn, text))
        );
        // Nothing comes before somebody acts.
        for state in ["suspended", "ended"] {
            let text = format!("crm is {state}, 3 events waiting");
            assert_eq!(told(state, Value::Null), Some((Tone::Bad, text)));
        }
    }
}
