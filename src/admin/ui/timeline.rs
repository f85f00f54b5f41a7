//! The picture of what has happened to an event: a row for each consumer, with its attempts over time.
//!
//! Attempts follow the event by milliseconds, retries by hours: the time since the receipt is shown on a
//! logarithmic scale. All places are percentages, so the picture fits every width with texts of one size.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::parts::{beginning, short_name, time};
use crate::Timestamp;
use crate::admin::event::Step;

/// The picture. The table beside it says the same.
pub(super) fn picture(steps: &[Step]) -> Markup {
    let Some(first) = steps.iter().map(|step| step.at).min() else {
        return html! {};
    };
    let scale = Scale::new(first, steps);
    let mut rows: BTreeMap<&str, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        if let Some(consumer) = &step.consumer {
            rows.entry(consumer).or_default().push(step);
        }
    }
    let shown = rows.len().min(MOST_ROWS);
    let height = (shown + 1) * ROW + AXIS;
    html! {
        svg.picture width="100%" height=(height) role="img" aria-label="The timeline as a picture; the table below says the same" {
            @for (share, label) in scale.marks() {
                line.line x1=(share) x2=(share) y1="0" y2=(height - AXIS) {}
                text x=(share) y=(height - 6) text-anchor="middle" { (label) }
            }
            text x="0" y="11" { "received, durable" }
            @for step in steps.iter().filter(|step| step.consumer.is_none()) {
                circle.plain cx=(scale.place(step.at)) cy=(TRACK) r="4" { title { (step.what) } }
            }
            @for (index, (consumer, steps)) in rows.iter().take(MOST_ROWS).enumerate() {
                g transform={ "translate(0 " ((index + 1) * ROW) ")" } { (row(consumer, steps, &scale)) }
            }
        }
        @if rows.len() > MOST_ROWS { p.quiet { "And " (rows.len() - MOST_ROWS) " more consumers." } }
    }
}

/// The attempts of one consumer: a line from the first to the last, a mark for each.
fn row(consumer: &str, steps: &[&Step], scale: &Scale) -> Markup {
    let times = || steps.iter().map(|step| step.at);
    let (from, to) = (times().min(), times().max());
    html! {
        text x="0" y="11" { (short_name(consumer)) }
        @if let (Some(from), Some(to)) = (from, to) {
            line.wait x1=(scale.place(from)) x2=(scale.place(to)) y1=(TRACK) y2=(TRACK) {}
        }
        @for step in steps {
            @if step.what == "dead" {
                svg.mark x=(scale.place(step.at)) y=(TRACK) overflow="visible" {
                    path.cross d="M-5-5L5 5M-5 5L5-5" {}
                    title { "given up" }
                }
            } @else {
                rect.(class_of(step)) x=(scale.place(step.at)) y=(TRACK - 6) width="4" height="12" {
                    title { "attempt " (step.attempt.unwrap_or_default()) ": " (step.outcome.as_deref().unwrap_or_default()) }
                }
            }
        }
    }
}

fn class_of(step: &Step) -> &'static str {
    match step.outcome.as_deref() {
        Some("done" | "delivered") => "good",
        Some("skipped" | "superseded") => "soft",
        Some(_) if step.what == "attempt" => "warn",
        _ => "soft",
    }
}

/// Where a time is, in percent of the width.
struct Scale {
    first: Timestamp,
    /// The logarithm of the longest time since the receipt, in milliseconds.
    most: f64,
}

impl Scale {
    fn new(first: Timestamp, steps: &[Step]) -> Self {
        let last = steps.iter().map(|step| step.at).max().unwrap_or(first);
        let most = logarithm(millis(first, last)).max(1.0);
        Self { first, most }
    }

    fn share(&self, millis: f64) -> String {
        // Marks at the ends are still whole.
        let percent = 2.0 + 94.0 * logarithm(millis) / self.most;
        format!("{percent:.2}%")
    }

    fn place(&self, at: Timestamp) -> String {
        self.share(millis(self.first, at))
    }

    /// The marks of the axis that are within the picture.
    fn marks(&self) -> Vec<(String, &'static str)> {
        let within = MARKS
            .iter()
            .filter(|(millis, _)| logarithm(*millis) <= self.most);
        let all: Vec<_> = within
            .map(|(millis, label)| (self.share(*millis), *label))
            .collect();
        // At most six, the last of them always: more would stand on each other.
        let step = all.len().div_ceil(6).max(1);
        let skipped = (all.len() + step - 1) % step;
        all.into_iter().skip(skipped).step_by(step).collect()
    }
}

/// How long after the receipt something was.
fn after(millis: f64) -> String {
    match millis {
        0.0 => "0".to_owned(),
        ..1000.0 => format!("{millis:.1} ms"),
        ..60_000.0 => format!("{:.1} s", millis / 1000.0),
        ..3_600_000.0 => format!("{:.0} min", millis / 60_000.0),
        ..172_800_000.0 => format!("{:.1} h", millis / 3_600_000.0),
        _ => format!("{:.1} d", millis / 86_400_000.0),
    }
}

fn millis(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0) * 1000.0
}

fn logarithm(millis: f64) -> f64 {
    (1.0 + millis).ln()
}

/// The same as a table.
pub(super) fn table(steps: &[Step]) -> Markup {
    let first = steps.iter().map(|step| step.at).min().unwrap_or_default();
    let mut left = MOST_ANSWERS;
    // The newest say most.
    let mut answers: Vec<Option<&str>> = steps
        .iter()
        .take(MOST_STEPS)
        .map(|step| step.answer.as_deref())
        .collect();
    for answer in answers.iter_mut().rev() {
        match answer.map(str::len) {
            Some(length) if length <= left => left -= length,
            Some(_) => *answer = Some("(left out here; offhook events ID has it)"),
            None => {}
        }
    }
    html! {
        table {
            caption.unseen { "The timeline" }
            thead { tr {
                th scope="col" { "Time" } th.number scope="col" { "After" } th scope="col" { "What" } th scope="col" { "Consumer" }
                th scope="col" { "Outcome" } th.number.wide-only scope="col" { "Took" }
            } }
            tbody {
                @for (step, answer) in steps.iter().zip(answers) {
                    tr {
                        td { (time(step.at)) }
                        td.number { (after(millis(first, step.at))) }
                        td.short { (step.what) @if let Some(attempt) = step.attempt { " " small { @if step.what == "dead" { "after " } (attempt) } } }
                        td { @if let Some(consumer) = &step.consumer { (super::parts::consumer_link(consumer)) } }
                        td {
                            @if let Some(outcome) = &step.outcome { (beginning(outcome, 300)) }
                            @if let Some(answer) = answer { pre.wrap { (answer) } }
                        }
                        td.number.wide-only { @if let Some(took) = step.took_ms { (took) " ms" } }
                    }
                }
            }
        }
        @if steps.len() > MOST_STEPS { p.quiet { "And " (steps.len() - MOST_STEPS) " more; `offhook events ID` shows all." } }
    }
}

const ROW: usize = 38;
const AXIS: usize = 22;
/// Where the middle of a row's track is, below its text.
const TRACK: usize = 24;
const MOST_ROWS: usize = 20;
const MOST_STEPS: usize = 100;

/// So many bytes of answers are shown, since a page has at most 256 KiB; `offhook events ID` shows all.
const MOST_ANSWERS: usize = 10 * 1024;

const MARKS: [(f64, &str); 13] = [
    (0.0, "0"),
    (1.0, "1 ms"),
    (10.0, "10 ms"),
    (100.0, "0.1 s"),
    (1e3, "1 s"),
    (1e4, "10 s"),
    (6e4, "1 min"),
    (6e5, "10 min"),
    (3.6e6, "1 h"),
    (1.8e7, "5 h"),
    (8.64e7, "1 d"),
    (2.592e8, "3 d"),
    (6.048e8, "7 d"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    /// A page has at most 256 KiB, so the oldest of very many are left out, and that is said.
    #[test]
    fn answers_are_shown_within_a_bound() {
        let steps = |length: usize| {
            let step = |second| Step {
                answer: Some("x".repeat(length)),
                ..Step::for_tests(at(second))
            };
            (0..60).map(step).collect::<Vec<_>>()
        };
        let shown = table(&steps(100)).into_string();
        assert_eq!(shown.matches("<pre").count(), 60);
        assert!(!shown.contains("left out here"), "{shown}");
        let shown = table(&steps(512)).into_string();
        assert_eq!(shown.matches("left out here").count(), 40, "{shown}");
    }

    #[test]
    fn places_are_in_order_and_within() {
        let steps = [Step::for_tests(at(0)), Step::for_tests(at(3_600_000))];
        let scale = Scale::new(at(0), &steps);
        let places: Vec<f64> = [0, 1, 50, 2_000, 3_600_000]
            .map(|millis| {
                scale
                    .place(at(millis))
                    .trim_end_matches('%')
                    .parse()
                    .unwrap()
            })
            .to_vec();
        assert!(
            places.is_sorted() && places[0] == 2.0 && places[4] == 96.0,
            "{places:?}"
        );
        let marks = scale.marks();
        assert!(marks.len() <= 6, "{marks:?}");
        assert_eq!(marks.last().unwrap().1, "1 h");
    }
}
