//! One proxy's feed: what it was told, and what it is to be told next.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use pailou_config::{
    reach::reach,
    resources::{Gateway, ObjectKey},
    snapshot::Name,
};
use tokio::{sync::watch, time};

use super::{PULSE, wire};
use crate::{Published, published::Json};

/// The lines of a feed. Ends when the controller does, or the Gateway is gone. However slow the reader, what waits for it is one
/// batch: the next is made of what holds by then.
pub(super) fn lines(published: watch::Receiver<Option<Published>>, gateway: Name) -> impl Stream<Item = Bytes> {
    let session = Session { published, gateway, told: BTreeMap::new(), is_first: true };
    stream::unfold(session, |mut session| async move { session.next().await.map(|lines| (lines, session)) })
}

struct Session {
    published: watch::Receiver<Option<Published>>,
    gateway: Name,
    told: BTreeMap<Arc<ObjectKey>, Json>,
    is_first: bool,
}

impl Session {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.is_first {
                match time::timeout(PULSE, self.published.changed()).await {
                    Ok(changed) => changed.ok()?,
                    Err(_) => {
                        let mut lines = Vec::new();
                        wire::write_pulse(&mut lines);
                        return Some(lines.into());
                    }
                }
            }
            let published = self.published.borrow_and_update().clone()?;
            let lines = self.batch(&published)?;
            if !lines.is_empty() || self.is_first {
                self.is_first = false;
                return Some(lines.into());
            }
        }
    }

    /// The differences to what was told; nothing where there are none.
    fn batch(&mut self, published: &Published) -> Option<Vec<u8>> {
        published.store.find::<Gateway>(&self.gateway.namespace, &self.gateway.name)?;
        let reached = reach(&published.store, &published.settings, &self.gateway);
        let objects = reached.iter().filter_map(|key| published.objects.get_key_value(key));
        let now: BTreeMap<_, _> = objects.map(|(key, json)| (key.clone(), json.clone())).collect();
        let mut lines = Vec::new();
        for key in self.told.keys().filter(|key| !now.contains_key(*key)) {
            wire::write_delete(&mut lines, key);
        }
        for (key, json) in &now {
            if self.told.get(key) != Some(json) {
                wire::write_upsert(&mut lines, json.expose());
            }
        }
        if !lines.is_empty() || self.is_first {
            wire::write_synced(&mut lines);
        }
        self.told = now;
        Some(lines)
    }
}
