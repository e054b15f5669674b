//! Objects by the names that others refer to them with, kept up to date as they change. [`Objects`] holds them and shows none: only the
//! [`Index`] that [`Objects::track`] lends finds objects, and it records every lookup. Results that depend on a change are compiled again
//! by those records.

mod groups;
mod reads;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use crate::store::{Change, Store};
use pailou_api::{
    Backend, BackendTlsPolicy, BackendTrafficPolicy, ClientTrafficPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice,
    EnvoyExtensionPolicy, EnvoyHttpRouteFilter, EnvoyPatchPolicy, EnvoyProxy, Gateway, GatewayClass, GrpcRoute, HttpRoute,
    InferenceModel, InferenceModelRewrite, InferenceObjective, InferencePool, Kind, ListenerSet, Meta, Namespace, Object, Pod,
    ReferenceGrant, Secret, SecurityPolicy, Service, TcpRoute, TlsRoute, UdpRoute,
    core_v1::endpoint_slice::SERVICE_NAME_LABEL,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP, InferencePoolVersion},
};

use super::pem::Parsed;

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

macro_rules! index {
    ($($(#[$doc:meta])* $field:ident: $kind:ident,)+) => {
        /// All objects, indexed.
        #[derive(Debug)]
        pub(crate) struct Objects {
            $($field: Table<$kind>,)+
            pools_v1: Table<InferencePool>,
            pools_x: Table<InferencePool>,
            adapter_maps: Table<ConfigMap>,
            grants: Groups<ReferenceGrant>,
            pods: Groups<Pod>,
            slices: Groups<EndpointSlice>,
            parsed: Parsed,
        }

        /// Lookups of objects, each recorded. It lives as long as the closure that [`Objects::track`] calls.
        #[derive(Debug)]
        pub(crate) struct Index<'a> {
            $($(#[$doc])* pub(crate) $field: TrackedTable<'a, $kind>,)+
            /// InferencePools of `inference.networking.k8s.io`.
            pub(crate) pools_v1: TrackedTable<'a, InferencePool>,
            /// InferencePools of `inference.networking.x-k8s.io`.
            pub(crate) pools_x: TrackedTable<'a, InferencePool>,
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
        }

        impl Default for Objects {
            fn default() -> Self {
                Self {
                    $($field: Table::new(Kind::$kind as u8),)+
                    pools_v1: Table::new(POOLS_V1),
                    pools_x: Table::new(POOLS_X),
                    adapter_maps: Table::new(ADAPTER_MAPS),
                    grants: Groups::new(Kind::ReferenceGrant as u8),
                    pods: Groups::new(Kind::Pod as u8),
                    slices: Groups::new(Kind::EndpointSlice as u8),
                    parsed: Parsed::default(),
                }
            }
        }

        impl Objects {
            fn insert(&mut self, object: &Object, touched: &mut Touched) {
                match object {
                    $(Object::$kind(object) => touched.add(self.$field.insert(object.clone())),)+
                    Object::InferencePool(pool) => touched.add(self.pools(pool).insert(pool.clone())),
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
                    Object::InferencePool(pool) => touched.add(self.pools(pool).remove(pool)),
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
            }

            fn defer_order(&mut self, is_deferred: bool) {
                $(self.$field.defer_order(is_deferred);)+
                self.pools_v1.defer_order(is_deferred);
                self.pools_x.defer_order(is_deferred);
                self.adapter_maps.defer_order(is_deferred);
            }

            /// Calls `look` with all objects. Gives its result, and every lookup that it made. The index cannot leave the closure.
            pub(crate) fn track<'a, T>(&'a self, look: impl FnOnce(&Index<'a>) -> T) -> (T, Reads) {
                let index = Index {
                    $($field: self.$field.tracked(),)+
                    pools_v1: self.pools_v1.tracked(),
                    pools_x: self.pools_x.tracked(),
                    adapter_maps: self.adapter_maps.tracked(),
                    grants: self.grants.tracked(),
                    pods: self.pods.tracked(),
                    slices: self.slices.tracked(),
                    parsed: &self.parsed,
                };
                let result = look(&index);
                let mut reads = Reads::default();
                $(index.$field.finish(&mut reads);)+
                index.pools_v1.finish(&mut reads);
                index.pools_x.finish(&mut reads);
                index.adapter_maps.finish(&mut reads);
                index.grants.finish(&mut reads);
                index.pods.finish(&mut reads);
                index.slices.finish(&mut reads);
                (result, reads.finish())
            }
        }
    };
}

index! {
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
    objectives: InferenceObjective,
    rewrites: InferenceModelRewrite,
    backends: Backend,
    route_filters: EnvoyHttpRouteFilter,
    client_policies: ClientTrafficPolicy,
    traffic_policies: BackendTrafficPolicy,
    security_policies: SecurityPolicy,
    proxies: EnvoyProxy,
    extension_policies: EnvoyExtensionPolicy,
    patch_policies: EnvoyPatchPolicy,
    namespaces: Namespace,
    services: Service,
    secrets: Secret,
    config_maps: ConfigMap,
    trust_bundles: ClusterTrustBundle,
}

/// ConfigMaps with this label say which adapters belong to which base model.
const ADAPTERS_LABEL: &str = "inference.networking.k8s.io/bbr-managed";

/// Whether a ConfigMap says which adapters belong to a base model.
fn is_adapters(map: &ConfigMap) -> bool {
    map.meta.labels.get(ADAPTERS_LABEL).is_some_and(|value| value == "true")
}

fn service_of(slice: &EndpointSlice) -> Option<&String> {
    slice.meta.labels.get(SERVICE_NAME_LABEL)
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

    fn pools(&mut self, pool: &Arc<InferencePool>) -> &mut Table<InferencePool> {
        match pool.spec.version {
            InferencePoolVersion::V1 => &mut self.pools_v1,
            InferencePoolVersion::V1Alpha2 => &mut self.pools_x,
        }
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

    /// The labels of a namespace; every namespace bears its own name, even where there is no object for it.
    pub(crate) fn namespace_labels(&self, namespace: &str) -> BTreeMap<String, String> {
        let mut labels = self.namespaces.get("", namespace).map(|object| object.meta.labels.clone()).unwrap_or_default();
        labels.entry("kubernetes.io/metadata.name".to_owned()).or_insert_with(|| namespace.to_owned());
        labels
    }
}

/// The name of an object, as the snapshot has it.
pub(crate) fn name_of(meta: &Meta) -> pailou_snapshot::Name {
    pailou_snapshot::Name::new(&meta.namespace, &meta.name)
}
