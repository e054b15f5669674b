//! Rows and columns to be sorted, filtered and drawn.

use std::cmp::Ordering;

use super::width;
use crate::printable::Printable;

/// Blanks between columns.
const GAP: usize = 2;

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Grid {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Its numbers stand below each other.
    pub(super) is_number: bool,
}

/// A column of texts.
pub(super) const fn text(name: &'static str) -> Column {
    Column { name, is_number: false }
}

/// A column of numbers.
pub(super) const fn number(name: &'static str) -> Column {
    Column { name, is_number: true }
}

/// A cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Key of its order, where that is a number.
    value: Option<f64>,
    pub(super) tone: Tone,
}

/// Meaning of a cell, which colour shows beside its words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self { text: Printable(text.into()).to_string(), ..Self::default() }
    }

    /// A number with so many decimals.
    pub(super) fn number(value: f64, decimals: usize) -> Self {
        Self { text: format!("{value:.decimals$}"), value: Some(value), tone: Tone::Plain }
    }

    /// A whole number.
    pub(super) fn count(value: u64) -> Self {
        Self::number(value as f64, 0)
    }

    /// A number, or a dash where nothing is known.
    pub(super) fn perhaps(value: Option<f64>, decimals: usize) -> Self {
        value.map_or_else(|| Self { value: Some(-1.0), ..Self::text("-") }, |value| Self::number(value, decimals))
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    fn compare(&self, other: &Self) -> Ordering {
        match (self.value, other.value) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            _ => self.text.cmp(&other.text),
        }
    }
}

impl Grid {
    /// Keeps the rows with this text in a cell, whatever the case.
    pub(super) fn filter(&mut self, text: &str) {
        let wanted = text.to_lowercase();
        self.rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
    }

    /// Sorts by a column. Rows that are the same there keep their order.
    pub(super) fn sort(&mut self, column: usize, is_descending: bool) {
        self.rows.sort_by(|one, other| {
            let order = match (one.get(column), other.get(column)) {
                (Some(one), Some(other)) => one.compare(other),
                _ => Ordering::Equal,
            };
            if is_descending { order.reverse() } else { order }
        });
    }

    /// Widths of the columns in these rows.
    fn widths(&self, rows: &[Vec<Cell>]) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.name.len() + 1).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(width::of(&cell.text));
            }
        }
        widths
    }

    /// The heading, and these rows as cells that are as wide as their columns.
    pub(super) fn aligned(&self, rows: &[Vec<Cell>], sorted: Option<(usize, bool)>) -> (String, Vec<Vec<(String, Tone)>>) {
        let widths = self.widths(rows);
        let names = self.columns.iter().enumerate().map(|(at, column)| {
            let mark = match sorted {
                Some((column, true)) if column == at => "↓",
                Some((column, false)) if column == at => "↑",
                _ => "",
            };
            pad(&format!("{}{mark}", column.name), widths[at], column.is_number)
        });
        let cells = |row: &Vec<Cell>| {
            let cells = row.iter().zip(self.columns).zip(&widths);
            cells.map(|((cell, column), width)| (pad(&cell.text, *width, column.is_number), cell.tone)).collect()
        };
        (names.collect(), rows.iter().map(cells).collect())
    }

    /// Lines for a pipe.
    pub(super) fn plain(&self) -> Vec<String> {
        let (heading, rows) = self.aligned(&self.rows, None);
        std::iter::once(heading).chain(rows.into_iter().map(|row| row.into_iter().map(|(text, _)| text).collect())).collect()
    }
}

fn pad(text: &str, width: usize, is_number: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(width::of(text)));
    let gap = " ".repeat(GAP);
    if is_number { format!("{blanks}{text}{gap}") } else { format!("{text}{blanks}{gap}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[text("NAME"), number("COUNT")];

    fn grid() -> Grid {
        let row = |name: &str, count| vec![Cell::text(name), Cell::count(count)];
        Grid { columns: COLUMNS, rows: vec![row("b", 9), row("a\u{1b}[2J", 10), row("c", 1)] }
    }

    #[test]
    fn numbers_are_sorted_as_numbers_and_no_cell_moves_the_cursor() {
        let mut grid = grid();
        grid.sort(1, true);
        assert_eq!(grid.plain(), ["NAME         COUNT  ", "a\\u{1b}[2J      10  ", "b                9  ", "c                1  "]);
        grid.sort(0, false);
        assert_eq!(grid.rows[0][1].text, "10");
    }

    #[test]
    fn columns_stand_below_each_other_whatever_the_script() {
        let row = |name: &str| vec![Cell::text(name), Cell::count(7)];
        let grid = Grid { columns: COLUMNS, rows: vec![row("模型-模型"), row("a")] };
        assert_eq!(grid.plain()[1..], ["模型-模型       7  ", "a               7  "]);
    }

    #[test]
    fn a_filter_finds_text_in_any_cell() {
        let mut found = grid();
        found.filter("B");
        assert_eq!(found.rows.len(), 2, "b, and the escape");
        found.filter("9");
        assert_eq!(found.rows.len(), 1);
    }
}
