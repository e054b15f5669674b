//! One object's status, written once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kube::{Api, Client, api::PostParams, core::ApiResource};
use pailou_api::ObjectKey;
use pailou_compile::status::{Status, StatusBody};
use serde_json::{Value, json};
use tokio::{sync::watch, time};

use super::{merge::merge, ours::Ours};
use crate::{
    FIELD_MANAGER,
    cluster_state::CompiledState,
    events::Events,
    metrics::{Metrics, WriteResult},
    source::{
        raw::RawObject,
        status_cache::{CachedStatus, StatusCache, other_writer},
    },
};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts in a row at an object that others write to at the same time.
const ATTEMPTS: usize = 5;

/// Result of bringing an object's status up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// It said already what it should, or is not there any more.
    Settled,
    /// It says so now.
    Written,
    /// It was refused: to write the same again would be in vain.
    Refused,
    /// The API server did not take it, and may later.
    Later,
}

/// Context of a write. Cloning is cheap.
#[derive(Clone)]
pub(super) struct Write {
    pub(super) client: Client,
    pub(super) published: watch::Receiver<Option<CompiledState>>,
    pub(super) status_cache: Arc<StatusCache>,
    pub(super) events: Events,
    pub(super) metrics: Arc<Metrics>,
}

impl Write {
    /// Brings one object's status up to date with the newest compilation.
    pub(super) async fn settle(self, key: &ObjectKey) -> WriteOutcome {
        for _ in 0..ATTEMPTS {
            let Some((live, status)) = self.due(key) else { return WriteOutcome::Settled };
            let failed = match time::timeout(REQUEST_TIMEOUT, self.replace(key, &live, &status)).await {
                Ok(Ok(written)) => {
                    self.metrics.count_write(WriteResult::Done);
                    self.events.of_change(key, &live, &status);
                    self.status_cache.wrote(key, self.after(&live, &written), fingerprint(&status));
                    return WriteOutcome::Written;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    self.metrics.count_write(WriteResult::Failed);
                    tracing::warn!("cannot write the status of {key} within {} s, retrying", REQUEST_TIMEOUT.as_secs());
                    return WriteOutcome::Later;
                }
            };
            match &failed {
                kube::Error::Api(answer) if answer.code == 409 => {
                    self.metrics.count_write(WriteResult::Conflict);
                    match time::timeout(REQUEST_TIMEOUT, self.api(key, &live).get_opt(&key.name)).await {
                        Ok(Ok(Some(object))) => self.status_cache.put(key, self.after(&live, &object)),
                        Ok(Ok(None)) => return WriteOutcome::Settled,
                        Ok(Err(_)) | Err(_) => return WriteOutcome::Later,
                    }
                }
                kube::Error::Api(answer) if answer.code == 404 => return WriteOutcome::Settled,
                kube::Error::Api(answer) if matches!(answer.code, 400 | 422) => {
                    self.metrics.count_write(WriteResult::Refused);
                    tracing::error!("the API server refuses the status of {key}: {}", answer.message);
                    return WriteOutcome::Refused;
                }
                error => {
                    self.metrics.count_write(WriteResult::Failed);
                    tracing::warn!(%error, "cannot write the status of {key}, retrying");
                    return WriteOutcome::Later;
                }
            }
        }
        WriteOutcome::Later
    }

    /// The object as the API server has it, and the status that it should have; `None` where nothing is to be done.
    fn due(&self, key: &ObjectKey) -> Option<(Arc<CachedStatus>, Value)> {
        let published = self.published.borrow().clone()?;
        let live = self.status_cache.get(key)?;
        let status = published.compiled.statuses.get(key)?;
        let undecodable = published.cluster.store.undecodable(key).map(|undecodable| undecodable.generation);
        let compiled = undecodable.or_else(|| Some(published.cluster.store.entry(key)?.object.meta().generation))?;
        // Compiled and live object are of different generations: the next compilation, or event, is about to come.
        if compiled != live.generation && is_about_generation(status) {
            return None;
        }
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let merged = merge(&key.kind, &live, status, &Ours::new(&published), &now)?;
        // An API server that prunes a field, or fills one in, would have it written for ever.
        (live.written != Some(fingerprint(&merged))).then_some((live, merged))
    }

    async fn replace(&self, key: &ObjectKey, live: &CachedStatus, status: &Value) -> Result<RawObject, kube::Error> {
        let mut metadata = json!({ "name": key.name, "uid": live.uid, "resourceVersion": live.resource_version });
        if !key.namespace.is_empty() {
            metadata["namespace"] = key.namespace.as_str().into();
        }
        let body = json!({ "apiVersion": &*live.api_version, "kind": key.kind, "metadata": metadata, "status": status });
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.api(key, live).replace_subresource("status", &key.name, &params, &body).await
    }

    fn api(&self, key: &ObjectKey, live: &CachedStatus) -> Api<RawObject> {
        let resource = ApiResource {
            group: key.group.to_string(),
            version: live.api_version.rsplit('/').next().unwrap_or_default().to_owned(),
            api_version: live.api_version.to_string(),
            kind: key.kind.to_string(),
            plural: live.plural.to_string(),
        };
        match key.namespace.as_str() {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    /// The object's status after an answer that holds the object.
    fn after(&self, before: &CachedStatus, object: &RawObject) -> CachedStatus {
        CachedStatus {
            uid: object.metadata.uid.clone().unwrap_or_default(),
            resource_version: object.metadata.resource_version.clone().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            status: object.data.get("status").into(),
            other_writer: other_writer(&object.metadata),
            written: None,
            ..before.clone()
        }
    }
}

/// Whether the status names the generation that it is about.
fn is_about_generation(status: &Status) -> bool {
    !matches!(status.body, StatusBody::None)
}

/// Fingerprint of a status without the times of its conditions.
fn fingerprint(status: &Value) -> u64 {
    fn feed(value: &Value, hasher: &mut DefaultHasher) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields.iter().filter(|(key, _)| *key != "lastTransitionTime") {
                    key.hash(hasher);
                    feed(value, hasher);
                }
                0xff_u8.hash(hasher);
            }
            Value::Array(items) => {
                items.len().hash(hasher);
                items.iter().for_each(|item| feed(item, hasher));
            }
            scalar => scalar.hash(hasher),
        }
    }
    let mut hasher = DefaultHasher::new();
    feed(status, &mut hasher);
    hasher.finish()
}
