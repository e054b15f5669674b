//! Text in columns, for a terminal of a certain width or for a pipe.

use std::io::{self, Write};

use crate::printable::Printable;

/// Blanks between columns.
const GAP: usize = 2;
/// The last column moves to a line of its own when less than this is left for it.
const LEAST_TEXT: usize = 30;
/// How far a last column on a line of its own is indented.
const INDENT: usize = 4;

/// Rows of equally many columns, the last of which is running text.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with a heading.
    pub(crate) fn new(heading: [&str; N]) -> Self {
        Self { rows: vec![heading.map(str::to_owned)] }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: [String; N]) {
        self.rows.push(row.map(|cell| Printable(cell).to_string()));
    }

    /// Writes it. With a width, text that does not fit goes below its row; without, every row is one line.
    pub(crate) fn write(&self, out: &mut impl Write, width: Option<usize>) -> io::Result<()> {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row).take(N - 1) {
                *width = (*width).max(columns(cell));
            }
        }
        let start: usize = widths[..N - 1].iter().map(|width| width + GAP).sum();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row[..N - 1].iter().zip(widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + GAP - columns(cell)));
            }
            let text = row[N - 1].as_str();
            match width {
                Some(width) if !text.is_empty() && start + columns(text) > width => {
                    let indent = if width >= start + LEAST_TEXT { start } else { INDENT };
                    let mut lines = wrap(text, width.saturating_sub(indent).max(LEAST_TEXT)).into_iter();
                    if indent == start {
                        line.extend(lines.next());
                    }
                    writeln!(out, "{}", line.trim_end())?;
                    for rest in lines {
                        writeln!(out, "{:indent$}{rest}", "")?;
                    }
                }
                _ => {
                    line.push_str(text);
                    writeln!(out, "{}", line.trim_end())?;
                }
            }
        }
        Ok(())
    }
}

/// Characters, which is what a terminal's columns are for the names and messages printed here.
fn columns(text: &str) -> usize {
    text.chars().count()
}

/// Breaks text at blanks; a word longer than a line stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = columns(word);
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let line = lines.last_mut().expect("there is always a line");
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(width: Option<usize>) -> String {
        let mut table = Table::new(["OBJECT", "STATUS", "MESSAGE"]);
        table.push(["Gateway/a".into(), "True".into(), String::new()]);
        table.push(["Gateway/b".into(), "True".into(), String::new()]);
        table.push(["HTTPRoute/long-name".into(), "False".into(), "the Service default/nowhere does not exist".into()]);
        let mut out = Vec::new();
        table.write(&mut out, width).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_pipe_gets_a_line_for_each_row_without_trailing_blanks() {
        assert_eq!(
            written(None),
            "OBJECT               STATUS  MESSAGE\n\
             Gateway/a            True\n\
             Gateway/b            True\n\
             HTTPRoute/long-name  False   the Service default/nowhere does not exist\n"
        );
    }

    #[test]
    fn no_cell_moves_the_cursor() {
        let mut table = Table::new(["OBJECT", "MESSAGE"]);
        table.push(["Gateway/\u{1b}[1Aa".into(), "one\ntwo".into()]);
        let mut out = Vec::new();
        table.write(&mut out, Some(80)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "OBJECT              MESSAGE\nGateway/\\u{1b}[1Aa  one\\ntwo\n");
    }

    #[test]
    fn a_terminal_gets_text_beside_its_row_or_below() {
        assert!(written(Some(65)).ends_with(
            "HTTPRoute/long-name  False   the Service default/nowhere does not\n\
             \x20                            exist\n"
        ));
        assert!(written(Some(40)).ends_with("HTTPRoute/long-name  False\n    the Service default/nowhere does not\n    exist\n"));
    }
}
