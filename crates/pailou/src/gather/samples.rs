//! Proxies' samples over time: their counts never fall while somebody looks, be it that a proxy restarts, goes, or is away.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use pailou_snapshot::Name;

use super::{
    MAX_PROXIES, ProxyList, ProxyTarget, Selection,
    merge::{self, Moment},
};
use crate::overview::{Overview, ProxyRow, short};

/// Time without a look after which the counts begin anew.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A proxy that began before the series and joins it later brings a past along, with some tolerance.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Proxies that are kept though they are beside those that are listed.
const MAX_CUT_OFF: usize = MAX_PROXIES;
/// Gateways whose former proxies' counts are kept.
const MAX_GONE: usize = 1024;

/// The samples.
#[derive(Default)]
pub(super) struct Samples {
    proxies: BTreeMap<Name, Seen>,
    /// Counts of proxies that have gone, by Gateway.
    gone: BTreeMap<Name, Overview>,
    /// Number of the series of sums: those of another cannot be compared with them.
    series: u64,
    /// Its begin.
    began: Option<Instant>,
    /// Begin and end of the last look.
    last_look: Option<(Instant, Instant)>,
    /// Proxies beside those.
    omitted: usize,
    list_problem: Option<String>,
}

/// A proxy.
struct Seen {
    target: ProxyTarget,
    last: Option<Overview>,
    /// Counts of its former processes.
    former: Overview,
    /// Reason that it gave no sample.
    away: Option<String>,
}

impl Samples {
    /// Whether the last look began less than that ago.
    pub(super) fn are_newer_than(&self, age: Duration, now: Instant) -> bool {
        self.last_look.is_some_and(|(last, _)| now.saturating_duration_since(last) < age)
    }

    /// Begins a look, with the proxies that there are now.
    pub(super) fn begin(&mut self, list: &ProxyList, now: Instant) {
        if self.last_look.is_none_or(|(_, end)| now.saturating_duration_since(end) >= IDLE_TIMEOUT) {
            *self = Self { series: self.series + 1, began: Some(now), ..Self::default() };
        }
        self.last_look = Some((now, now));
        (self.omitted, self.list_problem) = (list.omitted, list.problem.clone());
        let listed: BTreeSet<&Name> = list.proxies.iter().map(|proxy| &proxy.name).collect();
        // Those after the last that is listed may be there: their counts are not to be added again when they come back.
        let end = list.proxies.last().filter(|_| list.omitted > 0).map(|proxy| &proxy.name);
        let (cut_off, mut gone): (Vec<_>, Vec<_>) =
            self.proxies.keys().filter(|name| !listed.contains(name)).cloned().partition(|name| end.is_some_and(|end| name > end));
        gone.extend(cut_off.iter().skip(MAX_CUT_OFF).cloned());
        for name in cut_off.iter().take(MAX_CUT_OFF) {
            if let Some(seen) = self.proxies.get_mut(name) {
                seen.away = Some(format!("it is not asked: it is beside the first {} proxies", list.proxies.len()));
            }
        }
        for name in gone {
            self.forget(&name);
        }
        for proxy in &list.proxies {
            let seen = self.proxies.entry(proxy.name.clone()).or_insert_with(|| Seen::new(proxy.clone()));
            seen.target = proxy.clone();
        }
    }

    /// Ends a look: the time without one counts from here.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some((_, end)) = &mut self.last_look {
            *end = now;
        }
    }

    /// Takes a proxy's answer in.
    pub(super) fn take(&mut self, proxy: &Name, answer: Result<Overview, String>, now: Instant) {
        let Some(began) = self.began else { return };
        let Some(seen) = self.proxies.get_mut(proxy) else { return };
        match answer {
            Err(why) => seen.away = Some(short(why)),
            Ok(sample) => {
                seen.away = None;
                let age = now.saturating_duration_since(began);
                match seen.last.take() {
                    Some(last) if sample.uptime_seconds < last.uptime_seconds => merge::add(&mut seen.former, &last, Moment::Past),
                    // Its past would look as if it had been in the last second.
                    None if age > TOLERANCE && sample.uptime_seconds > (age + TOLERANCE).as_secs_f64() => self.series += 1,
                    _ => {}
                }
                seen.last = Some(sample);
            }
        }
    }

    fn forget(&mut self, name: &Name) {
        let Some(seen) = self.proxies.remove(name) else { return };
        if !self.gone.contains_key(&seen.target.gateway) && self.gone.len() >= MAX_GONE {
            return;
        }
        let gone = self.gone.entry(seen.target.gateway).or_default();
        for sample in seen.last.iter().chain([&seen.former]) {
            merge::add(gone, sample, Moment::Past);
        }
    }

    /// Adds what the selected proxies say to the controller's sample.
    pub(super) fn fill(&self, selection: &Selection, overview: &mut Overview) {
        let mut sum = Overview::default();
        for seen in self.proxies.values().filter(|seen| selection.has(&seen.target)) {
            if let Some(sample) = &seen.last {
                merge::add(&mut sum, sample, if seen.away.is_none() { Moment::Now } else { Moment::Past });
            }
            merge::add(&mut sum, &seen.former, Moment::Past);
        }
        for (gateway, gone) in &self.gone {
            if *selection == Selection::All || *selection == Selection::Gateway(gateway.clone()) {
                merge::add(&mut sum, gone, Moment::Past);
            }
        }
        merge::finish(&mut sum);
        let rows: Vec<_> = self.proxies.values().map(Seen::row).collect();
        let own = std::mem::take(overview);
        let unknown = match (&sum.requests, &self.list_problem) {
            (_, Some(problem)) => Some(format!("pods of proxies: {problem}")),
            (None, None) => Some(no_sample(selection, rows.len())),
            (Some(_), None) => None,
        };
        *overview =
            Overview { unknown, series: self.series, proxies_omitted: self.omitted, proxies: Some(rows), ..with_sums(own, sum) };
    }
}

fn no_sample(selection: &Selection, proxies: usize) -> String {
    match (selection, proxies) {
        (Selection::All, 0) => "requests, latencies, tokens and engines: there is no proxy of a Gateway yet".to_owned(),
        (Selection::All, _) => "requests, latencies, tokens and engines: no proxy answers".to_owned(),
        _ => "requests, latencies, tokens and engines: no proxy that is chosen answers".to_owned(),
    }
}

/// The controller's sample with the sums of its proxies.
fn with_sums(own: Overview, sum: Overview) -> Overview {
    Overview {
        requests: sum.requests,
        latency: sum.latency,
        tokens: sum.tokens,
        cost_usd: sum.cost_usd,
        queue: sum.queue,
        models: sum.models,
        models_omitted: sum.models_omitted,
        pools: sum.pools,
        pools_omitted: sum.pools_omitted,
        receipts: sum.receipts,
        ..own
    }
}

impl Seen {
    fn new(target: ProxyTarget) -> Self {
        Self { target, last: None, former: Overview::default(), away: None }
    }

    fn row(&self) -> ProxyRow {
        let last = self.last.as_ref();
        let requests = last.and_then(|last| last.requests.as_ref());
        let away = match (&self.away, last) {
            (Some(why), _) => Some(why.clone()),
            (None, None) => Some("it has not been asked yet".to_owned()),
            (None, Some(_)) => None,
        };
        ProxyRow {
            name: self.target.name.to_string(),
            gateway: self.target.gateway.to_string(),
            version: last.map(|last| last.version.clone()).unwrap_or_default(),
            ready: away.is_none() && last.is_some_and(|last| last.ready),
            uptime_seconds: last.map_or(0.0, |last| last.uptime_seconds),
            active: requests.filter(|_| away.is_none()).map_or(0, |requests| requests.active),
            requests: requests.map_or(0, |requests| requests.total),
            problems: last.map_or(0, |last| last.problems),
            away,
        }
    }
}

#[cfg(test)]
mod tests;
