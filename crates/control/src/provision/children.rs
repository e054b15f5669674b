//! What has become of the data planes: their Deployments and Services, followed on every replica of the controller.

use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
};

use futures_util::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use pailou_config::{compile::DataPlane, status::GatewayAddress};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Options, plan::Plan, render::CONTROLLER_LABEL};

/// Namespace and name.
pub(crate) type Place = (String, String);

/// The Deployments and Services that bear this installation's label, as the API server has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Children {
    pub(crate) services: HashMap<Place, Service>,
    pub(crate) deployments: HashMap<Place, Deployment>,
    /// Whether both lists are known.
    pub(crate) is_known: bool,
}

impl Children {
    /// What clients can be told of a planned data plane; nothing where it has no Service yet.
    pub(crate) fn data_plane(&self, plan: &Plan, name: &str) -> Option<DataPlane> {
        let place = (plan.gateway.namespace.to_string(), name.to_owned());
        let service = self.services.get(&place)?;
        let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = balancer.and_then(|it| it.ingress.as_deref()).unwrap_or_default();
        let addresses: Vec<_> = ingress
            .iter()
            .filter_map(|it| match (&it.ip, &it.hostname) {
                (Some(ip), _) => Some(GatewayAddress { kind: "IPAddress", value: ip.clone() }),
                (None, Some(name)) => Some(GatewayAddress { kind: "Hostname", value: name.clone() }),
                (None, None) => None,
            })
            .collect();
        let missing = plan.addresses.iter().filter(|asked| addresses.iter().all(|it| it.value != **asked));
        let why = "the load balancer has not given it to the Gateway's Service";
        let unusable: BTreeMap<_, _> = missing.map(|asked| (asked.clone(), why.to_owned())).collect();
        let deployment = self.deployments.get(&place).and_then(|it| it.status.as_ref());
        let ready = deployment.is_some_and(|status| status.available_replicas.unwrap_or_default() > 0);
        Some(DataPlane { addresses, unusable, ready })
    }
}

/// Follows both kinds for ever.
pub(crate) async fn follow(client: Client, options: Options, children: watch::Sender<Children>) {
    let (mut is_service_list_known, mut is_deployment_list_known) = (false, false);
    let mut services = pin!(events::<Service>(&client, &options));
    let mut deployments = pin!(events::<Deployment>(&client, &options));
    let (mut new_services, mut new_deployments) = (HashMap::new(), HashMap::new());
    loop {
        tokio::select! {
            Some(event) = services.next() => children.send_if_modified(|children| {
                let changed = take(event, &mut children.services, &mut new_services, &mut is_service_list_known);
                children.is_known = is_service_list_known && is_deployment_list_known;
                changed
            }),
            Some(event) = deployments.next() => children.send_if_modified(|children| {
                let changed = take(event, &mut children.deployments, &mut new_deployments, &mut is_deployment_list_known);
                children.is_known = is_service_list_known && is_deployment_list_known;
                changed
            }),
            else => return,
        };
    }
}

fn events<T>(client: &Client, options: &Options) -> impl futures_util::Stream<Item = Result<Event<T>, watcher::Error>> + use<T>
where
    T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let config = watcher::Config::default().labels(&format!("{CONTROLLER_LABEL}={}", options.namespace));
    watcher::watcher(Api::<T>::all(client.clone()), config).default_backoff()
}

/// Takes in an event; gives back whether it made a difference.
fn take<T: ResourceExt>(
    event: Result<Event<T>, watcher::Error>,
    known: &mut HashMap<Place, T>,
    listed: &mut HashMap<Place, T>,
    is_known: &mut bool,
) -> bool {
    let place = |object: &T| (object.namespace().unwrap_or_default(), object.name_any());
    match event {
        Ok(Event::Init) => {
            listed.clear();
            false
        }
        Ok(Event::InitApply(object)) => {
            listed.insert(place(&object), object);
            false
        }
        Ok(Event::InitDone) => {
            *known = std::mem::take(listed);
            *is_known = true;
            true
        }
        Ok(Event::Apply(object)) => {
            known.insert(place(&object), object);
            true
        }
        Ok(Event::Delete(object)) => known.remove(&place(&object)).is_some(),
        Err(error) => {
            tracing::warn!(%error, "watching the data planes; trying again");
            false
        }
    }
}
