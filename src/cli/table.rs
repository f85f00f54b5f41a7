//! Lists as tables, at most as wide as the terminal, and ages as users read them.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width};
use indicatif::HumanDuration;
use offhook::{Timestamp, escape_controls};

use super::output::{self, Failure, title};

/// The cells of one row. Other commands take the first, so it is never shortened.
pub(super) struct Row<const N: usize> {
    pub(super) cells: [String; N],
    /// An extra line below the row; never shortened.
    pub(super) below: Option<String>,
}

/// Prints `rows`, or `none` to standard error if there is no row.
pub(super) fn print<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = Row<N>>,
    none: &str,
) -> Result<(), Failure> {
    let rows: Vec<_> = rows.into_iter().collect();
    if rows.is_empty() {
        output::note(none);
        return Ok(());
    }
    let size = terminal_size::terminal_size_of(std::io::stdout());
    let width = size.map(|(terminal_size::Width(width), _)| width);
    output::print(&text(headings, &rows, width))
}

/// The whole table, for a terminal of `width` columns or for an output without a width.
fn text<const N: usize>(headings: [&str; N], rows: &[Row<N>], width: Option<u16>) -> String {
    let mut table = Table::new();
    // Cells hold no control character, so none is cut between words: that would lose more of it.
    table.load_style(NOTHING).set_delimiter('\0');
    table.set_header(one_line(headings));
    for row in rows {
        let cells = row.cells.iter().map(|cell| escape_controls(cell));
        table.add_row(one_line(cells));
    }
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(width);
    }
    let widths = table.column_max_content_widths();
    for (index, column) in table.column_iter_mut().enumerate() {
        let gap = if index + 1 < N { GAP } else { 0 };
        let least = Width::Fixed(widths[index].min(NARROWEST) + gap);
        column.set_padding((0, gap));
        column.set_constraint(match index {
            0 => ColumnConstraint::ContentWidth,
            _ => ColumnConstraint::LowerBoundary(least),
        });
    }
    let mut lines = table.lines().map(|line| line.trim_end().to_owned());
    let mut text = title(&lines.next().unwrap_or_default());
    for (line, row) in lines.zip(rows) {
        text += &format!("\n{line}");
        if let Some(below) = &row.below {
            text += &format!("\n  {}", escape_controls(below));
        }
    }
    text
}

/// Cells that are shortened where they do not fit, instead of continuing below.
fn one_line(cells: impl IntoIterator<Item = impl ToString>) -> comfy_table::Row {
    let mut row = comfy_table::Row::from(cells);
    row.max_height(1);
    row
}

/// How long ago a time of the server is. A text that is not a time stays as it is.
pub(super) fn age(text: &str, now: Timestamp) -> String {
    let Ok(time) = text.parse::<Timestamp>() else {
        return text.to_owned();
    };
    let age = now.duration_since(time);
    match age.as_secs() {
        // The server's clock may be slightly ahead.
        ..=0 => "just now".to_owned(),
        _ => format!("{:#} ago", HumanDuration(age.unsigned_abs())),
    }
}

/// How long it is until a time of the server. A text that is not a time stays as it is.
pub(super) fn wait(text: &str, now: Timestamp) -> String {
    let Ok(time) = text.parse::<Timestamp>() else {
        return text.to_owned();
    };
    let wait = time.duration_since(now);
    match wait.as_secs() {
        ..=0 => "now".to_owned(),
        _ => format!("in {:#}", HumanDuration(wait.unsigned_abs())),
    }
}

const GAP: u16 = 2;
const NARROWEST: u16 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: Option<u16>) -> String {
        let row = |cells: [&str; 3], below: Option<&str>| Row {
            cells: cells.map(str::to_owned),
            below: below.map(str::to_owned),
        };
        let rows = [
            row(["0198f9a2-1", "done", "408f7372-f7c9"], None),
            row(["0198f9a2-2", "retrying", "é\n"], Some("the reason\u{1b}")),
            row(["家族のグループ", "👩‍👩‍👧 ok", "🎉 新年快乐 🎉 新年"], None),
        ];
        let text = text(["ID", "STATE", "SESSION"], &rows, width);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn columns_line_up_in_any_script() {
        let expected = "\
ID              STATE     SESSION
0198f9a2-1      done      408f7372-f7c9
0198f9a2-2      retrying  é\\n
  the reason\\u{001b}
家族のグループ  👩‍👩‍👧 ok     🎉 新年快乐 🎉 新年";
        assert_eq!(shown(None), expected);
        assert_eq!(shown(Some(80)), expected);
    }

    #[test]
    fn wide_columns_after_the_first_are_shortened() {
        let expected = "\
ID              STATE     SESSION
0198f9a2-1      done      408f737…
0198f9a2-2      retrying  é\\n
  the reason\\u{001b}
家族のグループ  👩‍👩‍👧 ok     🎉 新年…";
        assert_eq!(shown(Some(34)), expected);
        assert_eq!(shown(Some(1)), expected);
    }

    #[test]
    fn ages() {
        let table = [
            ("2025-01-08T12:00:05Z", "just now"),
            ("2025-01-08T11:59:59.5Z", "just now"),
            ("2025-01-08T11:59:01Z", "59s ago"),
            ("2025-01-08T11:57:00Z", "3m ago"),
            ("2025-01-07T12:00:00Z", "24h ago"),
            ("2025-01-03T12:00:00Z", "5d ago"),
            ("some time", "some time"),
        ];
        for (time, expected) in table {
            let now = "2025-01-08T12:00:00Z".parse().unwrap();
            assert_eq!(age(time, now), expected);
        }
    }

    #[test]
    fn waits() {
        let table = [
            ("2025-01-08T11:00:00Z", "now"),
            ("2025-01-08T12:00:00.5Z", "now"),
            ("2025-01-08T12:00:59Z", "in 59s"),
            ("2025-01-08T12:03:00Z", "in 3m"),
            ("some time", "some time"),
        ];
        for (time, expected) in table {
            let now = "2025-01-08T12:00:00Z".parse().unwrap();
            assert_eq!(wait(time, now), expected);
        }
    }
}
