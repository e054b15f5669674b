//! Data of all proxies together, for the controller's page: it asks their admin endpoints while somebody looks.

mod ask;
mod away;
mod merge;
mod rules;
mod samples;
mod selection;
pub(crate) mod tail;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use pailou_snapshot::Name;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    time,
};

use crate::overview::Overview;
pub(crate) use ask::{Answer, Failure, Question};
use away::Away;
pub(crate) use rules::RuleCounts;
use samples::Samples;
pub(crate) use selection::Selection;
use tail::Tail;

/// Most proxies that are asked; the first by namespace and name.
pub(crate) const MAX_PROXIES: usize = 256;
/// A list of the proxies is read anew after this time.
const LIST_INTERVAL: Duration = Duration::from_secs(5);
/// Time that the list may take: viewers wait for it.
const LIST_TIMEOUT: Duration = Duration::from_secs(2);
/// Samples younger than this are not taken anew: all viewers share them.
const SAMPLE_AGE: Duration = Duration::from_millis(900);
/// Time that a viewer waits for the proxies' samples: it then sees those that are there.
const LOOK_WAIT: Duration = Duration::from_secs(1);
/// Longest sample of a proxy, in bytes.
const MAX_SAMPLE: usize = 1 << 20;

/// A proxy, and where its admin endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyTarget {
    /// The Gateway that it serves.
    pub(crate) gateway: Name,
    /// Its pod.
    pub(crate) name: Name,
    /// `None` before it has an address.
    pub(crate) admin: Option<SocketAddr>,
}

/// Proxies that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProxyList {
    pub(crate) proxies: Vec<ProxyTarget>,
    /// Proxies beside those.
    pub(crate) omitted: usize,
    /// Reason that the list may be an old one.
    pub(crate) problem: Option<String>,
}

/// Proxies and an error's words, which come in a while.
pub(crate) type Listing<'a> = Pin<Box<dyn Future<Output = Result<(Vec<ProxyTarget>, usize), String>> + Send + 'a>>;

/// Finds proxies.
pub(crate) trait ProxySource: Send + Sync + 'static {
    /// The first so many proxies, and how many there are beside them.
    fn list(&self, most: usize) -> Listing<'_>;
    /// A token that this proxy alone believes; `None` while there is none.
    fn token(&self, proxy: &ProxyTarget) -> Option<String>;
}

/// Asks proxies.
pub(crate) struct Gatherer {
    source: Box<dyn ProxySource>,
    /// Turns to list proxies, and to take their samples: viewers that come together share one.
    list_turn: Semaphore,
    look_turn: Arc<Semaphore>,
    away: Mutex<Away>,
    list: Mutex<(Option<Instant>, Arc<ProxyList>)>,
    samples: Mutex<Samples>,
    pub(crate) rules: Mutex<RuleCounts>,
    pub(crate) tail: Tail,
}

impl Gatherer {
    /// One that has asked nobody yet.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only controllers have proxies"))]
    pub(crate) fn new(source: impl ProxySource) -> Self {
        Self {
            source: Box::new(source),
            list_turn: Semaphore::new(1),
            look_turn: Arc::new(Semaphore::new(1)),
            away: Mutex::default(),
            list: Mutex::default(),
            samples: Mutex::default(),
            rules: Mutex::default(),
            tail: Tail::default(),
        }
    }

    /// The proxies that there are. While the API server is away those that were there.
    pub(crate) async fn proxies(&self) -> Arc<ProxyList> {
        // Nobody closes it.
        let _turn = self.list_turn.acquire().await;
        let (read, last) = self.list.lock().clone();
        if read.is_some_and(|read| read.elapsed() < LIST_INTERVAL) {
            return last;
        }
        let listed = time::timeout(LIST_TIMEOUT, self.source.list(MAX_PROXIES)).await;
        let listed =
            listed.unwrap_or_else(|_| Err(format!("the API server does not list them within {} s", LIST_TIMEOUT.as_secs())));
        let list = Arc::new(match listed {
            Ok((proxies, omitted)) => ProxyList { proxies, omitted, problem: None },
            Err(problem) => ProxyList { problem: Some(problem), ..ProxyList::clone(&last) },
        });
        self.away.lock().retain(&list.proxies);
        *self.list.lock() = (Some(Instant::now()), list.clone());
        list
    }

    /// The proxies that are selected.
    pub(crate) async fn selected(&self, selection: &Selection) -> Vec<ProxyTarget> {
        self.proxies().await.proxies.iter().filter(|proxy| selection.has(proxy)).cloned().collect()
    }

    /// Whether a proxy did not answer when it was asked last.
    pub(crate) fn is_away(&self, proxy: &ProxyTarget) -> bool {
        self.away.lock().has(&proxy.name)
    }

    /// Asks these proxies, some at the same time, and hands on each answer as it comes. Those that did not answer of late fail at once.
    pub(crate) async fn ask(&self, proxies: &[ProxyTarget], question: &Question, take: impl FnMut(&ProxyTarget, Answer)) {
        let questions = proxies.iter().map(|proxy| (proxy.clone(), question.clone()));
        self.ask_each(questions, ask::MAX_AT_ONCE, take).await;
    }

    /// The first answer of them all, each of whom may take long; `None` where none has one.
    pub(crate) async fn first(&self, proxies: Vec<ProxyTarget>, question: &Question) -> Option<(ProxyTarget, Bytes)> {
        let (send, mut answers) = mpsc::channel(1);
        let questions = proxies.into_iter().map(|proxy| (proxy, question.clone()));
        let asking = self.ask_each(questions, MAX_PROXIES, |proxy, answer| {
            if let Ok(answer) = answer {
                // One is enough.
                let _ = send.try_send((proxy.clone(), answer));
            }
        });
        tokio::select! {
            biased;
            first = answers.recv() => first,
            () = asking => answers.try_recv().ok(),
        }
    }

    /// Asks each proxy its own question.
    async fn ask_each(
        &self,
        questions: impl IntoIterator<Item = (ProxyTarget, Question)>,
        at_once: usize,
        mut take: impl FnMut(&ProxyTarget, Answer),
    ) {
        let (wanted, others) = self.away.lock().sort(questions, Instant::now());
        for (proxy, why) in others {
            take(&proxy, Err(Failure { why, is_away: true }));
        }
        let take = |proxy: &ProxyTarget, answer: Answer| {
            self.away.lock().take(&proxy.name, &answer, Instant::now());
            take(proxy, answer);
        };
        ask::ask_all(&*self.source, wanted, at_once, take).await;
    }

    /// Adds what the selected proxies say to the controller's sample. While some are slow, what they said last.
    pub(crate) async fn fill(self: &Arc<Self>, selection: &Selection, overview: &mut Overview) {
        let until = time::Instant::now() + LOOK_WAIT;
        if let Ok(Ok(turn)) = time::timeout_at(until, self.look_turn.clone().acquire_owned()).await
            && !self.samples.lock().are_newer_than(SAMPLE_AGE, Instant::now())
        {
            let gatherer = self.clone();
            // A look goes on by itself, one at a time: it is bounded by the deadlines of its questions.
            let look = tokio::spawn(async move {
                gatherer.look().await;
                drop(turn);
            });
            let _ = time::timeout_at(until, look).await;
        }
        self.samples.lock().fill(selection, overview);
    }

    /// Takes a sample of each proxy.
    async fn look(&self) {
        let list = self.proxies().await;
        self.samples.lock().begin(&list, Instant::now());
        let read = |bytes: Bytes| {
            serde_json::from_slice(&bytes).map_err(|_| "its answer is no sample: is it of another version?".to_owned())
        };
        let take = |proxy: &ProxyTarget, answer: Answer| {
            let sample = answer.map_err(|failure| failure.why).and_then(read);
            self.samples.lock().take(&proxy.name, sample, Instant::now());
        };
        self.ask(&list.proxies, &Question::get("/overview", MAX_SAMPLE), take).await;
        self.samples.lock().end(Instant::now());
    }
}
