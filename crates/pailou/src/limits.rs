//! `pailou limits`: the counters of a running gateway, as a table.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
    net::SocketAddr,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    admin::client,
    admin::limits_page::{LimitsPage, MAX_PAGE},
    cli::{LimitsArgs, ListFormat},
    exit::{Error, ExitOutcome},
    printable,
    table::Table,
};

/// Counters that are shown: more than this are nothing to read.
const MAX_COUNTERS: usize = 100_000;

/// A page of counters.
#[derive(Deserialize)]
struct Page {
    counters: Vec<Counter>,
    next: Option<usize>,
    /// Proxies that did not answer, where a controller tells of several.
    #[serde(default)]
    away: Vec<String>,
}

/// A counter, as the endpoint tells of it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counter {
    rule: String,
    client: String,
    spent: u64,
    reserved: u64,
    limit: u64,
    window_seconds: u64,
    resets_in_seconds: u64,
    shadow: bool,
    /// The proxy that counts, where a controller tells of several.
    #[serde(default)]
    proxy: Option<String>,
}

/// Prints the counters.
pub(crate) fn run(args: &LimitsArgs) -> Result<ExitOutcome, Error> {
    let mut page = LimitsPage { rule: args.rule.clone(), client: args.client.clone(), offset: 0, limit: MAX_PAGE };
    let token = client::read_token(args.admin_token_file.as_deref())?;
    let (mut counters, mut documents, mut away) = (Vec::new(), Vec::new(), BTreeSet::new());
    loop {
        let path = client::of_gateway(&format!("/limits?{}", page.query()), args.gateway.as_ref());
        let answer = get(args.admin, &path, token.as_deref()).map_err(|source| Error::Admin { address: args.admin, source })?;
        let unreadable = |error: serde_json::Error| Error::Admin { address: args.admin, source: error.into() };
        let read: Page = serde_json::from_slice(&answer).map_err(unreadable)?;
        let mut document: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
        documents.extend(document["counters"].as_array_mut().into_iter().flat_map(std::mem::take));
        counters.extend(read.counters);
        away.extend(read.away);
        match read.next.filter(|next| *next > page.offset && counters.len() < MAX_COUNTERS) {
            Some(next) => page.offset = next,
            None => break,
        }
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.output {
        ListFormat::Table if counters.iter().any(|counter| counter.proxy.is_some()) => {
            let mut table = Table::new(["SPENT", "RESERVED", "LIMIT", "WINDOW", "RESETS IN", "CLIENT", "RULE", "PROXY"]);
            for counter in &counters {
                let [spent, reserved, limit, window, resets, client, rule] = row(counter);
                table.push([spent, reserved, limit, window, resets, client, rule, counter.proxy.clone().unwrap_or_default()]);
            }
            table.write(&mut out, None)?;
        }
        ListFormat::Table => table(&counters).write(&mut out, None)?,
        ListFormat::Json => {
            let text = serde_json::to_string_pretty(&json!({"counters": documents})).map_err(io::Error::from)?;
            writeln!(out, "{}", printable::json(&text))?;
        }
    }
    out.flush()?;
    if let Some(first) = away.first() {
        let others = if away.len() > 1 { format!(" and {} others", away.len() - 1) } else { String::new() };
        let proxies = if away.len() == 1 { "proxy" } else { "proxies" };
        let line = format!("{} {proxies} did not answer, whose counters are missing: {first}{others}", away.len());
        eprintln!("{}", printable::Printable(&line));
    }
    Ok(ExitOutcome::Done)
}

fn table(counters: &[Counter]) -> Table<7> {
    let mut table = Table::new(["SPENT", "RESERVED", "LIMIT", "WINDOW", "RESETS IN", "CLIENT", "RULE"]);
    for counter in counters {
        table.push(row(counter));
    }
    table
}

fn row(counter: &Counter) -> [String; 7] {
    let client = if counter.client.is_empty() { "-" } else { &counter.client };
    let mark = if counter.shadow { " (shadow)" } else { "" };
    [
        counter.spent.to_string(),
        counter.reserved.to_string(),
        counter.limit.to_string(),
        period(counter.window_seconds),
        period(counter.resets_in_seconds),
        client.to_owned(),
        format!("{}{mark}", counter.rule),
    ]
}

/// A period in its two largest units.
fn period(seconds: u64) -> String {
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(3);
    let shown = units[first..].iter().take(2).filter(|(_, count)| *count > 0);
    let text: String = shown.map(|(unit, count)| format!("{count}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The body of an answer to a GET.
fn get(address: SocketAddr, target: &str, token: Option<&str>) -> io::Result<Vec<u8>> {
    let answer = client::get(address, target, token)?;
    match answer.status {
        200 => Ok(answer.body),
        404 => Err(io::Error::other("it has no limits, or is of a version without /limits")),
        _ => Err(answer.refusal()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_their_two_largest_units() {
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (60, "1m"), (3661, "1h1m"), (86_400, "1d"), (90_061, "1d1h"), (31_536_000, "365d")]
        {
            assert_eq!(period(seconds), expected);
        }
    }
}
