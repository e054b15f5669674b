//! The display that a user works with.

use std::{env, sync::mpsc, thread, time::Duration};

use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc as async_mpsc,
};

use super::{
    documents,
    feed::{News, Source, Wanted},
    grid::Grid,
    rates::Rates,
    screen::{self, Contents},
    summary,
    terminal::Terminal,
    view::{Display, Effect, Overlay, View},
    views,
};
use crate::{
    exit::{Error, ExitOutcome},
    explain,
    overview::Overview,
    printable::Printable,
    runtime,
    signals::Signals,
};

/// Runs until the user quits or a signal comes. The first answer must come before the terminal is taken: an error is read as one.
pub(super) fn run(source: Source, interval: Duration) -> Result<ExitOutcome, Error> {
    let first = source.overview().map_err(|error| source.error(error))?;
    runtime::one_thread()?.block_on(async {
        let start = |source| Error::Start { what: "the display", source };
        let mut signals = Signals::new(None)?;
        let mut resized = signal(SignalKind::window_change()).map_err(start)?;
        let terminal = Terminal::take().map_err(start)?;
        let mut keys = terminal.keys().map_err(start)?;
        let mut state = State::new(first);
        let (send_news, mut news) = async_mpsc::channel(4);
        let (wants, changes) = mpsc::channel();
        let wanted = state.wanted();
        let follow = move || source.follow(interval, wanted, &changes, &send_news);
        thread::Builder::new().name("feed".to_owned()).spawn(follow).map_err(start)?;
        loop {
            let page = state.draw(&terminal)?;
            tokio::select! {
                key = keys.recv() => {
                    let Some(key) = key else { return Ok(ExitOutcome::Done) };
                    let (rows, columns) = (state.grid.rows.len(), state.grid.columns.len());
                    match state.display.press(key, rows, columns, page) {
                        Effect::Quit => return Ok(ExitOutcome::Done),
                        Effect::Ask => drop(wants.send(state.wanted())),
                        Effect::Draw => {}
                    }
                }
                Some(news) = news.recv() => state.take(news),
                _ = resized.recv() => {}
                _ = signals.next() => return Ok(ExitOutcome::Done),
            }
        }
    })
}

/// All that is known.
struct State {
    display: Display,
    now: Overview,
    rates: Rates,
    /// Rows of the views that have paths of their own, and of which view they are.
    rows: Option<(View, Value)>,
    grid: Grid,
    problem: Option<String>,
    has_colour: bool,
}

impl State {
    fn new(first: Overview) -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            display: Display::new(),
            now: first,
            rates: Rates::default(),
            rows: None,
            grid: Grid::default(),
            problem: None,
            has_colour: !no_colour && env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    fn wanted(&self) -> Wanted {
        Wanted { view: self.display.view, filter: self.display.filter().to_owned() }
    }

    fn take(&mut self, news: News) {
        let mut problem = None;
        match news.overview {
            // One that was asked for ahead of time gives no rates worth showing.
            Ok(now) if now.uptime_seconds - self.now.uptime_seconds >= 0.5 || now.uptime_seconds < self.now.uptime_seconds => {
                self.rates = Rates::between(&self.now, &now);
                self.now = now;
            }
            Ok(_) => {}
            Err(error) => problem = Some(error.to_string()),
        }
        match news.rows {
            Some((view, Ok(rows))) => self.rows = Some((view, rows)),
            Some((_, Err(error))) => problem = Some(error.to_string()),
            None => {}
        }
        self.problem = problem.map(|problem| Printable(problem).to_string());
    }

    /// Rows of the view, if they are known.
    fn rows(&self) -> &Value {
        match &self.rows {
            Some((view, rows)) if *view == self.display.view => rows,
            _ => &Value::Null,
        }
    }

    /// Draws all, and gives how many rows fit.
    fn draw(&mut self, terminal: &Terminal) -> Result<usize, Error> {
        let mut grid = match self.display.view {
            View::Now if self.now.proxies.as_ref().is_some_and(|proxies| !proxies.is_empty()) => views::proxies(&self.now),
            View::Now if self.now.gateways.is_some() => views::gateways(&self.now),
            View::Now => views::pools(&self.now, &self.rates),
            View::Routes => documents::routes(self.rows()),
            View::Pools => views::pools(&self.now, &self.rates),
            View::Models => views::models(&self.now, &self.rates),
            View::Requests => documents::requests(self.rows()),
            View::Limits => documents::limits(self.rows()),
        };
        // Routes are searched where they are: also beyond the rows that come.
        if self.display.view != View::Routes {
            grid.filter(self.display.filter());
        }
        if let Some((column, is_descending)) = self.display.sort() {
            grid.sort(column, is_descending);
        }
        self.grid = grid;
        self.display.cursor = self.display.cursor.min(self.grid.rows.len().saturating_sub(1));
        let summary = summary::summary(&self.now, &self.rates);
        let contents = Contents {
            display: &self.display,
            summary: &summary,
            grid: &self.grid,
            receipt: self.receipt(),
            problem: self.problem.as_deref(),
            has_colour: self.has_colour,
        };
        let (lines, page) = screen::draw(&contents, terminal.size());
        terminal.draw(&lines).map_err(Error::from)?;
        Ok(page)
    }

    /// The receipt at the cursor, if it is looked at.
    fn receipt(&self) -> Vec<String> {
        if self.display.overlay != Overlay::Receipt {
            return Vec::new();
        }
        let id = self.grid.rows.get(self.display.cursor).and_then(|row| row.last()).map(|cell| cell.text.clone());
        let receipts = self.rows()["receipts"].as_array();
        let shown = |receipt: &&Value| receipt["request_id"].as_str().is_some_and(|it| Some(Printable(it).to_string()) == id);
        let receipt = receipts.and_then(|receipts| receipts.iter().find(shown));
        let lines = receipt.map(explain::receipt_lines).unwrap_or_else(|| vec!["its receipt is not kept any more".to_owned()]);
        lines.into_iter().map(|line| Printable(line.trim_end()).to_string()).collect()
    }
}
