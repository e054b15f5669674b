//! `pailou top`: what the page shows, in a terminal.

mod documents;
mod feed;
mod grid;
mod interactive;
mod keys;
mod rates;
mod screen;
mod summary;
mod terminal;
mod view;
mod views;
mod width;

use std::{
    io::{self, BufWriter, IsTerminal as _, Write},
    thread,
    time::Duration,
};

use crate::{
    admin::client,
    cli::{ExplainFormat, TopArgs},
    exit::{Error, ExitOutcome},
    overview::Overview,
    printable,
};
use feed::Source;
use rates::Rates;

/// Shows the process until the user quits, or once.
pub(crate) fn run(args: &TopArgs) -> Result<ExitOutcome, Error> {
    let token = client::read_token(args.admin_token_file.as_deref())?;
    let source = Source { admin: args.admin, token, gateway: args.gateway.clone() };
    let interval = Duration::from_secs(args.interval);
    match args.output {
        ExplainFormat::Json => print_samples(&source, args.once, interval),
        ExplainFormat::Text if args.once => print_once(&source, interval),
        ExplainFormat::Text if !io::stdin().is_terminal() || !io::stdout().is_terminal() => Err(Error::NoTerminal),
        ExplainFormat::Text => interactive::run(source, interval),
    }
}

/// Prints samples as they are.
fn print_samples(source: &Source, is_once: bool, interval: Duration) -> Result<ExitOutcome, Error> {
    loop {
        let sample = source.get("/overview").map_err(|error| source.error(error))?;
        let text = if is_once { serde_json::to_string_pretty(&sample) } else { serde_json::to_string(&sample) };
        let mut out = io::stdout().lock();
        writeln!(out, "{}", printable::json(&text.map_err(io::Error::from)?))?;
        out.flush()?;
        if is_once {
            return Ok(ExitOutcome::Done);
        }
        thread::sleep(interval);
    }
}

/// Prints all views that one sample has, with the rates of an interval.
fn print_once(source: &Source, interval: Duration) -> Result<ExitOutcome, Error> {
    let first = source.overview().map_err(|error| source.error(error))?;
    thread::sleep(interval);
    let second = source.overview().map_err(|error| source.error(error))?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in report(&first, &second) {
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()?;
    Ok(ExitOutcome::Done)
}

fn report(first: &Overview, second: &Overview) -> Vec<String> {
    let rates = Rates::between(first, second);
    let mut lines = summary::summary(second, &rates);
    for grid in [views::gateways(second), views::proxies(second), views::pools(second, &rates), views::models(second, &rates)] {
        if !grid.rows.is_empty() {
            lines.push(String::new());
            lines.extend(grid.plain());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
