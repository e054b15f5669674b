//! Objects by the names that others refer to them with, kept up to date as they change. [`Objects`] holds them and shows none: only the
//! [`Index`] that [`Objects::track`] lends finds objects, and it records every lookup. Results that depend on a change are compiled again
//! by those records.

mod groups;
mod reads;
mod table;

use std::collections::BTreeMap;

use crate::{
    session_key_source::SessionKeySource,
    store::{Change, Store},
};
use pailou_api::{
    AckTrafficFilter, Backend, BackendTlsPolicy, BackendTrafficPolicy, ClientTrafficPolicy, ClusterTrustBundle, ConfigMap,
    EndpointSlice, EnvoyExtensionPolicy, EnvoyHttpRouteFilter, EnvoyPatchPolicy, EnvoyProxy, Gateway, GatewayClass, GatewayConfig,
    GrpcRoute, HttpRoute, InferenceModel, InferenceModelRewrite, InferenceObjective, InferencePool, InferenceTrafficPolicy, Kind,
    ListenerSet, Meta, Namespace, Object, Pod, ReferenceGrant, Resource, Secret, SecurityPolicy, Service, TcpRoute, TlsRoute,
    UdpRoute,
    core_v1::endpoint_slice::SERVICE_NAME_LABEL,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};

use super::{endpoint_picker_config::ParsedConfigurations, pem::Parsed};

use groups::{Groups, TrackedGroups};
pub(crate) use reads::{Reads, Touched};
use table::Table;
pub(crate) use table::TrackedTable;

/// Most changes to apply one by one; beyond that, sorting by age anew is cheaper.
const MANY: usize = 64;

/// Distinguishes tables of the same kind, or of a part of it.
const POOLS_V1: u8 = 58;
const POOLS_X: u8 = 59;
const ADAPTER_MAPS: u8 = 60;
const OBJECTIVES_X: u8 = 61;
const REWRITES_X: u8 = 62;

macro_rules! index {
    ({$($(#[$doc:meta])* $field:ident: $kind:ident,)+} in two groups {$($twin:ident: $new:ident = $new_id:expr, $old:ident = $old_id:expr;)+}) => {
        /// All objects, indexed.
        #[derive(Debug)]
        pub(crate) struct Objects {
            $($field: Table<$kind>,)+
            $($new: Table<$twin>, $old: Table<$twin>,)+
            adapter_maps: Table<ConfigMap>,
            grants: Groups<ReferenceGrant>,
            pods: Groups<Pod>,
            slices: Groups<EndpointSlice>,
            parsed: Parsed,
            configurations: ParsedConfigurations,
            /// Source of the key of sessions.
            pub(crate) session_key: SessionKeySource,
        }

        /// Lookups of objects, each recorded. It lives as long as the closure that [`Objects::track`] calls.
        #[derive(Debug)]
        pub(crate) struct Index<'a> {
            $($(#[$doc])* pub(crate) $field: TrackedTable<'a, $kind>,)+
            $(
                /// Objects of the kind's newer group.
                pub(crate) $new: TrackedTable<'a, $twin>,
                /// Objects of the kind's older group.
                pub(crate) $old: TrackedTable<'a, $twin>,
            )+
            /// ConfigMaps that say which adapter is of which model.
            pub(crate) adapter_maps: TrackedTable<'a, ConfigMap>,
            /// ReferenceGrants by namespace.
            pub(crate) grants: TrackedGroups<'a, ReferenceGrant>,
            /// Pods by namespace, in the order of their names.
            pub(crate) pods: TrackedGroups<'a, Pod>,
            /// EndpointSlices by namespace and Service.
            pub(crate) slices: TrackedGroups<'a, EndpointSlice>,
            /// Certificates that were read.
            pub(crate) parsed: &'a Parsed,
            /// Configurations of endpoint pickers that were read.
            pub(crate) configurations: &'a ParsedConfigurations,
            /// Source of the key of sessions.
            pub(crate) session_key: &'a SessionKeySource,
        }

        impl Default for Objects {
            fn default() -> Self {
                Self {
                    $($field: Table::new(Kind::$kind as u8),)+
                    $($new: Table::new($new_id), $old: Table::new($old_id),)+
                    adapter_maps: Table::new(ADAPTER_MAPS),
                    grants: Groups::new(Kind::ReferenceGrant as u8),
                    pods: Groups::new(Kind::Pod as u8),
                    slices: Groups::new(Kind::EndpointSlice as u8),
                    parsed: Parsed::default(),
                    configurations: ParsedConfigurations::default(),
                    session_key: SessionKeySource::default(),
                }
            }
        }

        impl Objects {
            fn insert(&mut self, object: &Object, touched: &mut Touched) {
                match object {
                    $(Object::$kind(object) => touched.add(self.$field.insert(object.clone())),)+
                    $(Object::$twin(twin) => {
                        let table = if is_of_newer_group(object) { &mut self.$new } else { &mut self.$old };
                        touched.add(table.insert(twin.clone()));
                    })+
                    Object::ReferenceGrant(grant) => touched.add(self.grants.insert(&grant.meta.namespace, "", grant.clone())),
                    Object::Pod(pod) => touched.add(self.pods.insert(&pod.meta.namespace, "", pod.clone())),
                    Object::EndpointSlice(slice) => {
                        let group = service_of(slice).map(|it| self.slices.insert(&slice.meta.namespace, it, slice.clone()));
                        group.into_iter().for_each(|it| touched.add(it));
                    }
                }
                if let Object::ConfigMap(map) = object && is_adapters(map) {
                    touched.add(self.adapter_maps.insert(map.clone()));
                }
            }

            fn remove(&mut self, object: &Object, touched: &mut Touched) {
                match object {
                    $(Object::$kind(object) => touched.add(self.$field.remove(object)),)+
                    $(Object::$twin(twin) => {
                        let table = if is_of_newer_group(object) { &mut self.$new } else { &mut self.$old };
                        touched.add(table.remove(twin));
                    })+
                    Object::ReferenceGrant(grant) => touched.add(self.grants.remove(&grant.meta.namespace, "", &grant.meta.name)),
                    Object::Pod(pod) => touched.add(self.pods.remove(&pod.meta.namespace, "", &pod.meta.name)),
                    Object::EndpointSlice(slice) => {
                        let meta = &slice.meta;
                        let group = service_of(slice).map(|it| self.slices.remove(&meta.namespace, it, &meta.name));
                        group.into_iter().for_each(|it| touched.add(it));
                    }
                }
                if let Object::ConfigMap(map) = object && is_adapters(map) {
                    touched.add(self.adapter_maps.remove(map));
                }
                self.parsed.forget(object);
                self.configurations.forget(object);
            }

            fn defer_order(&mut self, is_deferred: bool) {
                $(self.$field.defer_order(is_deferred);)+
                $(self.$new.defer_order(is_deferred); self.$old.defer_order(is_deferred);)+
                self.adapter_maps.defer_order(is_deferred);
            }

            /// Calls `look` with all objects. Gives its result, and every lookup that it made. The index cannot leave the closure.
            pub(crate) fn track<'a, T>(&'a self, look: impl FnOnce(&Index<'a>) -> T) -> (T, Reads) {
                let index = Index {
                    $($field: self.$field.tracked(),)+
                    $($new: self.$new.tracked(), $old: self.$old.tracked(),)+
                    adapter_maps: self.adapter_maps.tracked(),
                    grants: self.grants.tracked(),
                    pods: self.pods.tracked(),
                    slices: self.slices.tracked(),
                    parsed: &self.parsed,
                    configurations: &self.configurations,
                    session_key: &self.session_key,
                };
                let result = look(&index);
                let mut reads = Reads::default();
                $(index.$field.finish(&mut reads);)+
                $(index.$new.finish(&mut reads); index.$old.finish(&mut reads);)+
                index.adapter_maps.finish(&mut reads);
                index.grants.finish(&mut reads);
                index.pods.finish(&mut reads);
                index.slices.finish(&mut reads);
                (result, reads.finish())
            }
        }
    };
}

index! {{
    classes: GatewayClass,
    gateways: Gateway,
    listener_sets: ListenerSet,
    http_routes: HttpRoute,
    grpc_routes: GrpcRoute,
    tls_routes: TlsRoute,
    tcp_routes: TcpRoute,
    udp_routes: UdpRoute,
    backend_tls_policies: BackendTlsPolicy,
    models: InferenceModel,
    backends: Backend,
    route_filters: EnvoyHttpRouteFilter,
    client_policies: ClientTrafficPolicy,
    traffic_policies: BackendTrafficPolicy,
    security_policies: SecurityPolicy,
    proxies: EnvoyProxy,
    extension_policies: EnvoyExtensionPolicy,
    patch_policies: EnvoyPatchPolicy,
    gateway_configs: GatewayConfig,
    inference_traffic_policies: InferenceTrafficPolicy,
    ack_filters: AckTrafficFilter,
    namespaces: Namespace,
    services: Service,
    secrets: Secret,
    config_maps: ConfigMap,
    trust_bundles: ClusterTrustBundle,
} in two groups {
    InferencePool: pools_v1 = POOLS_V1, pools_x = POOLS_X;
    InferenceObjective: objectives = Kind::InferenceObjective as u8, objectives_x = OBJECTIVES_X;
    InferenceModelRewrite: rewrites = Kind::InferenceModelRewrite as u8, rewrites_x = REWRITES_X;
}}

/// ConfigMaps with this label say which adapters belong to which base model.
const ADAPTERS_LABEL: &str = "inference.networking.k8s.io/bbr-managed";

/// Whether a ConfigMap says which adapters belong to a base model.
fn is_adapters(map: &ConfigMap) -> bool {
    map.meta.labels.get(ADAPTERS_LABEL).is_some_and(|value| value == "true")
}

fn service_of(slice: &EndpointSlice) -> Option<&String> {
    slice.meta.labels.get(SERVICE_NAME_LABEL)
}

/// Whether an object is of the newer of its kind's groups.
fn is_of_newer_group(object: &Object) -> bool {
    object.group() == object.kind().groups()[0]
}

impl Objects {
    /// Indexes all objects of a store.
    pub(crate) fn of(store: &Store) -> Self {
        let mut objects = Self::default();
        objects.apply(&Store::default().follow(store));
        objects
    }

    /// Takes changes in, and gives what was touched.
    pub(crate) fn apply(&mut self, changes: &[Change]) -> Touched {
        let mut touched = Touched::default();
        let are_many = changes.len() > MANY;
        self.defer_order(are_many);
        for change in changes {
            change.before.iter().for_each(|object| self.remove(object, &mut touched));
            change.now.iter().for_each(|object| self.insert(object, &mut touched));
        }
        if are_many {
            self.defer_order(false);
        }
        touched
    }
}

impl<'a> Index<'a> {
    /// The InferencePool of this group and name.
    pub(crate) fn pool(&self, group: &str, namespace: &str, name: &str) -> Option<&'a InferencePool> {
        match group {
            INFERENCE_GROUP => self.pools_v1.get(namespace, name),
            INFERENCE_X_GROUP => self.pools_x.get(namespace, name),
            _ => None,
        }
    }

    /// InferenceObjectives of both groups, the oldest first.
    pub(crate) fn all_objectives(&self) -> Vec<Twin<'a, InferenceObjective>> {
        twins(&self.objectives, &self.objectives_x)
    }

    /// InferenceModelRewrites of both groups, the oldest first.
    pub(crate) fn all_rewrites(&self) -> Vec<Twin<'a, InferenceModelRewrite>> {
        twins(&self.rewrites, &self.rewrites_x)
    }

    /// The labels of a namespace; every namespace bears its own name, even where there is no object for it.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = self.namespaces.get("", namespace).map(|object| object.meta.labels.clone()).unwrap_or_default();
        labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| namespace.to_owned());
        labels
    }
}

/// An object of a kind that two groups have.
pub(crate) struct Twin<'a, T> {
    pub(crate) object: &'a T,
    /// Whether the newer group has an object of that name, which counts.
    pub(crate) is_superseded: bool,
}

fn twins<'a, S>(newer: &TrackedTable<'a, Resource<S>>, older: &TrackedTable<'a, Resource<S>>) -> Vec<Twin<'a, Resource<S>>> {
    let of_newer = newer.iter().map(|object| Twin { object, is_superseded: false });
    let of_older = older.iter().map(|object| {
        let is_superseded = newer.get(&object.meta.namespace, &object.meta.name).is_some();
        Twin { object, is_superseded }
    });
    let mut all: Vec<_> = of_newer.chain(of_older).collect();
    all.sort_by(|one, other| one.object.meta.age_order().cmp(&other.object.meta.age_order()));
    all
}

/// The name of an object, as the snapshot has it.
pub(crate) fn name_of(meta: &Meta) -> pailou_snapshot::Name {
    pailou_snapshot::Name::new(&meta.namespace, &meta.name)
}
