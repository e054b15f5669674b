//! Pods of the data planes, and how to reach their admin endpoints.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};
use pailou_api::{Gateway, NamespaceName};
use pailou_compile::ADMIN_PORT;
use pailou_snapshot::Name;
use tokio::sync::watch;

use crate::{
    ClusterState,
    provision::{CONTROLLER_LABEL, DATA_PLANE_LABEL, data_plane},
};

/// Pods of one answer of the API server.
const PAGE: u32 = 500;

/// A proxy's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyPod {
    /// The Gateway that it serves.
    pub gateway: Name,
    /// Namespace and name.
    pub name: Name,
    /// Its admin endpoint; `None` before it has an address.
    pub admin: Option<SocketAddr>,
}

/// Lists the pods of all data planes of this controller. It watches nothing: nobody asks while nobody looks.
#[derive(Clone)]
pub struct Proxies {
    client: Client,
    /// The controller's own namespace, which its objects' label names.
    namespace: String,
    /// The namespaces that are watched; all where there are none.
    namespaces: Vec<NamespaceName>,
    known: watch::Receiver<Option<ClusterState>>,
}

impl Proxies {
    /// Proxies that a controller of this namespace provisions for the Gateways it knows.
    pub fn new(
        client: Client,
        namespace: String,
        namespaces: Vec<NamespaceName>,
        known: watch::Receiver<Option<ClusterState>>,
    ) -> Self {
        Self { client, namespace, namespaces, known }
    }

    /// The first `most` pods by namespace and name, and how many there are beside them.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn list(&self, most: usize) -> Result<(Vec<ProxyPod>, usize), kube::Error> {
        let gateways = self.gateways();
        let mut pods = BTreeMap::new();
        let apis: Vec<Api<Pod>> = match self.namespaces.as_slice() {
            [] => vec![Api::all(self.client.clone())],
            some => some.iter().map(|namespace| Api::namespaced(self.client.clone(), namespace.as_str())).collect(),
        };
        let mut beside = 0;
        for api in apis {
            let mut parameters = ListParams::default().labels(&format!("{CONTROLLER_LABEL}={}", self.namespace)).limit(PAGE);
            loop {
                let page = api.list(&parameters).await?;
                for pod in page.items.iter().filter_map(|pod| self.proxy(pod, &gateways)) {
                    pods.insert(pod.name.clone(), pod);
                    if pods.len() > most {
                        pods.pop_last();
                        beside += 1;
                    }
                }
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => parameters = parameters.continue_token(&token),
                    None => break,
                }
            }
        }
        Ok((pods.into_values().collect(), beside))
    }

    /// Gateways by the namespace and name of their data planes' objects.
    fn gateways(&self) -> BTreeMap<Name, Name> {
        let known = self.known.borrow();
        let gateways = known.iter().flat_map(|known| known.store.all::<Gateway>());
        let named = gateways.map(|it| {
            let (namespace, name) = (&it.meta.namespace, &it.meta.name);
            (Name::new(namespace, &data_plane(name)), Name::new(namespace, name))
        });
        named.collect()
    }

    /// A pod that serves a Gateway, or will. Labels alone do not make one: whoever may patch pods writes them, and the controller's token is
    /// sent there.
    fn proxy(&self, pod: &Pod, gateways: &BTreeMap<Name, Name>) -> Option<ProxyPod> {
        let (name, namespace) = (pod.metadata.name.as_ref()?, pod.metadata.namespace.as_ref()?);
        let labels = pod.metadata.labels.as_ref()?;
        let plane = labels.get(DATA_PLANE_LABEL)?;
        let gateway = gateways.get(&Name::new(namespace, plane))?;
        let status = pod.status.as_ref();
        let has_ended = status.and_then(|it| it.phase.as_deref()).is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
        if labels.get(CONTROLLER_LABEL) != Some(&self.namespace) || has_ended || !is_of_deployment(pod, plane) {
            return None;
        }
        let address: Option<IpAddr> = status.and_then(|it| it.pod_ip.as_ref()?.parse().ok());
        let admin = address.map(|address| SocketAddr::new(address, ADMIN_PORT));
        Some(ProxyPod { gateway: gateway.clone(), name: Name::new(namespace, name), admin })
    }
}

/// Whether a pod is one of this Deployment as the controller makes it: a ReplicaSet of it controls the pod, and it has a network of its own.
fn is_of_deployment(pod: &Pod, deployment: &str) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten().filter(|owner| owner.controller == Some(true));
    let is_owned = owners.any(|owner| {
        let hash = owner.name.strip_prefix(deployment).and_then(|rest| rest.strip_prefix('-'));
        owner.kind == "ReplicaSet" && owner.api_version == "apps/v1" && hash.is_some_and(|it| !it.is_empty() && !it.contains('-'))
    });
    let is_apart = pod.spec.as_ref().is_some_and(|spec| spec.host_network != Some(true));
    is_owned && is_apart
}
