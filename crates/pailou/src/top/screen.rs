//! The screen as lines: a bar of views, the process, rows, and a line at the foot.

use super::{
    grid::{Cell, Grid, Tone},
    view::{Display, Overlay, View},
    width::{self, cut},
};
use crate::printable::Printable;

const HELP: [&str; 12] = [
    "1 … 6        Now, Routes, Pools, Models, Requests, Limits",
    "Tab, ← →     the next view, the one before",
    "/            filter rows by a text; Enter keeps it, Esc clears it",
    "s, S         sort by the next column; turn the order",
    "j k ↓ ↑      move; PgDn, PgUp, g, G",
    "Enter        the receipt of a request",
    "q, Ctrl-C    quit",
    "",
    "Rates are of the last interval. Counts are since the start of the process.",
    "STATE of an engine: ready; stale, its load is an estimate; failing, it comes last;",
    "ejected and unhealthy, health checks keep requests from it.",
    "Esc          back",
];

/// Everything that is drawn.
pub(super) struct Contents<'a> {
    pub(super) display: &'a Display,
    /// The process in some lines; empty before the first answer.
    pub(super) summary: &'a [String],
    /// Rows of the view, filtered and sorted.
    pub(super) grid: &'a Grid,
    /// The receipt at the cursor.
    pub(super) receipt: Vec<String>,
    /// Why there is no answer.
    pub(super) problem: Option<&'a str>,
    pub(super) has_colour: bool,
}

/// Lines of a screen of this size, and how many rows of the view fit.
pub(super) fn draw(contents: &Contents<'_>, (width, height): (usize, usize)) -> (Vec<String>, usize) {
    let Contents { display, summary, grid, problem, .. } = contents;
    let mut lines = vec![bar(display.view, width)];
    let shown = if display.view == View::Now { summary.len() } else { 1 };
    lines.extend(summary.iter().take(shown).map(|line| cut(line, width).to_owned()));
    lines.push(String::new());
    let room = height.saturating_sub(lines.len() + 1);
    match display.overlay {
        Overlay::Help => lines.extend(window(&HELP.map(str::to_owned), display.overlay_top, room, width)),
        Overlay::Receipt => lines.extend(window(&contents.receipt, display.overlay_top, room, width)),
        Overlay::None => lines.extend(rows(contents, room, width)),
    }
    lines.truncate(height.saturating_sub(1));
    lines.resize(height.saturating_sub(1), String::new());
    lines.push(foot(display, grid.rows.len(), *problem, width));
    (lines, room.saturating_sub(1))
}

fn bar(view: View, width: usize) -> String {
    let mut plain = 0;
    let mut line = String::new();
    for (at, each) in View::ALL.into_iter().enumerate() {
        let name = format!(" {} {} ", at + 1, each.name());
        plain += name.chars().count();
        if plain > width {
            break;
        }
        line.push_str(&if each == view { format!("\x1b[7m{name}\x1b[0m") } else { name });
    }
    line
}

/// The heading and the rows around the cursor.
fn rows(contents: &Contents<'_>, room: usize, width: usize) -> Vec<String> {
    let Contents { display, grid, .. } = contents;
    if grid.columns.is_empty() || room == 0 || (display.view == View::Now && grid.rows.is_empty()) {
        return Vec::new();
    }
    let fitting = room - 1;
    let top = (display.cursor + 1).saturating_sub(fitting);
    let seen: Vec<Vec<Cell>> = grid.rows.iter().skip(top).take(fitting).cloned().collect();
    let (heading, cells) = grid.aligned(&seen, display.sort());
    let mut lines = vec![format!("\x1b[1m{}\x1b[0m", cut(&heading, width))];
    for (at, row) in cells.into_iter().enumerate() {
        let is_at_cursor = top + at == display.cursor;
        lines.push(coloured(&row, width, contents.has_colour, is_at_cursor));
    }
    lines
}

/// A row within the width. At the cursor it is reversed, which needs no colour.
fn coloured(row: &[(String, Tone)], width: usize, has_colour: bool, is_at_cursor: bool) -> String {
    let mut line = String::new();
    let mut left = width;
    for (text, tone) in row {
        let text = cut(text, left);
        left -= width::of(text);
        let colour = match tone {
            Tone::Plain => None,
            Tone::Good => Some(32),
            Tone::Warning => Some(33),
            Tone::Bad => Some(31),
        };
        match colour.filter(|_| has_colour && !is_at_cursor) {
            Some(colour) => line.push_str(&format!("\x1b[{colour}m{text}\x1b[0m")),
            None => line.push_str(text),
        }
    }
    if is_at_cursor { format!("\x1b[7m{line}\x1b[0m") } else { line }
}

fn window(lines: &[String], top: usize, room: usize, width: usize) -> Vec<String> {
    let top = top.min(lines.len().saturating_sub(room));
    lines.iter().skip(top).take(room).map(|line| cut(line, width).to_owned()).collect()
}

fn foot(display: &Display, rows: usize, problem: Option<&str>, width: usize) -> String {
    if let Some(problem) = problem {
        return format!("\x1b[7m{}\x1b[0m", cut(&format!(" {}; trying again ", Printable(problem)), width));
    }
    let filter = match (display.is_typing, display.filter()) {
        (true, text) => format!("/{}_", Printable(text)),
        (false, "") => String::new(),
        (false, text) => format!("/{}  Esc clears", Printable(text)),
    };
    let rows = match (display.view, rows) {
        (View::Now, _) => String::new(),
        (_, 1) => "1 row  ".to_owned(),
        (_, rows) => format!("{rows} rows  "),
    };
    cut(&format!("{rows}{filter}  ? help  q quit"), width).to_owned()
}
