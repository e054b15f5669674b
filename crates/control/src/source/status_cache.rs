//! Objects' statuses as the API server has them, for the writer.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kube::core::ObjectMeta;
use pailou_api::ObjectKey;
use parking_lot::Mutex;
use serde_json::{Value, value::RawValue};
use tokio::sync::Notify;

use crate::FIELD_MANAGER;

/// Status of an object as the API server has it, with what a write of it needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CachedStatus {
    /// `apiVersion`.
    pub(crate) api_version: Arc<str>,
    /// The plural name in URLs.
    pub(crate) plural: Arc<str>,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    pub(crate) generation: i64,
    /// `status`.
    pub(crate) status: Text,
    /// The field manager of another controller that has written the status.
    pub(crate) other_writer: Option<String>,
    /// Fingerprint of this replica's last write, if `status` is the API server's answer to it.
    pub(crate) written: Option<u64>,
}

/// JSON that is seldom looked at. There is one for each of thousands of objects: as text it takes a tenth of the memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Text(Box<str>);

impl From<Option<&Box<RawValue>>> for Text {
    fn from(value: Option<&Box<RawValue>>) -> Self {
        Self(value.map(|value| value.get()).filter(|text| *text != "null").unwrap_or_default().into())
    }
}

impl Text {
    /// The value; null where there is none.
    pub(crate) fn value(&self) -> Value {
        // The text was valid JSON when it came.
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

/// The field manager, not ours, that last wrote to the object's status subresource.
pub(crate) fn other_writer(meta: &ObjectMeta) -> Option<String> {
    let entries = meta.managed_fields.iter().flatten();
    let of_status = entries.filter(|entry| entry.subresource.as_deref() == Some("status"));
    of_status.filter_map(|entry| entry.manager.clone()).find(|manager| manager != FIELD_MANAGER)
}

/// The live statuses by key. The source fills it, and the writer with what its own writes gave back.
#[derive(Debug, Default)]
pub(crate) struct StatusCache {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<ObjectKey, Arc<CachedStatus>>,
    touched: BTreeSet<ObjectKey>,
}

impl StatusCache {
    /// An object's status.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<CachedStatus>> {
        self.inner.lock().objects.get(key).cloned()
    }

    /// Stores a status from the API server, unless the cache has as new a one of the same object.
    pub(crate) fn put(&self, key: &ObjectKey, live: CachedStatus) {
        let mut inner = self.inner.lock();
        if inner.objects.get(key).is_some_and(|known| known.uid == live.uid && !is_newer(&live, known)) {
            return;
        }
        inner.touched.insert(key.clone());
        inner.objects.insert(key.clone(), Arc::new(live));
        drop(inner);
        self.changed.notify_one();
    }

    /// Takes what the API server made of a write.
    pub(crate) fn wrote(&self, key: &ObjectKey, live: CachedStatus, fingerprint: u64) {
        let mut inner = self.inner.lock();
        if let Some(known) = inner.objects.get_mut(key)
            && known.uid == live.uid
            && is_newer(&live, known)
        {
            *known = Arc::new(CachedStatus { written: Some(fingerprint), ..live });
        }
    }

    /// Forgets an object.
    pub(crate) fn remove(&self, key: &ObjectKey) {
        let mut inner = self.inner.lock();
        inner.objects.remove(key);
        inner.touched.remove(key);
    }

    /// Waits for changes and takes the keys of what has changed.
    pub(crate) async fn touched(&self) -> BTreeSet<ObjectKey> {
        loop {
            let touched = std::mem::take(&mut self.inner.lock().touched);
            if !touched.is_empty() {
                return touched;
            }
            self.changed.notified().await;
        }
    }
}

/// Whether a resource version is newer than another: versions grow (Kubernetes promises it since 1.35). If they are no numbers,
/// the last to come counts as newer.
fn is_newer(live: &CachedStatus, known: &CachedStatus) -> bool {
    let number = |live: &CachedStatus| live.resource_version.parse::<u128>().ok();
    match number(live).zip(number(known)) {
        Some((live, known)) => live > known,
        None => live.resource_version != known.resource_version,
    }
}
