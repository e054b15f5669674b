//! Objects by what they are looked up by.

use std::collections::{BTreeMap, HashMap};

use crate::resources::{
    Backend, BackendTlsPolicy, BackendTrafficPolicy, ClientTrafficPolicy, ClusterTrustBundle, ConfigMap, EndpointSlice,
    EnvoyExtensionPolicy, EnvoyHttpRouteFilter, EnvoyPatchPolicy, EnvoyProxy, Gateway, GatewayClass, GrpcRoute, HttpRoute,
    InferenceModel, InferenceModelRewrite, InferenceObjective, InferencePool, ListenerSet, Meta, Namespace, Object, Pod,
    ReferenceGrant, Resource, Secret, SecurityPolicy, Service, TcpRoute, TlsRoute, UdpRoute,
    core::endpoint_slice::SERVICE_NAME_LABEL,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP, InferencePoolVersion},
};

/// Objects of one kind: by name, and the oldest first.
#[derive(Debug)]
pub(crate) struct Table<'a, T> {
    by_name: HashMap<(&'a str, &'a str), &'a T>,
    by_age: Vec<&'a T>,
}

impl<T> Default for Table<'_, T> {
    fn default() -> Self {
        Self { by_name: HashMap::new(), by_age: Vec::new() }
    }
}

impl<'a, S> Table<'a, Resource<S>> {
    fn push(&mut self, object: &'a Resource<S>) {
        self.by_name.insert((&object.meta.namespace, &object.meta.name), object);
        self.by_age.push(object);
    }

    fn sort(&mut self) {
        self.by_age.sort_by(|a, b| a.meta.age_order().cmp(&b.meta.age_order()));
    }

    /// The object of this name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<&'a Resource<S>> {
        self.by_name.get(&(namespace, name)).copied()
    }

    /// All objects, the oldest first, then by `namespace/name`.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &'a Resource<S>> + use<'_, 'a, S> {
        self.by_age.iter().copied()
    }
}

macro_rules! index {
    ($($(#[$doc:meta])* $field:ident: $kind:ident,)+) => {
        /// All objects, indexed.
        #[derive(Debug, Default)]
        pub(crate) struct Index<'a> {
            $($(#[$doc])* pub(crate) $field: Table<'a, $kind>,)+
            /// InferencePools of `inference.networking.k8s.io`.
            pub(crate) pools_v1: Table<'a, InferencePool>,
            /// InferencePools of `inference.networking.x-k8s.io`.
            pub(crate) pools_x: Table<'a, InferencePool>,
            /// ReferenceGrants by namespace.
            pub(crate) grants: HashMap<&'a str, Vec<&'a ReferenceGrant>>,
            /// Pods by namespace.
            pub(crate) pods: HashMap<&'a str, Vec<&'a Pod>>,
            /// EndpointSlices by namespace and Service.
            pub(crate) slices: HashMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>,
        }

        impl<'a> Index<'a> {
            /// Indexes all objects.
            pub(crate) fn new(objects: impl Iterator<Item = &'a Object>) -> Self {
                let mut index = Self::default();
                for object in objects {
                    match object {
                        $(Object::$kind(object) => index.$field.push(object),)+
                        Object::InferencePool(pool) => match pool.spec.version {
                            InferencePoolVersion::V1 => index.pools_v1.push(pool),
                            InferencePoolVersion::V1Alpha2 => index.pools_x.push(pool),
                        },
                        Object::ReferenceGrant(grant) => index.grants.entry(&grant.meta.namespace).or_default().push(grant),
                        Object::Pod(pod) => index.pods.entry(&pod.meta.namespace).or_default().push(pod),
                        Object::EndpointSlice(slice) => index.push_slice(slice),
                    }
                }
                $(index.$field.sort();)+
                index.pools_v1.sort();
                index.pools_x.sort();
                index
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

impl<'a> Index<'a> {
    fn push_slice(&mut self, slice: &'a EndpointSlice) {
        if let Some(service) = slice.meta.labels.get(SERVICE_NAME_LABEL) {
            self.slices.entry((&slice.meta.namespace, service)).or_default().push(slice);
        }
    }

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
pub(crate) fn name_of(meta: &Meta) -> crate::snapshot::Name {
    crate::snapshot::Name::new(&meta.namespace, &meta.name)
}
