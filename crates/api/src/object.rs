//! All kinds under one type.

use std::sync::Arc;

use super::ack::{ACK_GROUP, AckTrafficFilter, InferenceTrafficPolicy};
use super::ai_gateway::{AI_GATEWAY_GROUP, gateway_config::GatewayConfig};
use super::backend_tls_policy::BackendTlsPolicy;
use super::core_v1::cluster_trust_bundle::{CERTIFICATES_GROUP, ClusterTrustBundle};
use super::core_v1::config_map::ConfigMap;
use super::core_v1::endpoint_slice::EndpointSlice;
use super::core_v1::namespace::Namespace;
use super::core_v1::pod::Pod;
use super::core_v1::secret::Secret;
use super::core_v1::service::Service;
use super::envoy::ENVOY_GROUP;
use super::envoy::backend::Backend;
use super::envoy::backend_traffic_policy::BackendTrafficPolicy;
use super::envoy::client_traffic_policy::ClientTrafficPolicy;
use super::envoy::envoy_proxy::EnvoyProxy;
use super::envoy::http_route_filter::EnvoyHttpRouteFilter;
use super::envoy::recognised::{EnvoyExtensionPolicy, EnvoyPatchPolicy};
use super::envoy::security_policy::SecurityPolicy;
use super::gateway::Gateway;
use super::gateway_class::GatewayClass;
use super::grpc_route::GrpcRoute;
use super::http_route::HttpRoute;
use super::inference_model::{InferenceModel, InferenceModelRewrite, InferenceObjective};
use super::inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP, InferencePool, LLM_D_GROUP};
use super::l4_route::{TcpRoute, TlsRoute, UdpRoute};
use super::listener_set::ListenerSet;
use super::meta::{Meta, ObjectKey};
use super::reference_grant::ReferenceGrant;
use super::refs::GATEWAY_GROUP;

/// A type that is one kind of object.
pub trait Typed: Sized + 'static {
    /// Its kind.
    const KIND: Kind;

    /// The object as this type, if it is of this kind.
    fn from_object(object: &Object) -> Option<&Arc<Self>>;

    /// This type as an object.
    fn into_object(self) -> Object;
}

macro_rules! objects {
    ($($kind:ident = $scope:ident $name:literal in [$($group:expr),+];)+) => {
        /// A kind of object that the gateway knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the kinds by their names")]
        pub enum Kind {
            $($kind,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind,)+];

            /// The API groups that serve the kind (empty for the core group): one, or for some kinds two, the newer first.
            pub const fn groups(self) -> &'static [&'static str] {
                match self {
                    $(Kind::$kind => &[$($group),+],)+
                }
            }

            /// The name as it stands in `kind`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Kind::$kind => $name,)+
                }
            }

            /// Whether objects of the kind live in a namespace.
            pub const fn is_namespaced(self) -> bool {
                match self {
                    $(Kind::$kind => matches!(Scope::$scope, Scope::Namespaced),)+
                }
            }
        }

        /// An object of any kind that the gateway knows. Cloning is cheap.
        #[derive(Debug, Clone, PartialEq)]
        #[expect(missing_docs, reason = "the kinds by their names")]
        pub enum Object {
            $($kind(Arc<$kind>),)+
        }

        impl Object {
            /// The object's kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Object::$kind(_) => Kind::$kind,)+
                }
            }

            /// Whether it is the very same object, not one that is equal.
            pub fn is(&self, other: &Self) -> bool {
                match (self, other) {
                    $((Object::$kind(it), Object::$kind(other)) => Arc::ptr_eq(it, other),)+
                    _ => false,
                }
            }

            /// The object's metadata.
            pub fn meta(&self) -> &Meta {
                match self {
                    $(Object::$kind(object) => &object.meta,)+
                }
            }
        }

        $(
            impl Typed for $kind {
                const KIND: Kind = Kind::$kind;

                fn from_object(object: &Object) -> Option<&Arc<Self>> {
                    match object {
                        Object::$kind(object) => Some(object),
                        _ => None,
                    }
                }

                fn into_object(self) -> Object {
                    Object::$kind(Arc::new(self))
                }
            }
        )+
    };
}

enum Scope {
    Cluster,
    Namespaced,
}

objects! {
    GatewayClass = Cluster "GatewayClass" in [GATEWAY_GROUP];
    Gateway = Namespaced "Gateway" in [GATEWAY_GROUP];
    ListenerSet = Namespaced "ListenerSet" in [GATEWAY_GROUP];
    HttpRoute = Namespaced "HTTPRoute" in [GATEWAY_GROUP];
    GrpcRoute = Namespaced "GRPCRoute" in [GATEWAY_GROUP];
    TlsRoute = Namespaced "TLSRoute" in [GATEWAY_GROUP];
    TcpRoute = Namespaced "TCPRoute" in [GATEWAY_GROUP];
    UdpRoute = Namespaced "UDPRoute" in [GATEWAY_GROUP];
    ReferenceGrant = Namespaced "ReferenceGrant" in [GATEWAY_GROUP];
    BackendTlsPolicy = Namespaced "BackendTLSPolicy" in [GATEWAY_GROUP];
    InferencePool = Namespaced "InferencePool" in [INFERENCE_GROUP, INFERENCE_X_GROUP];
    InferenceModel = Namespaced "InferenceModel" in [INFERENCE_X_GROUP];
    InferenceObjective = Namespaced "InferenceObjective" in [LLM_D_GROUP, INFERENCE_X_GROUP];
    InferenceModelRewrite = Namespaced "InferenceModelRewrite" in [LLM_D_GROUP, INFERENCE_X_GROUP];
    Backend = Namespaced "Backend" in [ENVOY_GROUP];
    EnvoyHttpRouteFilter = Namespaced "HTTPRouteFilter" in [ENVOY_GROUP];
    ClientTrafficPolicy = Namespaced "ClientTrafficPolicy" in [ENVOY_GROUP];
    BackendTrafficPolicy = Namespaced "BackendTrafficPolicy" in [ENVOY_GROUP];
    SecurityPolicy = Namespaced "SecurityPolicy" in [ENVOY_GROUP];
    EnvoyProxy = Namespaced "EnvoyProxy" in [ENVOY_GROUP];
    EnvoyExtensionPolicy = Namespaced "EnvoyExtensionPolicy" in [ENVOY_GROUP];
    EnvoyPatchPolicy = Namespaced "EnvoyPatchPolicy" in [ENVOY_GROUP];
    GatewayConfig = Namespaced "GatewayConfig" in [AI_GATEWAY_GROUP];
    InferenceTrafficPolicy = Namespaced "InferenceTrafficPolicy" in [ACK_GROUP];
    AckTrafficFilter = Namespaced "ACKTrafficFilter" in [ACK_GROUP];
    Namespace = Cluster "Namespace" in [""];
    Pod = Namespaced "Pod" in [""];
    Service = Namespaced "Service" in [""];
    Secret = Namespaced "Secret" in [""];
    ConfigMap = Namespaced "ConfigMap" in [""];
    EndpointSlice = Namespaced "EndpointSlice" in ["discovery.k8s.io"];
    ClusterTrustBundle = Cluster "ClusterTrustBundle" in [CERTIFICATES_GROUP];
}

impl Kind {
    /// The kind of that group and name, if the gateway knows it.
    pub fn find(group: &str, name: &str) -> Option<Kind> {
        Kind::ALL.iter().copied().find(|kind| kind.name() == name && kind.groups().contains(&group))
    }

    /// Whether objects of this kind have a status that a gateway writes.
    pub fn has_status(self) -> bool {
        !matches!(
            self,
            Kind::ReferenceGrant
                | Kind::EnvoyHttpRouteFilter
                | Kind::EnvoyProxy
                | Kind::EnvoyPatchPolicy
                | Kind::InferenceTrafficPolicy
                | Kind::AckTrafficFilter
                | Kind::Namespace
                | Kind::Pod
                | Kind::Service
                | Kind::Secret
                | Kind::ConfigMap
                | Kind::EndpointSlice
                | Kind::ClusterTrustBundle
        )
    }

    /// The versions in which a group serves the kind, the newest first.
    pub fn versions(self, group: &str) -> &'static [&'static str] {
        match self {
            Kind::GatewayClass | Kind::Gateway | Kind::HttpRoute | Kind::ReferenceGrant => &["v1", "v1beta1"],
            Kind::TlsRoute => &["v1", "v1alpha3", "v1alpha2"],
            Kind::TcpRoute | Kind::UdpRoute => &["v1", "v1alpha2"],
            Kind::BackendTlsPolicy => &["v1", "v1alpha3"],
            Kind::InferencePool if group == INFERENCE_X_GROUP => &["v1alpha2"],
            Kind::InferenceModel | Kind::InferenceObjective | Kind::InferenceModelRewrite => &["v1alpha2"],
            Kind::Backend
            | Kind::EnvoyHttpRouteFilter
            | Kind::ClientTrafficPolicy
            | Kind::BackendTrafficPolicy
            | Kind::SecurityPolicy
            | Kind::EnvoyProxy
            | Kind::EnvoyExtensionPolicy
            | Kind::EnvoyPatchPolicy
            | Kind::InferenceTrafficPolicy
            | Kind::AckTrafficFilter => &["v1alpha1"],
            Kind::GatewayConfig => &["v1beta1", "v1alpha1"],
            Kind::ClusterTrustBundle => &["v1", "v1beta1", "v1alpha1"],
            _ => &["v1"],
        }
    }
}

impl Object {
    /// The API group that the object was written in; empty for the core group.
    pub fn group(&self) -> &'static str {
        match self {
            Object::InferencePool(pool) => pool.spec.version.group(),
            Object::InferenceObjective(objective) => objective.spec.api.group(),
            Object::InferenceModelRewrite(rewrite) => rewrite.spec.api.group(),
            other => other.kind().groups()[0],
        }
    }

    /// Identity of the object.
    pub fn key(&self) -> ObjectKey {
        let meta = self.meta();
        ObjectKey::new(self.group(), self.kind().name(), meta.namespace.clone(), meta.name.clone())
    }
}
