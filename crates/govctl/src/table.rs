//! Tables without lines: a head, columns as wide as their widest cell, two blanks between.

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use crate::text::tame;

/// Between two columns.
const GAP: usize = 2;

/// A cell: text, and how it looks where colours are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        Self { text: tame(text.as_ref()), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

/// What is good.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What is bad.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// What is neither, or not known.
pub(crate) const OPEN: Style = AnsiColor::Yellow.on_default();
/// Heads.
pub(crate) const HEAD: Style = Style::new().bold();

/// A table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let head = head.iter().map(|text| Cell::styled(text, HEAD)).collect();
        Self { rows: vec![head] }
    }

    /// One row without a head.
    pub(crate) fn row(row: Vec<Cell>) -> Self {
        Self { rows: vec![row] }
    }

    pub(crate) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// The whole text, a line per row, nothing behind the last cell of a line.
    pub(crate) fn text(&self, has_colour: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        let mut text = String::new();
        for row in &self.rows {
            let last = row.iter().rposition(|cell| !cell.text.is_empty()).map_or(0, |at| at + 1);
            for (index, (cell, width)) in row.iter().zip(&widths).take(last).enumerate() {
                text.push_str(&painted(&cell.text, cell.style, has_colour));
                if index + 1 < last {
                    let blanks = width.saturating_sub(cell.text.width()) + GAP;
                    text.extend(std::iter::repeat_n(' ', blanks));
                }
            }
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.text.width()).max().unwrap_or_default()
    }
}

/// The text in its colour, if colours are wanted and it has one.
pub(crate) fn painted(text: &str, style: Style, has_colour: bool) -> String {
    if has_colour && style != Style::new() && !text.is_empty() {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["A", "LONGER", "C"]);
        table.push(vec!["日本".into(), Cell::styled("x", GOOD), "".into()]);
        table.push(vec!["b".into(), "\u{1b}yy".into(), "z".into()]);
        table
    }

    #[test]
    fn columns_stand_below_one_another_whatever_the_script() {
        assert_eq!(table().text(false), "A     LONGER  C\n日本  x\nb     yy      z\n");
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let text = table().text(true);
        assert!(text.contains("日本  \u{1b}[32mx\u{1b}[0m\n"), "{text:?}");
        assert!(text.starts_with("\u{1b}[1mA\u{1b}[0m     \u{1b}[1mLONGER"), "{text:?}");
    }
}
