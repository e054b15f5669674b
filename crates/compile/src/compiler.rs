//! The [`Compiler`]: what of the objects has to be compiled again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use pailou_api::Kind;
use pailou_snapshot::{EndpointKey, Endpoints, Snapshot};

use crate::{
    build::Memory,
    endpoints,
    index::{Reads, Touched},
    indexed::Indexed,
    settings::Settings,
    status::{Status, Statuses},
    store::{Change, Store},
    undecodable,
};

/// Result of compiling objects. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// The data plane's configuration.
    pub snapshot: Arc<Snapshot>,
    /// The endpoints of the snapshot's clusters.
    pub endpoints: Arc<Endpoints>,
    /// Statuses of the objects.
    pub statuses: Arc<Statuses>,
}

/// Compiles objects once.
pub fn compile(store: &Store, settings: &Settings) -> Compiled {
    Compiler::new(settings.clone()).update(store)
}

/// Compiles objects again and again, and keeps all that has not changed. The result equals that of compiling everything anew.
///
/// While only Pods, EndpointSlices and objects that no lookup for a Gateway, route or policy concerned change, the snapshot
/// stays the same `Arc`. So does every group of endpoints that stays equal, every status, and the TLS settings of a listener.
#[derive(Debug)]
pub struct Compiler {
    settings: Settings,
    indexed: Indexed,
    memory: Memory,
    /// Lookups for each group of endpoints.
    endpoints: HashMap<EndpointKey, Reads>,
    last: Option<Compiled>,
    undecodable: undecodable::Memory,
    /// Whether something else is known of the data planes than was compiled last.
    are_planes_new: bool,
}

/// Tables that only endpoints depend on, a bit each.
const ENDPOINTS: u64 = 1 << Kind::Pod as u8 | 1 << Kind::EndpointSlice as u8;

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        let mut indexed = Indexed::default();
        indexed.objects.session_key = settings.session_key.clone();
        Self {
            settings,
            indexed,
            memory: Memory::default(),
            endpoints: HashMap::new(),
            last: None,
            undecodable: undecodable::Memory::default(),
            are_planes_new: false,
        }
    }

    /// Compiles with other settings from now on. Only the statuses of Gateways depend on data planes: if nothing else is new,
    /// the rest of the state stays valid. In a cluster data planes come up and go all the time.
    pub fn settle(&mut self, settings: &Settings) {
        if self.settings.data_planes != settings.data_planes {
            self.settings.data_planes.clone_from(&settings.data_planes);
            self.are_planes_new = true;
        }
        if self.settings != *settings {
            *self = Self::new(settings.clone());
        }
    }

    /// Compiles the objects as they are now.
    pub fn update(&mut self, store: &Store) -> Compiled {
        let (changes, touched) = self.indexed.follow(store);
        let are_planes_new = std::mem::take(&mut self.are_planes_new);
        let compiled = self.compile(&changes, &touched, are_planes_new);
        let is_same = touched.tables() & !ENDPOINTS == 0 && !are_planes_new;
        let what = undecodable::ReportContext {
            objects: &self.indexed.objects,
            settings: &self.settings,
            routes: &self.memory.routes,
            is_same,
        };
        let statuses = self.undecodable.report(&what, store, &compiled.statuses);
        Compiled { statuses, ..compiled }
    }

    fn compile(&mut self, changes: &[Change], touched: &Touched, are_planes_new: bool) -> Compiled {
        let last = self.last.take();
        let compiled = match last {
            Some(last) if changes.is_empty() && !are_planes_new => last,
            Some(last) if !are_planes_new && !self.is_touched(touched) => {
                let mut statuses = last.statuses;
                cover(&mut statuses, changes);
                let endpoints = self.endpoints(&last.snapshot, touched, &last.endpoints);
                Compiled { snapshot: last.snapshot, endpoints, statuses }
            }
            last => {
                let last = last.unwrap_or_else(|| {
                    self.memory = Memory::default();
                    Compiled::default()
                });
                let mut statuses = last.statuses;
                cover(&mut statuses, changes);
                let changed = (changes, touched, are_planes_new);
                let done = self.memory.compile(&self.indexed.objects, &self.settings, changed, &last.snapshot);
                let news: Vec<_> =
                    done.news.into_iter().filter(|(key, status)| statuses.get(key).is_some_and(|it| *it != **status)).collect();
                if !news.is_empty() {
                    let statuses = Arc::make_mut(&mut statuses);
                    news.into_iter().for_each(|(key, status)| statuses.put(&key, status));
                }
                let endpoints = self.endpoints(&done.snapshot, touched, &last.endpoints);
                Compiled { snapshot: Arc::new(done.snapshot), endpoints, statuses }
            }
        };
        self.last = Some(compiled.clone());
        compiled
    }

    /// Whether anything has changed that more than endpoints depends on.
    fn is_touched(&self, touched: &Touched) -> bool {
        touched.tables() & !ENDPOINTS != 0 && self.memory.is_touched(touched)
    }

    /// The endpoints of a snapshot's clusters. A group without changed lookups stays as it was.
    fn endpoints(&mut self, snapshot: &Snapshot, touched: &Touched, before: &Endpoints) -> Arc<Endpoints> {
        let known = std::mem::take(&mut self.endpoints);
        let mut endpoints = BTreeMap::new();
        for key in snapshot.clusters.iter().map(|cluster| &cluster.key.endpoints) {
            if self.endpoints.contains_key(key) {
                continue;
            }
            let kept = known.get_key_value(key).filter(|(_, reads)| !reads.are_touched(touched)).zip(before.get(key));
            let (key, reads, list) = match kept {
                Some(((key, reads), list)) => (key, reads.clone(), list.clone()),
                None => {
                    let (list, reads) = self.indexed.objects.track(|index| endpoints::of(index, &self.settings, key));
                    let kept = before.get(key).filter(|before| ***before == *list);
                    (key, reads, kept.cloned().unwrap_or_else(|| list.into()))
                }
            };
            endpoints.insert(key.clone(), list);
            self.endpoints.insert(key.clone(), reads);
        }
        Arc::new(endpoints)
    }
}

/// Sees to it that just the objects that are there have a status.
fn cover(statuses: &mut Arc<Statuses>, changes: &[Change]) {
    let nothing = Arc::<Status>::default();
    for change in changes.iter().filter(|change| change.before.is_none() != change.now.is_none()) {
        let statuses = Arc::make_mut(statuses);
        match change.now {
            Some(_) => statuses.put(&change.key, nothing.clone()),
            None => statuses.remove(&change.key),
        }
    }
}
