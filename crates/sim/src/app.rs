//! State of a server, shared by all its connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use parking_lot::{Mutex, RwLock};

use crate::config::{Config, ConfigError};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::faults::Faults;
use crate::kv_events::EventLog;
use crate::kv_transfer::Transfers;
use crate::reply::ApiError;
use crate::tokenizer::{hash_bytes, mix};

/// Adapters loaded at the same time.
const MAX_ADAPTERS: usize = 256;

pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) driver: Arc<Driver>,
    pub(crate) faults: Faults,
    /// Batches of KV events, if they are published.
    pub(crate) events: Option<Arc<EventLog>>,
    /// Prompts that go to other engines or come from them.
    pub(crate) transfers: Transfers,
    pub(crate) server_name: HeaderValue,
    pub(crate) started: u64,
    pub(crate) counters: Counters,
    adapters: RwLock<Vec<Arc<str>>>,
    last: Mutex<Option<LastRequest>>,
    serial: AtomicU64,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) requests: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) open_connections: AtomicU64,
}

/// A request's head, as it arrived.
#[derive(Clone)]
pub struct LastRequest {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// All headers, credentials included; `Debug` shows their names only.
    pub headers: HeaderMap,
}

impl fmt::Debug for LastRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.keys().collect();
        write!(f, "{} {} {names:?}", self.method, self.path)
    }
}

/// The requested model, if it exists.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    /// The name asked for, which responses repeat.
    pub(crate) name: String,
    pub(crate) adapter: Option<Arc<str>>,
}

impl Model {
    /// Start of block hashes: the blocks of one model are of no use to another.
    pub(crate) fn cache_seed(&self) -> u64 {
        hash_bytes(self.name.as_bytes())
    }
}

impl App {
    pub(crate) fn new(config: Config) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut engine = Engine::new(config.limits(), config.cost, config.seed);
        config.kv_offload.into_iter().for_each(|limits| engine.offload(limits));
        let events = config.kv_events.as_ref().map(|settings| Arc::new(EventLog::new(settings, config.block_size)));
        Ok(App {
            driver: Arc::new(Driver::new(engine, config.time_scale, events.clone())),
            events,
            transfers: Transfers::new(),
            faults: Faults::new(config.faults.clone(), config.seed),
            server_name: HeaderValue::from_str(&config.name).map_err(|_| ConfigError::Name)?,
            started: now(),
            counters: Counters::default(),
            adapters: RwLock::new(config.adapters.iter().map(|name| Arc::from(name.as_str())).collect()),
            last: Mutex::new(None),
            serial: AtomicU64::new(0),
            config,
        })
    }

    /// The model of this name; the first one when none is named.
    pub(crate) fn model(&self, name: Option<String>) -> Result<Model, ApiError> {
        let name = name.unwrap_or_else(|| self.config.models[0].clone());
        if self.config.models.contains(&name) {
            return Ok(Model { name, adapter: None });
        }
        let adapter = self.adapters.read().iter().find(|adapter| ***adapter == *name).cloned();
        match adapter {
            Some(adapter) => Ok(Model { name, adapter: Some(adapter) }),
            None => Err(ApiError::unknown_model(&name)),
        }
    }

    pub(crate) fn adapters(&self) -> Vec<Arc<str>> {
        self.adapters.read().clone()
    }

    pub(crate) fn load_adapter(&self, name: &str) -> Result<(), ApiError> {
        let mut adapters = self.adapters.write();
        if adapters.iter().any(|adapter| **adapter == *name) || self.config.models.iter().any(|m| m == name) {
            return Err(ApiError::bad_request(format!("The adapter `{name}` is loaded already.")));
        }
        if adapters.len() >= MAX_ADAPTERS {
            return Err(ApiError::bad_request(format!("No more than {MAX_ADAPTERS} adapters can be loaded.")));
        }
        adapters.push(Arc::from(name));
        Ok(())
    }

    pub(crate) fn unload_adapter(&self, name: &str) -> Result<(), ApiError> {
        let mut adapters = self.adapters.write();
        let Some(index) = adapters.iter().position(|adapter| **adapter == *name) else {
            return Err(ApiError::unknown_model(name));
        };
        adapters.remove(index);
        Ok(())
    }

    /// An identifier such as `chatcmpl-…`, unique within the server and told apart from its replicas'.
    pub(crate) fn id(&self, prefix: &str) -> String {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let seed = mix(self.config.seed, hash_bytes(self.config.name.as_bytes()));
        format!("{prefix}{:016x}{serial:08x}", mix(mix(seed, self.started), serial))
    }

    pub(crate) fn note(&self, head: &Parts) {
        self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let last = LastRequest { method: head.method.clone(), path, headers: head.headers.clone() };
        *self.last.lock() = Some(last);
    }

    pub(crate) fn last_request(&self) -> Option<LastRequest> {
        self.last.lock().clone()
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
