//! Pools for tests, whose metrics are what a test says: the runtime that would scrape them is never driven.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use pailou_snapshot::{Address, Criticality, Endpoint, EndpointRole, ModelServer, Name, Pool, RoutingStrategy};
use tokio::runtime::{Builder, Runtime};

use crate::{PickRequest, Picked, PoolState, metrics::Figures};

pub(crate) struct Fixture {
    pub(crate) state: Arc<PoolState>,
    _runtime: Runtime,
}

impl Fixture {
    pub(crate) fn new(strategy: RoutingStrategy, count: usize) -> Self {
        let runtime = Builder::new_current_thread().build().unwrap();
        let state = PoolState::new(pool(strategy), &endpoints(0..count), runtime.handle());
        Self { state, _runtime: runtime }
    }

    /// Scrapes one endpoint, now.
    pub(crate) fn scraped(&self, member: usize, figures: Figures) {
        self.scraped_at(member, figures, Instant::now());
    }

    pub(crate) fn scraped_at(&self, member: usize, figures: Figures, at: Instant) {
        let endpoint = &self.state.members().endpoints[member];
        let last = endpoint.reading.load_full();
        let reading = last.successor(Some(figures), endpoint.record.in_flight.level(), Duration::from_millis(100), at);
        endpoint.reading.store(Arc::new(reading));
    }

    pub(crate) fn pick(&self, request: &PickRequest<'_>) -> Picked {
        self.state.pick(request).unwrap()
    }

    pub(crate) fn in_flight(&self) -> Vec<u32> {
        self.state.snapshot().iter().map(|endpoint| endpoint.in_flight).collect()
    }
}

pub(crate) fn pool(strategy: RoutingStrategy) -> Arc<Pool> {
    Arc::new(Pool::new(Name::new("default", "pool"), ModelServer::Vllm, strategy))
}

pub(crate) fn address(number: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 10_000 + number as u16))
}

pub(crate) fn endpoints(numbers: impl IntoIterator<Item = usize>) -> Vec<Endpoint> {
    let endpoint = |number| Endpoint {
        address: Address::Socket(address(number)),
        name: format!("pod-{number}").into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    };
    numbers.into_iter().map(endpoint).collect()
}

pub(crate) fn load(waiting: f32, running: f32, kv: f32) -> Figures {
    Figures { waiting, running, kv, ..Figures::default() }
}

pub(crate) fn standard<'a>() -> PickRequest<'a> {
    PickRequest { model: "qwen", ..PickRequest::default() }
}

pub(crate) fn sheddable<'a>() -> PickRequest<'a> {
    PickRequest { criticality: Criticality::Sheddable, ..standard() }
}

pub(crate) fn prompted(prompt: &[u8]) -> PickRequest<'_> {
    PickRequest { prompt, input_bytes: prompt.len(), ..standard() }
}

/// A prompt of so many bytes, like no other with another seed.
pub(crate) fn prompt(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.alphanumeric() as u8).take(bytes).collect()
}

/// Endpoints with these roles, numbered from 0.
pub(crate) fn with_roles(roles: &[EndpointRole]) -> Vec<Endpoint> {
    endpoints(0..roles.len()).into_iter().zip(roles).map(|(endpoint, role)| Endpoint { role: *role, ..endpoint }).collect()
}
