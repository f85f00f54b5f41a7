//! [`Table`]: rows below headings, at most as wide as the terminal.

use offhook::escape_controls;

use super::output::title;

/// Rows of `N` cells. Other commands take the first column, so it is never shortened.
pub(super) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<Row<N>>,
}

struct Row<const N: usize> {
    cells: [String; N],
    /// An extra line below the row.
    below: Option<String>,
}

impl<const N: usize> Table<N> {
    pub(super) fn new(headings: [&'static str; N]) -> Self {
        let rows = Vec::new();
        Self { headings, rows }
    }

    pub(super) fn row(&mut self, cells: [&str; N]) {
        let cells = cells.map(|cell| escape_controls(cell).into_owned());
        let below = None;
        self.rows.push(Row { cells, below });
    }

    /// Adds a row with an extra line below it.
    pub(super) fn row_with(&mut self, cells: [&str; N], below: &str) {
        self.row(cells);
        if let Some(row) = self.rows.last_mut() {
            row.below = Some(format!("  {}", escape_controls(below)));
        }
    }

    /// The whole table, for a terminal of `width` columns or for an output without a width.
    pub(super) fn text(&self, width: Option<usize>) -> String {
        let widths = self.widths(width.unwrap_or(usize::MAX));
        let mut lines = vec![title(&line(&self.headings, &widths))];
        for row in &self.rows {
            lines.push(line(&row.cells, &widths));
            lines.extend(row.below.clone());
        }
        lines.join("\n")
    }

    fn widths(&self, most: usize) -> [usize; N] {
        let mut widths = self.headings.map(str::len);
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let total = |widths: &[usize; N]| widths.iter().sum::<usize>() + GAP * (N - 1);
        while total(&widths) > most {
            let widest = widths[1..].iter_mut().max_by_key(|width| **width);
            match widest.filter(|width| **width > NARROWEST) {
                Some(width) => *width -= 1,
                None => break,
            }
        }
        widths
    }
}

fn line<const N: usize>(cells: &[impl AsRef<str>; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(*widths) {
        let mut cell = cell.as_ref().to_owned();
        if cell.chars().count() > width {
            cell = cell.chars().take(width - 1).collect();
            cell.push('…');
        }
        line += &format!("{cell:width$}{:GAP$}", "");
    }
    line.trim_end().to_owned()
}

/// The width of the terminal on standard output, if it is a terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map(|(terminal_size::Width(width), _)| width.into())
}

const GAP: usize = 2;
const NARROWEST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(width: Option<usize>) -> String {
        let mut table = Table::new(["ID", "STATE", "SESSION"]);
        table.row(["0198f9a2-1", "done", "408f7372-f7c9"]);
        table.row_with(["0198f9a2-2", "retrying", "é\n"], "the reason\u{1b}");
        anstream::adapter::strip_str(&table.text(width)).to_string()
    }

    #[test]
    fn columns_line_up() {
        let expected = "\
ID          STATE     SESSION
0198f9a2-1  done      408f7372-f7c9
0198f9a2-2  retrying  é\\n
  the reason\\u{001b}";
        assert_eq!(text(None), expected);
        assert_eq!(text(Some(80)), expected);
    }

    #[test]
    fn what_is_too_wide_is_shortened_except_the_first() {
        let text = text(Some(32));
        assert!(
            text.contains("\n0198f9a2-1  done      408f7372-…\n"),
            "{text}"
        );
        let narrow = super::tests::text(Some(1));
        assert!(narrow.contains("0198f9a2-1  done"), "{narrow}");
    }
}
