//! What the admin endpoint shows of a gateway.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use pailou_compile::status::Statuses;
use pailou_proxy::Proxy;

use crate::{admin, document::Document, source::Problem};

/// What is said of a configuration's objects, and of the files they came from.
type Said = (Arc<Statuses>, Arc<[Problem]>);

/// The state of a gateway, as far as others may see it.
pub(crate) struct Shown {
    proxy: Arc<Proxy>,
    draining: AtomicBool,
    said: Mutex<Option<Said>>,
}

impl Shown {
    /// Nothing is loaded yet.
    pub(crate) fn new(proxy: Arc<Proxy>) -> Self {
        Self { proxy, draining: AtomicBool::new(false), said: Mutex::new(None) }
    }

    /// Shows another configuration from now on.
    pub(crate) fn show(&self, statuses: Arc<Statuses>, problems: Arc<[Problem]>) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some((statuses, problems));
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
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some((statuses, problems)) = said else { return "{}\n".to_owned() };
        let document = Document::new(&statuses, &problems);
        serde_json::to_string_pretty(&document).expect("conditions are strings and numbers") + "\n"
    }
}
