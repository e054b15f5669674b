//! Observed objects of the data planes, which every replica of the controller watches.

use std::{collections::BTreeMap, fmt::Debug, pin::pin};

use futures_util::{
    StreamExt,
    future::{join, join_all, join5},
};
use k8s_openapi::api::{
    apps::v1 as apps, autoscaling::v2 as autoscaling, core::v1 as core, networking::v1 as networking, policy::v1 as policy,
};
use kube::{
    Api, Client, Resource,
    core::{ApiResource, DynamicResourceScope},
    runtime::{WatchStreamExt, watcher},
};
use pailou_api::NamespaceName;
use pailou_compile::{DataPlane, store::Store};
use pailou_snapshot::Name;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{
    Options, addresses,
    listed::{Listed, ObjectName},
    names,
    observed::{Deployment, Node, Observed, Service},
    render::CONTROLLER_LABEL,
    report::Refused,
};
use crate::list_watch::{ListChange, ListReducer, list_watch};

/// Kinds whose first lists are waited for.
const KINDS: usize = 4;

/// Objects with this installation's label, as the API server has them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    pub(crate) services: Listed<Service>,
    pub(crate) deployments: Listed<Deployment>,
    pub(crate) autoscalers: Listed<Observed>,
    pub(crate) disruption_budgets: Listed<Observed>,
    /// Not waited for: only an option needs the permission to list them.
    pub(crate) network_policies: Listed<Observed>,
    /// Namespaces, or 1 for all, whose NetworkPolicies are not followed at present.
    unfollowed_policies: usize,
    /// Nodes, once a Service is reached by their ports.
    pub(crate) nodes: Listed<Node>,
    /// Lists that are not known yet.
    missing: usize,
}

impl Children {
    /// Nothing listed yet, of as many namespaces; all of them count as one.
    pub(crate) fn unknown(namespaces: usize) -> Self {
        Self { missing: KINDS * namespaces.max(1), unfollowed_policies: namespaces.max(1), ..Self::default() }
    }

    /// Whether the first lists are complete.
    pub(crate) fn is_known(&self) -> bool {
        self.missing == 0
    }

    /// Whether a NetworkPolicy that is not among these is not there.
    pub(crate) fn knows_policies(&self) -> bool {
        self.unfollowed_policies == 0
    }

    /// Whether the reported addresses depend on the nodes of endpoints.
    pub(super) fn need_endpoints(&self) -> bool {
        self.services.iter().any(|(_, service)| addresses::are_nodes_with_endpoints(service))
    }

    /// The data planes to report: those that have a Service, or of which the API server refuses an object.
    pub(super) fn data_planes(&self, store: &Store, refused: &Refused) -> BTreeMap<Name, DataPlane> {
        let services = self.services.iter().filter_map(|(object_name, service)| {
            let owners = service.metadata.owner_references.iter().flatten();
            let gateway = owners.map(|owner| &owner.name).find(|name| names::data_plane(name) == object_name.1)?;
            Some((Name::new(&object_name.0, gateway), self.data_plane(object_name, service, store)))
        });
        let mut planes: BTreeMap<_, _> = services.collect();
        for (gateway, why) in &refused.policies {
            if let Some(plane) = planes.get_mut(gateway) {
                plane.unprotected = Some(why.clone());
            }
        }
        for (gateway, why) in &refused.others {
            planes.entry(gateway.clone()).or_default().refused = Some(why.clone());
        }
        planes
    }

    fn data_plane(&self, object_name: &ObjectName, service: &Service, store: &Store) -> DataPlane {
        let addresses = addresses::of_service(service, &self.nodes, store);
        let (within, others) = (addresses::within(service), addresses::others(service));
        let deployment = self.deployments.get(object_name).and_then(|it| it.status.as_ref());
        let ready = deployment.is_some_and(|status| status.available_replicas.unwrap_or_default() > 0);
        DataPlane { addresses, within, others, ready, ..DataPlane::default() }
    }
}

/// Follows everything for ever.
pub(crate) async fn follow(client: Client, options: Options, children: watch::Sender<Children>) {
    let scopes: Vec<_> = match options.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    };
    // Without the option only those are looked for that it has left.
    let policies = Need::Policies { are_wanted: options.admin_peers.is_some() };
    let observed = watcher::Config::default().labels(&format!("{CONTROLLER_LABEL}={}", options.namespace));
    let each = scopes.into_iter().map(|scope| {
        join5(
            follow_kind(api::<core::Service, _>(&client, scope), &observed, (&children, Need::Always), scope, |it| {
                &mut it.services
            }),
            follow_kind(api::<apps::Deployment, _>(&client, scope), &observed, (&children, Need::Always), scope, |it| {
                &mut it.deployments
            }),
            follow_kind(
                api::<autoscaling::HorizontalPodAutoscaler, _>(&client, scope),
                &observed,
                (&children, Need::Always),
                scope,
                |it| &mut it.autoscalers,
            ),
            follow_kind(api::<policy::PodDisruptionBudget, _>(&client, scope), &observed, (&children, Need::Always), scope, |it| {
                &mut it.disruption_budgets
            }),
            follow_kind(api::<networking::NetworkPolicy, _>(&client, scope), &observed, (&children, policies), scope, |it| {
                &mut it.network_policies
            }),
        )
    });
    join(join_all(each), follow_nodes(&client, &children)).await;
}

/// API of kind `K` in one namespace or in all, as `T`.
fn api<K, T>(client: &Client, scope: Option<&NamespaceName>) -> Api<T>
where
    K: Resource<DynamicType = ()>,
    T: Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>,
{
    let resource = ApiResource::erase::<K>(&());
    match scope {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace.as_str(), &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Nodes are many, and change often: they are followed where somebody asks for their addresses.
async fn follow_nodes(client: &Client, children: &watch::Sender<Children>) {
    let mut seen = children.subscribe();
    let is_asked = |children: &Children| children.services.iter().any(|(_, service)| addresses::are_nodes(service));
    if seen.wait_for(is_asked).await.is_ok() {
        follow_kind(api::<core::Node, _>(client, None), &watcher::Config::default(), (children, Need::Sometimes), None, |it| {
            &mut it.nodes
        })
        .await;
    }
}

/// Need of a kind's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Nothing is known without them.
    Always,
    /// They add something.
    Sometimes,
    /// NetworkPolicies. Those that are not wanted are not asked for again where that is forbidden.
    Policies { are_wanted: bool },
}

/// Follows the objects of one kind, in one namespace or in all.
async fn follow_kind<T>(
    api: Api<T>,
    config: &watcher::Config,
    (children, need): (&watch::Sender<Children>, Need),
    scope: Option<&NamespaceName>,
    part: impl Fn(&mut Children) -> &mut Listed<T>,
) where
    T: Resource<DynamicType = ApiResource> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (mut reducer, mut is_listed, mut is_followed) = (ListReducer::default(), need != Need::Always, false);
    let mut events = pin!(list_watch(api, config.clone()).default_backoff());
    while let Some(event) = events.next().await {
        let is_error = event.is_err();
        let change = match event {
            Ok(event) => reducer.reduce(event, Some),
            Err(error) if need == (Need::Policies { are_wanted: false }) && is_forbidden(&error) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot watch the data planes, retrying");
                None
            }
        };
        let follows = !is_error && (is_followed || change.is_some());
        if matches!(need, Need::Policies { .. }) && std::mem::replace(&mut is_followed, follows) != follows {
            // Nothing is to be done about it by itself.
            children.send_if_modified(|children| {
                let unfollowed = &mut children.unfollowed_policies;
                *unfollowed = if follows { unfollowed.saturating_sub(1) } else { *unfollowed + 1 };
                false
            });
        }
        let Some(change) = change else { continue };
        children.send_if_modified(|children| {
            if matches!(change, ListChange::Replace(_)) && !std::mem::replace(&mut is_listed, true) {
                children.missing = children.missing.saturating_sub(1);
            }
            part(children).take(change, scope)
        });
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        WatchError(status) => status.code == 403,
        _ => false,
    }
}
