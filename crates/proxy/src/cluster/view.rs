//! View for choosing an endpoint: an immutable picture of the endpoints and of their health.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use foldhash::{HashMap, HashMapExt as _};
use pailou_picker::PoolEndpoint;
use pailou_snapshot::{Address, Cluster, Endpoint, EndpointKey, HealthChecks, LoadBalancer};

use super::{
    EndpointId, EndpointState, EndpointToken,
    maglev::Maglev,
    priority::{self, Census},
};

/// Panic threshold where none is set, percent (Envoy's).
pub(super) const PANIC_THRESHOLD: u8 = 50;

/// Endpoints by priority; new when endpoints or settings change.
#[derive(Debug, Default)]
pub(super) struct Members {
    balance: Balance,
    levels: Vec<Level>,
    by_address: HashMap<Address, Arc<EndpointState>>,
    /// By the picker's slot, where the cluster is a pool.
    by_slot: Vec<Option<Arc<EndpointState>>>,
    /// Made for the first session.
    by_token: OnceLock<HashMap<EndpointToken, Arc<EndpointState>>>,
}

/// The endpoints of one priority, ordered by address, so that every replica of the gateway builds the same table.
#[derive(Debug)]
struct Level {
    endpoints: Vec<Arc<EndpointState>>,
    table: Option<Maglev>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Balance {
    #[default]
    LeastRequest,
    RoundRobin,
    Random,
    ConsistentHash,
}

impl Members {
    /// Sorts endpoints into levels; of several with one address the first counts.
    pub(super) fn build(
        settings: &Cluster,
        endpoints: &[Endpoint],
        mut state: impl FnMut(&Endpoint) -> Arc<EndpointState>,
    ) -> Self {
        let mut by_address = HashMap::with_capacity(endpoints.len());
        let mut levels: BTreeMap<u8, Vec<(String, Arc<EndpointState>)>> = BTreeMap::new();
        for endpoint in endpoints {
            if !by_address.contains_key(&endpoint.address) {
                let state = state(endpoint);
                by_address.insert(endpoint.address.clone(), Arc::clone(&state));
                levels.entry(endpoint.priority).or_default().push((endpoint.address.to_string(), state));
            }
        }
        let (balance, table_size) = match settings.load_balancer {
            LoadBalancer::LeastRequest => (Balance::LeastRequest, None),
            LoadBalancer::RoundRobin => (Balance::RoundRobin, None),
            LoadBalancer::Random => (Balance::Random, None),
            LoadBalancer::ConsistentHash { table_size, .. } => (Balance::ConsistentHash, Some(table_size)),
        };
        let levels = levels
            .into_values()
            .map(|mut level| {
                level.sort_by(|a, b| a.0.cmp(&b.0));
                let (names, endpoints): (Vec<_>, Vec<_>) = level.into_iter().unzip();
                Level { endpoints, table: table_size.and_then(|size| Maglev::build(&names, size)) }
            })
            .collect();
        let mut by_slot = Vec::new();
        for state in by_address.values() {
            if let Some(slot) = state.slot() {
                by_slot.resize(by_slot.len().max(slot + 1), None);
                by_slot[slot] = Some(Arc::clone(state));
            }
        }
        Self { balance, levels, by_address, by_slot, by_token: OnceLock::new() }
    }

    /// The endpoint of this name.
    pub(super) fn by_token(&self, key: &EndpointKey, token: EndpointToken) -> Option<&Arc<EndpointState>> {
        let named = || self.iter().map(|state| (EndpointToken::new(key, &state.endpoint().address), Arc::clone(state))).collect();
        self.by_token.get_or_init(named).get(&token)
    }

    /// The state of an endpoint that was picked. While a pod takes another's address the picker and this list may know one and the
    /// other: the address is what counts.
    pub(super) fn picked(&self, picked: &Arc<PoolEndpoint>) -> Option<&Arc<EndpointState>> {
        let by_slot = self.by_slot.get(picked.slot()).and_then(Option::as_ref).filter(|state| state.is_of(Some(picked)));
        by_slot.or_else(|| self.find(&picked.endpoint().address))
    }

    /// The endpoint at an address.
    pub(super) fn find(&self, address: &Address) -> Option<&Arc<EndpointState>> {
        self.by_address.get(address)
    }

    /// By the picker's slot: endpoints that are not healthy; empty where all are, or the cluster is no pool.
    fn avoided(&self, healthy: &[Vec<bool>]) -> Box<[bool]> {
        if healthy.iter().flatten().all(|healthy| *healthy) {
            return Box::default();
        }
        let mut avoided = vec![false; self.by_slot.len()];
        for (endpoint, healthy) in self.iter().zip(healthy.iter().flatten()) {
            if let Some(slot) = endpoint.slot() {
                avoided[slot] = !healthy;
            }
        }
        avoided.into()
    }

    /// All endpoints, the most preferred first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<EndpointState>> {
        self.levels.iter().flat_map(|level| &level.endpoints)
    }

    /// How many endpoints there are.
    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}

/// Usable endpoints; new when any endpoint's health changes.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) members: Arc<Members>,
    /// The first moment at which an ejected endpoint returns.
    pub(super) returns_at: Option<Instant>,
    /// All levels together.
    pub(super) census: Census,
    /// As long as the members' levels.
    usable: Vec<Usable>,
    total_weight: u32,
    /// By the picker's slot: endpoints that are not healthy. Empty where all are.
    avoided: Box<[bool]>,
}

/// The part of a level that may be used.
#[derive(Debug)]
struct Usable {
    /// Its share of the requests, against the sum of all levels'.
    weight: u32,
    /// The endpoints' places in the level, ascending.
    places: Vec<u32>,
    /// The same, by place.
    is_usable: Vec<bool>,
}

impl View {
    pub(super) fn new(members: Arc<Members>, health: &HealthChecks, now: Instant) -> Self {
        let mut returns_at = None;
        let healthy: Vec<Vec<bool>> = members
            .levels
            .iter()
            .map(|level| level.endpoints.iter().map(|endpoint| is_healthy(endpoint, health, now, &mut returns_at)).collect())
            .collect();
        let avoided = members.avoided(&healthy);
        let census: Vec<Census> = healthy
            .iter()
            .map(|level| Census { total: level.len(), healthy: level.iter().filter(|&&healthy| healthy).count() })
            .collect();
        let shares = priority::shares(&census, health.panic_threshold.unwrap_or(PANIC_THRESHOLD));
        let usable: Vec<Usable> = healthy
            .into_iter()
            .zip(shares)
            .map(|(mut is_usable, share)| {
                if share.panic {
                    is_usable.fill(true);
                }
                let places = (0_u32..).zip(&is_usable).filter(|(_, usable)| **usable).map(|(place, _)| place).collect();
                Usable { weight: share.weight, places, is_usable }
            })
            .collect();
        let total_weight = usable.iter().fold(0_u32, |sum, level| sum.saturating_add(level.weight));
        let census = census.into_iter().fold(Census::default(), |sum, level| sum + level);
        Self { members, returns_at, census, usable, total_weight, avoided }
    }

    /// By the picker's slot: endpoints that come last.
    pub(super) fn avoided(&self) -> &[bool] {
        &self.avoided
    }

    /// Chooses an endpoint; `turn` counts for round robin.
    pub(super) fn choose(&self, hash: Option<u64>, tried: &[EndpointId], turn: &AtomicUsize) -> Option<&Arc<EndpointState>> {
        let preferred = self.level(hash)?;
        self.pick(preferred, hash, tried, turn)
            .or_else(|| (0..self.usable.len()).find_map(|level| self.pick(level, hash, tried, turn)))
            .or_else(|| self.pick(preferred, hash, &[], turn))
    }

    /// Whether an endpoint may be used.
    pub(super) fn is_usable(&self, endpoint: &EndpointState) -> bool {
        self.members.levels.iter().zip(&self.usable).any(|(level, usable)| {
            level.endpoints.iter().zip(&usable.is_usable).any(|(other, usable)| *usable && other.id() == endpoint.id())
        })
    }

    /// Whether an endpoint that may be used was not tried.
    pub(super) fn has_untried(&self, tried: &[EndpointId]) -> bool {
        self.members
            .levels
            .iter()
            .zip(&self.usable)
            .any(|(level, usable)| Candidates { endpoints: &level.endpoints, places: &usable.places, tried }.nth(0).is_some())
    }

    /// The level a request goes to: by its hash where it has one, so that equal requests stay together.
    fn level(&self, hash: Option<u64>) -> Option<usize> {
        if self.total_weight == 0 {
            return None;
        }
        if self.usable[0].weight == self.total_weight {
            return Some(0);
        }
        let mut point = match hash {
            // The high half: the low bits choose within the level.
            Some(hash) => ((hash >> 32) % u64::from(self.total_weight)) as u32,
            None => fastrand::u32(..self.total_weight),
        };
        self.usable.iter().position(|level| match point.checked_sub(level.weight) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })
    }

    fn pick(&self, level: usize, hash: Option<u64>, tried: &[EndpointId], turn: &AtomicUsize) -> Option<&Arc<EndpointState>> {
        let candidates = Candidates { endpoints: &self.members.levels[level].endpoints, places: &self.usable[level].places, tried };
        let count = candidates.count();
        if count == 0 {
            return None;
        }
        match (self.members.balance, hash) {
            (Balance::LeastRequest, _) => candidates.less_loaded_of_two(count),
            (Balance::RoundRobin, _) => candidates.nth(turn.fetch_add(1, Ordering::Relaxed) % count),
            (Balance::ConsistentHash, Some(hash)) => {
                let (level, is_usable) = (&self.members.levels[level], &self.usable[level].is_usable);
                let untried = |place: usize| is_usable[place] && !tried.contains(&level.endpoints[place].id());
                let found = level.table.as_ref().and_then(|table| table.find(hash, untried));
                found.map(|place| &level.endpoints[place]).or_else(|| candidates.nth((hash % count as u64) as usize))
            }
            (Balance::Random | Balance::ConsistentHash, _) => candidates.nth(fastrand::usize(..count)),
        }
    }
}

fn is_healthy(endpoint: &EndpointState, health: &HealthChecks, now: Instant, returns_at: &mut Option<Instant>) -> bool {
    let mut ejection = endpoint.ejection.lock();
    if health.passive.is_none() {
        ejection.lift();
    }
    if ejection.holds(now) {
        *returns_at = returns_at.take().into_iter().chain(ejection.until).min();
        return false;
    }
    endpoint.passes_checks()
}

/// The endpoints of a level that may be used and were not tried. Walks the list only where some were tried.
struct Candidates<'a, 't> {
    endpoints: &'a [Arc<EndpointState>],
    places: &'a [u32],
    tried: &'t [EndpointId],
}

impl<'a> Candidates<'a, '_> {
    fn count(&self) -> usize {
        if self.tried.is_empty() { self.places.len() } else { self.untried().count() }
    }

    fn nth(&self, n: usize) -> Option<&'a Arc<EndpointState>> {
        if self.tried.is_empty() {
            return self.places.get(n).map(|&place| &self.endpoints[place as usize]);
        }
        self.untried().nth(n)
    }

    fn untried(&self) -> impl Iterator<Item = &'a Arc<EndpointState>> {
        let places = self.places.iter().map(|&place| &self.endpoints[place as usize]);
        places.filter(|endpoint| !self.tried.contains(&endpoint.id()))
    }

    /// Power of two choices. Ties go to the one drawn first, which is random.
    fn less_loaded_of_two(&self, count: usize) -> Option<&'a Arc<EndpointState>> {
        let first = fastrand::usize(..count);
        let one = self.nth(first)?;
        if count == 1 {
            return Some(one);
        }
        let second = fastrand::usize(..count - 1);
        let other = self.nth(if second >= first { second + 1 } else { second })?;
        Some(if other.in_flight() < one.in_flight() { other } else { one })
    }
}
