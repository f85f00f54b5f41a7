//! Numbers of the last minutes as bars: one for each minute, its parts above each other.

use maud::{Markup, html};

use super::parts::number;
use crate::telemetry::Series;

/// A row of numbers, oldest first: what they count, and the class of its colour. `None` is before the start.
pub(super) struct Row<'a> {
    pub(super) name: &'a str,
    pub(super) class: &'a str,
    pub(super) numbers: &'a Series,
    /// What it is now, for a number that is no sum.
    pub(super) now: Option<u64>,
}

impl Row<'_> {
    fn at(&self, step: usize) -> u64 {
        let known = self.numbers.get(step).copied().flatten();
        let known = known.map_or(0, u64::from);
        match self.now {
            Some(now) if step + 1 == self.numbers.len() => known.max(now),
            _ => known,
        }
    }

    fn total(&self) -> u64 {
        (0..self.numbers.len()).map(|step| self.at(step)).sum()
    }
}

/// A picture of rows of numbers.
pub(super) fn bars(rows: &[Row<'_>]) -> Markup {
    let steps = rows
        .iter()
        .map(|row| row.numbers.len())
        .max()
        .unwrap_or_default();
    let of_all = |step| rows.iter().map(|row| row.at(step)).sum::<u64>();
    let highest = (0..steps).map(of_all).max().unwrap_or_default();
    let is_sum = rows.iter().all(|row| row.now.is_none());
    let words: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {}",
                row.name,
                number(row.now.unwrap_or_else(|| row.total()))
            )
        })
        .collect();
    let width = 100.0 / steps.max(1) as f64;
    html! {
        figure {
            figcaption {
                @for (row, words) in rows.iter().zip(&words) { i.key.(row.class) {} (words) " " }
                small { "up to " (number(highest)) @if is_sum { " a minute" } }
            }
            svg width="100%" height=(HEIGHT + 2.0) role="img" aria-label={ "In each minute of the last hour: " (words.join(", ")) } {
                line.line x1="0" x2="100%" y1=(HEIGHT + 1.0) y2=(HEIGHT + 1.0) {}
                @for step in 0..steps {
                    @for (class, y, height) in column(rows, step, highest) {
                        rect.(class) x=(format!("{:.2}%", width * step as f64)) width=(format!("{:.2}%", width * 0.8))
                            y=(format!("{y:.1}")) height=(format!("{height:.1}")) {}
                    }
                }
            }
            small aria-hidden="true" { span { "an hour ago" } span { "now" } }
        }
    }
}

/// The parts of one bar, from below: class, top, height.
fn column<'a>(rows: &[Row<'a>], step: usize, highest: u64) -> Vec<(&'a str, f64, f64)> {
    let mut top = HEIGHT;
    let parts = rows.iter().filter(|row| row.at(step) > 0).map(|row| {
        // One of many is still seen.
        let height = (row.at(step) as f64 * HEIGHT / highest.max(1) as f64).max(1.0);
        top -= height;
        (row.class, top, height)
    });
    parts.collect()
}

/// In pixels.
const HEIGHT: f64 = 56.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_above_each_other() {
        let (good, bad) = (vec![None, Some(3), Some(0)], vec![None, Some(1), Some(2)]);
        let row = |class, numbers| Row {
            name: "x",
            class,
            numbers,
            now: None,
        };
        let rows = [row("good", &good), row("bad", &bad)];
        assert_eq!(column(&rows, 0, 4), []);
        assert_eq!(
            column(&rows, 1, 4),
            [("good", 14.0, 42.0), ("bad", 0.0, 14.0)]
        );
        assert_eq!(column(&rows, 2, 4), [("bad", 28.0, 28.0)]);
        let shown = bars(&rows).into_string();
        assert!(shown.contains("up to 4 a minute"), "{shown}");
        assert!(
            shown.contains("In each minute of the last hour: x 3, x 3"),
            "{shown}"
        );
        assert_eq!(shown.matches("<rect").count(), 3);
        // What is there now counts, also where no attempt has ended since.
        let waits = Row {
            now: Some(6),
            ..row("good", &good)
        };
        let shown = bars(&[waits]).into_string();
        assert!(shown.contains("x 6 <small>up to 6</small>"), "{shown}");
    }
}
