//! Tells the compiler what has become of the data planes. On every replica: one that begins to lead must know it before it says
//! anything of a Gateway.

use std::{collections::BTreeMap, sync::Arc};

use pailou_compile::{Settings, store::Store};
use pailou_snapshot::Name;
use tokio::{sync::watch, time};

use super::{PACE, children::Children, failures::Refusal};
use crate::ClusterState;

/// Objects that the API server refuses, by Gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refused {
    /// NetworkPolicies: the proxies serve without.
    pub(super) policies: BTreeMap<Name, Refusal>,
    /// Objects that the proxies need.
    pub(super) others: BTreeMap<Name, Refusal>,
}

/// Sources of the data planes' state, and its receiver.
pub(super) struct Reporter {
    pub(super) children: watch::Receiver<Children>,
    pub(super) refused: watch::Receiver<Refused>,
    /// The endpoints of Services.
    pub(super) known: watch::Receiver<Option<ClusterState>>,
    pub(super) settings: watch::Sender<Settings>,
}

impl Reporter {
    /// Works until the controller stops.
    pub(super) async fn run(mut self) {
        loop {
            let needs_endpoints = self.report();
            time::sleep(PACE).await;
            tokio::select! {
                changed = self.children.changed() => if changed.is_err() { return },
                changed = self.refused.changed() => if changed.is_err() { return },
                changed = self.known.changed(), if needs_endpoints => if changed.is_err() { return },
            }
        }
    }

    /// Reports the state once the first lists are complete. Returns whether it depends on endpoints.
    fn report(&mut self) -> bool {
        let children = self.children.borrow_and_update().clone();
        let needs_endpoints = children.need_endpoints();
        let store: Option<Arc<Store>> = self.known.borrow_and_update().as_ref().map(|known| known.store.clone());
        if children.is_known() && (store.is_some() || !needs_endpoints) {
            let planes = children.data_planes(&store.unwrap_or_default(), &self.refused.borrow_and_update());
            self.settings.send_if_modified(|settings| {
                let changed = settings.data_planes.as_ref() != Some(&planes);
                settings.data_planes = Some(planes);
                changed
            });
        }
        needs_endpoints
    }
}
