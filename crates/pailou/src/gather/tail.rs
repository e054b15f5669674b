//! Receipts of all proxies as they come. While somebody follows them, the proxies are asked for news twice a second.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use pailou_proxy::receipts::ReceiptFilter;
use pailou_snapshot::Name;
use pailou_telemetry::receipt::{MAX_RECEIPT, cut};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{self, Instant},
};

use super::{Answer, Gatherer, ProxyTarget, Question, Selection, ask::MAX_AT_ONCE};

/// Viewers at the same time.
pub(crate) const MAX_VIEWERS: usize = 16;
/// Interval of the questions.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time that the questions go on without a viewer: one that has read the list is about to follow.
const LINGER: Duration = Duration::from_secs(10);
/// Time that a reader waits for the first answers.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// Most receipts that are kept, and their bytes.
const MAX_KEPT: usize = 2048;
const MAX_BYTES: usize = 4 << 20;
/// Most receipts of one answer, and its bytes.
const MAX_NEWS: usize = 256;
/// Twice what the receipts have: escapes are beside their bound.
const MAX_ANSWER: usize = 2 * MAX_NEWS * MAX_RECEIPT;

/// A proxy's receipt.
#[derive(Clone, Debug)]
pub(crate) struct TailReceipt {
    /// Its number here.
    pub(crate) sequence: u64,
    /// Receipts of its proxy between the one before and this one, which nobody read in time.
    pub(crate) lost: u64,
    proxy: ProxyTarget,
    status: u16,
    flag: String,
    route: String,
    model: String,
    /// The receipt, one line of JSON, with the proxy's name.
    pub(crate) json: String,
}

/// The newest receipts of all proxies, and those who follow them.
pub(crate) struct Tail {
    state: Mutex<State>,
    newest: watch::Sender<u64>,
    /// Whether the proxies' numbers are known: what comes from then on is news.
    is_primed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    receipts: VecDeque<Arc<TailReceipt>>,
    bytes: usize,
    last: u64,
    cursors: BTreeMap<Name, Cursor>,
    viewers: usize,
    is_running: bool,
    wanted_until: Option<Instant>,
}

/// Number of a proxy's newest receipt that is known here.
#[derive(Clone, Copy, Default)]
struct Cursor {
    last: Option<u64>,
    /// Receipts that went before they could be read, and that no viewer knows of yet.
    lost: u64,
    /// Whether a question is under way.
    is_asked: bool,
}

/// A place among the viewers.
pub(crate) struct Viewer(Arc<Gatherer>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.tail.state.lock().viewers -= 1;
    }
}

/// News for a viewer.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Receipts that went before they could be read.
    pub(crate) lost: u64,
    /// The others, oldest first.
    pub(crate) receipts: Vec<Arc<TailReceipt>>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { state: Mutex::default(), newest: watch::Sender::new(0), is_primed: watch::Sender::new(false) }
    }
}

impl TailReceipt {
    fn new(proxy: &ProxyTarget, mut receipt: Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = Self {
            sequence: 0,
            lost: 0,
            proxy: proxy.clone(),
            status: receipt["status"].as_u64().and_then(|status| status.try_into().ok()).unwrap_or(0),
            flag: text(&receipt["flag"]),
            route: text(&receipt["rule"]["matched"]),
            model: text(&receipt["model"]["asked"]),
            json: String::new(),
        };
        name_proxy(&mut receipt, proxy)?;
        Some(Self { json: receipt.to_string(), ..found })
    }

    /// Whether its proxy is among those.
    pub(crate) fn is_of(&self, selection: &Selection) -> bool {
        selection.has(&self.proxy)
    }

    /// Whether a viewer of this selection wants it.
    pub(crate) fn meets(&self, selection: &Selection, filter: &ReceiptFilter) -> bool {
        selection.has(&self.proxy)
            && filter.status.is_none_or(|(first, last)| (first..=last).contains(&self.status))
            && filter.flag.as_ref().is_none_or(|flag| self.flag == *flag)
            && filter.route.as_ref().is_none_or(|route| self.route.contains(route.as_str()))
            && filter.model.as_ref().is_none_or(|model| self.model == *cut(model))
    }
}

/// Writes into a document which proxy it is of; `None` where it is none.
pub(crate) fn name_proxy(document: &mut Value, proxy: &ProxyTarget) -> Option<()> {
    let members = document.as_object_mut()?;
    members.insert("gateway".to_owned(), proxy.gateway.to_string().into());
    members.insert("proxy".to_owned(), proxy.name.to_string().into());
    Some(())
}

impl Tail {
    /// A place among the viewers; `None` where all are taken.
    pub(crate) fn view(gatherer: &Arc<Gatherer>) -> Option<Viewer> {
        let mut state = gatherer.tail.state.lock();
        if state.viewers >= MAX_VIEWERS {
            return None;
        }
        state.viewers += 1;
        Some(Viewer(gatherer.clone()))
    }

    /// Begins to ask the proxies, unless that goes on already, and waits until their numbers are known. Returns the number of the newest.
    pub(crate) async fn begin(gatherer: &Arc<Gatherer>) -> u64 {
        let tail = &gatherer.tail;
        let starts = {
            let mut state = tail.state.lock();
            state.wanted_until = Some(Instant::now() + LINGER);
            !std::mem::replace(&mut state.is_running, true)
        };
        if starts {
            tokio::spawn(run(gatherer.clone()));
        }
        let mut primed = tail.is_primed.subscribe();
        // A proxy that is slow is not waited for: its news come later.
        let _ = time::timeout(FIRST_TIMEOUT, primed.wait_for(|is_primed| *is_primed)).await;
        tail.state.lock().last
    }

    /// Number of the newest.
    pub(crate) fn last(&self) -> u64 {
        self.state.lock().last
    }

    /// Waits until there is a receipt after that number.
    pub(crate) fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// At most `limit` receipts after that number.
    pub(crate) fn after(&self, sequence: u64, limit: usize) -> News {
        let state = self.state.lock();
        let first = state.last - state.receipts.len() as u64 + 1;
        let seen = (sequence + 1).saturating_sub(first) as usize;
        News { lost: first.saturating_sub(sequence + 1), receipts: state.receipts.iter().skip(seen).take(limit).cloned().collect() }
    }

    /// Takes a proxy's answer in.
    fn take(&self, proxy: &ProxyTarget, document: Option<Value>) {
        let mut state = self.state.lock();
        let State { receipts, bytes, last, cursors, .. } = &mut *state;
        let cursor = cursors.entry(proxy.name.clone()).or_default();
        cursor.is_asked = false;
        let Some((newest, mut news)) = document.and_then(read) else { return };
        let seen = cursor.last.replace(newest);
        // The first answer says where the news begin. A proxy that has restarted counts from 1 again.
        let Some(seen) = seen else { return };
        let seen = if seen > newest { 0 } else { seen };
        news.truncate(usize::try_from(newest - seen).unwrap_or(usize::MAX));
        cursor.lost += (newest - seen).saturating_sub(news.len() as u64);
        for receipt in news.into_iter().rev().filter_map(|receipt| TailReceipt::new(proxy, receipt)) {
            *last += 1;
            *bytes += receipt.json.len();
            receipts.push_back(Arc::new(TailReceipt { sequence: *last, lost: std::mem::take(&mut cursor.lost), ..receipt }));
        }
        while receipts.len() > MAX_KEPT || *bytes > MAX_BYTES {
            let Some(oldest) = receipts.pop_front() else { break };
            *bytes -= oldest.json.len();
        }
        self.newest.send_if_modified(|newest| std::mem::replace(newest, *last) != *last);
    }

    /// Whether anybody follows, or is about to. If not, the questions end.
    fn goes_on(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.is_running = state.viewers > 0 || state.wanted_until.is_some_and(|until| now < until);
        if !state.is_running {
            state.cursors.clear();
            self.is_primed.send_replace(false);
        }
        state.is_running
    }

    /// The numbers to ask these proxies from; those that are asked already are left out.
    fn due(&self, proxies: &[ProxyTarget]) -> Vec<(ProxyTarget, Option<u64>)> {
        let mut state = self.state.lock();
        state.cursors.retain(|name, _| proxies.iter().any(|proxy| proxy.name == *name));
        let due = proxies.iter().filter_map(|proxy| {
            let cursor = state.cursors.entry(proxy.name.clone()).or_default();
            (!std::mem::replace(&mut cursor.is_asked, true)).then(|| (proxy.clone(), cursor.last))
        });
        due.collect()
    }
}

/// The number and the receipts of a list, newest first.
fn read(mut document: Value) -> Option<(u64, Vec<Value>)> {
    let receipts = document["receipts"].as_array_mut().map(std::mem::take)?;
    Some((document["last"].as_u64()?, receipts))
}

async fn run(gatherer: Arc<Gatherer>) {
    let tail = &gatherer.tail;
    // Each round asks those that no other one asks still, so proxies that are slow hold up none but themselves.
    let mut rounds = JoinSet::new();
    while tail.goes_on(Instant::now()) {
        while rounds.try_join_next().is_some() {}
        let list = gatherer.proxies().await;
        rounds.spawn(round(gatherer.clone(), tail.due(&list.proxies)));
        time::sleep(POLL_INTERVAL).await;
    }
}

/// Asks these proxies for what comes after these numbers.
async fn round(gatherer: Arc<Gatherer>, due: Vec<(ProxyTarget, Option<u64>)>) {
    let tail = &gatherer.tail;
    let questions = due.into_iter().map(|(proxy, seen)| {
        let path = seen.map_or("/receipts?limit=1".to_owned(), |seen| format!("/receipts?limit={MAX_NEWS}&after={seen}"));
        (proxy, Question::get(path, MAX_ANSWER))
    });
    let take = |proxy: &ProxyTarget, answer: Answer| {
        let document = answer.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        tail.take(proxy, document);
    };
    gatherer.ask_each(questions, MAX_AT_ONCE, take).await;
    tail.is_primed.send_replace(true);
}

#[cfg(test)]
mod tests;
