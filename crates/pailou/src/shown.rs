//! What the admin endpoint shows of a gateway.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use pailou_proxy::Proxy;

use crate::{admin, configuration::Loaded, document::Document};

/// The state of a gateway, as far as others may see it.
pub(crate) struct Shown {
    proxy: Arc<Proxy>,
    draining: AtomicBool,
    loaded: Mutex<Option<Loaded>>,
}

impl Shown {
    /// Nothing is loaded yet.
    pub(crate) fn new(proxy: Arc<Proxy>) -> Self {
        Self { proxy, draining: AtomicBool::new(false), loaded: Mutex::new(None) }
    }

    /// Shows another configuration from now on.
    pub(crate) fn show(&self, loaded: Loaded) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Some(loaded);
    }

    /// New requests should go elsewhere from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl admin::State for Shown {
    fn is_ready(&self) -> bool {
        self.proxy.ready() && !self.draining.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        self.proxy.encode_metrics(&mut text);
        text
    }

    fn status(&self) -> String {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(loaded) = loaded else { return "{}\n".to_owned() };
        let document = Document::new(&loaded.objects, &loaded.statuses, &loaded.problems);
        serde_json::to_string_pretty(&document).expect("conditions are strings and numbers") + "\n"
    }
}
