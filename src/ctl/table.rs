//! Aligned tables, cut to the terminal's width. Pure.

use unicode_width::UnicodeWidthStr as _;

use super::screen::{Tone, ellipsize, pad, tint};

/// A table: the last column takes what is left.
#[derive(Debug, Default)]
pub(super) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
    numbers: Vec<usize>,
}

impl Table {
    /// With these column heads.
    pub(super) fn new(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|text| (*text).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// With these columns aligned to the right.
    pub(super) fn numbers(mut self, columns: &[usize]) -> Self {
        self.numbers = columns.to_vec();
        self
    }

    /// One row more.
    pub(super) fn row(&mut self, cells: Vec<(String, Tone)>) {
        self.rows.push(cells);
    }

    /// The text, each line ended.
    pub(super) fn render(&self, width: Option<usize>, colour: bool) -> String {
        let columns = self.head.len();
        let mut widths: Vec<usize> = self.head.iter().map(|head| head.width()).collect();
        for row in &self.rows {
            for (column, (cell, _)) in row.iter().enumerate().take(columns) {
                widths[column] = widths[column].max(cell.width());
            }
        }
        if let (Some(total), Some(last)) = (width, columns.checked_sub(1)) {
            // First the last column gives way, down to its head; then the first (names).
            let gaps = last;
            let others: usize = widths[..last].iter().sum();
            widths[last] = total.saturating_sub(others + gaps).clamp(
                self.head[last].width().max(8).min(widths[last]),
                widths[last],
            );
            let over = (others + gaps + widths[last]).saturating_sub(total);
            widths[0] = widths[0].saturating_sub(over).max(12.min(widths[0]));
        }
        let mut out = String::new();
        let head: Vec<_> = self
            .head
            .iter()
            .map(|text| (text.clone(), Tone::Strong))
            .collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, tone)) in row.iter().enumerate().take(columns) {
                if column > 0 {
                    line.push(' ');
                }
                let cell = ellipsize(cell, widths[column]);
                let missing = widths[column].saturating_sub(cell.width());
                if self.numbers.contains(&column) {
                    line.push_str(&" ".repeat(missing));
                    line.push_str(&tint(colour, *tone, &cell));
                } else if column + 1 == columns {
                    line.push_str(&tint(colour, *tone, &cell));
                } else {
                    line.push_str(&tint(colour, *tone, &cell));
                    line.push_str(&pad("", missing));
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["UNIT", "N", "DESCRIPTION"]).numbers(&[1]);
        let cell = |text: &str| (text.to_owned(), Tone::Plain);
        table.row(vec![
            cell("テスト.agent"),
            cell("7"),
            cell("Keeps the tests green"),
        ]);
        table.row(vec![cell("a.service"), cell("120"), cell("")]);
        table
    }

    #[test]
    fn aligns_by_columns() {
        insta::assert_snapshot!(table().render(None, false), @r"
        UNIT           N DESCRIPTION
        テスト.agent   7 Keeps the tests green
        a.service    120
        ");
    }

    #[test]
    fn cuts_what_does_not_fit() {
        insta::assert_snapshot!(table().render(Some(30), false), @r"
        UNIT           N DESCRIPTION
        テスト.agent   7 Keeps the te…
        a.service    120
        ");
    }
}
