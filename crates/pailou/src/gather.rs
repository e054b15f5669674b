//! Data of all proxies together, for the controller's page: it asks their admin endpoints while somebody looks.

mod ask;
mod merge;
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
pub(crate) use ask::{Answer, Question};
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
    /// Why the list may be an old one.
    pub(crate) problem: Option<String>,
}

/// Proxies and an error's words, which come in a while.
pub(crate) type Listing<'a> = Pin<Box<dyn Future<Output = Result<(Vec<ProxyTarget>, usize), String>> + Send + 'a>>;

/// Finds proxies.
pub(crate) trait ProxySource: Send + Sync + 'static {
    /// The first so many proxies, and how many there are beside them.
    fn list(&self, most: usize) -> Listing<'_>;
    /// A token that proxies of this Gateway believe; `None` while there is none.
    fn token(&self, gateway: &Name) -> Option<String>;
}

/// Asks proxies.
pub(crate) struct Gatherer {
    source: Box<dyn ProxySource>,
    /// Turns to list proxies, and to take their samples: viewers that come together share one.
    turns: [Semaphore; 2],
    list: Mutex<(Option<Instant>, Arc<ProxyList>)>,
    samples: Mutex<Samples>,
    pub(crate) tail: Tail,
}

impl Gatherer {
    /// One that has asked nobody yet.
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only controllers have proxies"))]
    pub(crate) fn new(source: impl ProxySource) -> Self {
        Self {
            source: Box::new(source),
            turns: [Semaphore::new(1), Semaphore::new(1)],
            list: Mutex::default(),
            samples: Mutex::default(),
            tail: Tail::default(),
        }
    }

    /// The proxies that there are. While the API server is away those that were there.
    pub(crate) async fn proxies(&self) -> Arc<ProxyList> {
        // Nobody closes it.
        let _turn = self.turns[0].acquire().await;
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
        *self.list.lock() = (Some(Instant::now()), list.clone());
        list
    }

    /// The proxies that are selected.
    pub(crate) async fn selected(&self, selection: &Selection) -> Vec<ProxyTarget> {
        self.proxies().await.proxies.iter().filter(|proxy| selection.has(proxy)).cloned().collect()
    }

    /// Asks these proxies, some at the same time, and hands on each answer as it comes.
    pub(crate) async fn ask(&self, proxies: &[ProxyTarget], question: &Question, take: impl FnMut(&ProxyTarget, Answer)) {
        let questions = proxies.iter().map(|proxy| (proxy.clone(), question.clone()));
        ask::ask_all(&*self.source, questions, ask::MAX_AT_ONCE, take).await;
    }

    /// The first answer of them all, each of whom may take long; `None` where none has one.
    pub(crate) async fn first(&self, proxies: Vec<ProxyTarget>, question: &Question) -> Option<(ProxyTarget, Bytes)> {
        let (send, mut answers) = mpsc::channel(1);
        let questions = proxies.into_iter().map(|proxy| (proxy, question.clone()));
        let asking = ask::ask_all(&*self.source, questions, MAX_PROXIES, |proxy, answer| {
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
    async fn ask_each(&self, questions: Vec<(ProxyTarget, Question)>, take: impl FnMut(&ProxyTarget, Answer)) {
        ask::ask_all(&*self.source, questions, ask::MAX_AT_ONCE, take).await;
    }

    /// Adds what the selected proxies say to the controller's sample.
    pub(crate) async fn fill(&self, selection: &Selection, overview: &mut Overview) {
        let _turn = self.turns[1].acquire().await;
        if !self.samples.lock().are_newer_than(SAMPLE_AGE, Instant::now()) {
            let list = self.proxies().await;
            let wanted = self.samples.lock().begin(&list, Instant::now());
            let question = Question::get("/overview", MAX_SAMPLE);
            let read = |bytes: Bytes| {
                serde_json::from_slice(&bytes).map_err(|_| "its answer is no sample: is it of another version?".to_owned())
            };
            self.ask(&wanted, &question, |proxy, answer| {
                self.samples.lock().take(&proxy.name, answer.and_then(read), Instant::now());
            })
            .await;
        }
        self.samples.lock().fill(selection, overview);
    }
}
