//! Observed objects of the data planes, which every replica of the controller watches.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    pin::pin,
    time::Duration,
};

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
use pailou_compile::{DataPlane, OlderPolicy, Unprotected, store::Store};
use pailou_snapshot::Name;
use serde::de::DeserializeOwned;
use tokio::{sync::watch, time};

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
/// Time from a watch of NetworkPolicies that is forbidden to a new list of them.
const FORBIDDEN_BACKOFF: Duration = Duration::from_secs(30);

/// Objects with this installation's label, as the API server has them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Children {
    pub(crate) services: Listed<Service>,
    pub(crate) deployments: Listed<Deployment>,
    pub(crate) autoscalers: Listed<Observed>,
    pub(crate) disruption_budgets: Listed<Observed>,
    /// Not waited for: only an option needs the permission to list them.
    pub(crate) network_policies: Listed<Observed>,
    /// Namespaces whose NetworkPolicies cannot be listed at present; `None` for all.
    unlisted_policies: BTreeSet<Option<NamespaceName>>,
    /// Nodes, once a Service is reached by their ports.
    pub(crate) nodes: Listed<Node>,
    /// Lists that are not known yet.
    missing: usize,
}

impl Children {
    /// Nothing listed yet, of these namespaces, or of all where there are none.
    pub(crate) fn unknown(namespaces: &[NamespaceName]) -> Self {
        let scopes = scopes(namespaces);
        let missing = KINDS * scopes.len();
        Self { missing, unlisted_policies: scopes.into_iter().map(Option::<&_>::cloned).collect(), ..Self::default() }
    }

    /// Whether the first lists are complete.
    pub(crate) fn is_known(&self) -> bool {
        self.missing == 0
    }

    /// Whether a NetworkPolicy of this namespace that is not among these is not there.
    pub(crate) fn knows_policies(&self, namespace: &str) -> bool {
        !self.unlisted_policies.iter().any(|scope| scope.as_ref().is_none_or(|scope| scope.as_str() == namespace))
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
                let (why, is_forbidden) = (why.text.clone(), why.is_forbidden);
                plane.unprotected = Some(Unprotected { why, is_forbidden, older: self.older_policy(gateway) });
            }
        }
        for (gateway, why) in &refused.others {
            planes.entry(gateway.clone()).or_default().refused = Some(why.text.clone());
        }
        planes
    }

    fn older_policy(&self, gateway: &Name) -> OlderPolicy {
        let object_name = (gateway.namespace.to_string(), names::data_plane(&gateway.name));
        match self.network_policies.get(&object_name) {
            _ if !self.knows_policies(&object_name.0) => OlderPolicy::Unknown,
            Some(_) => OlderPolicy::Stands,
            None => OlderPolicy::Absent,
        }
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
    // Without the option only those are looked for that it has left.
    let policies = Need::Policies { are_wanted: options.admin_peers.is_some() };
    let observed = watcher::Config::default().labels(&format!("{CONTROLLER_LABEL}={}", options.namespace));
    let each = scopes(&options.namespaces).into_iter().map(|scope| {
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

/// The namespaces, or all of them where none is named.
fn scopes(namespaces: &[NamespaceName]) -> Vec<Option<&NamespaceName>> {
    match namespaces {
        [] => vec![None],
        some => some.iter().map(Some).collect(),
    }
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
    let (mut reducer, mut is_listed) = (ListReducer::default(), need != Need::Always);
    let start = || list_watch(api.clone(), config.clone()).default_backoff();
    let mut events = pin!(start());
    while let Some(event) = events.next().await {
        let change = match event {
            Ok(event) => reducer.reduce(event, Some),
            Err(error) if need == (Need::Policies { are_wanted: false }) && is_forbidden(&error) => {
                // No warning: so it is wherever the option was never set.
                tracing::info!(
                    "not permitted to list NetworkPolicies: those that an earlier --proxy-admin-peers made stay, with ports that may \
                     not be the listeners' any more: delete them, if there are any: {}",
                    deletion(config, scope)
                );
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot watch the data planes, retrying");
                if matches!(need, Need::Policies { .. }) && (is_forbidden(&error) || is_unlisted(&error)) {
                    // Nothing is to be done about it by itself.
                    children.send_if_modified(|children| {
                        children.unlisted_policies.insert(scope.cloned());
                        false
                    });
                    // A watch that goes on says nothing of it by itself; a list does.
                    if !is_unlisted(&error) {
                        time::sleep(FORBIDDEN_BACKOFF).await;
                        events.set(start());
                    }
                }
                None
            }
        };
        let Some(change) = change else { continue };
        children.send_if_modified(|children| {
            if matches!(change, ListChange::Replace(_)) {
                if matches!(need, Need::Policies { .. }) {
                    children.unlisted_policies.remove(&scope.cloned());
                }
                if !std::mem::replace(&mut is_listed, true) {
                    children.missing = children.missing.saturating_sub(1);
                }
            }
            part(children).take(change, scope)
        });
    }
}

/// Command that deletes what the controller may not.
fn deletion(config: &watcher::Config, scope: Option<&NamespaceName>) -> String {
    let namespaces = scope.map_or_else(|| "-A".to_owned(), |scope| format!("-n {}", scope.as_str()));
    format!("kubectl delete networkpolicies {namespaces} -l {}", config.label_selector.as_deref().unwrap_or_default())
}

fn is_unlisted(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_))
}

fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, WatchError, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status)) | WatchStartFailed(kube::Error::Api(status)) => status.code == 403,
        WatchError(status) => status.code == 403,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_deletes_policies_left_over_names_namespace_and_installation() {
        let config = watcher::Config::default().labels(&format!("{CONTROLLER_LABEL}=pailou-system"));
        let models = NamespaceName::try_from("models").unwrap();
        assert_eq!(deletion(&config, None), "kubectl delete networkpolicies -A -l pailou.dev/controller=pailou-system");
        let one = "kubectl delete networkpolicies -n models -l pailou.dev/controller=pailou-system";
        assert_eq!(deletion(&config, Some(&models)), one);
    }
}
