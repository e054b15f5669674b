//! Objects of any kind, changed.

use std::sync::Arc;

use pailou_api::{Meta, Object};

macro_rules! with_meta {
    ($object:expr, $change:expr, $($kind:ident),+ $(,)?) => {
        match $object {
            $(Object::$kind(object) => {
                let mut object = (**object).clone();
                $change(&mut object.meta);
                Object::$kind(Arc::new(object))
            })+
        }
    };
}

/// The object with its metadata changed. A kind that is missing here does not compile.
pub(crate) fn with_meta(object: &Object, change: impl FnOnce(&mut Meta)) -> Object {
    with_meta!(
        object,
        change,
        GatewayClass,
        Gateway,
        ListenerSet,
        HttpRoute,
        GrpcRoute,
        TlsRoute,
        TcpRoute,
        UdpRoute,
        ReferenceGrant,
        BackendTlsPolicy,
        InferencePool,
        InferenceModel,
        InferenceObjective,
        InferenceModelRewrite,
        Backend,
        EnvoyHttpRouteFilter,
        ClientTrafficPolicy,
        BackendTrafficPolicy,
        SecurityPolicy,
        EnvoyProxy,
        EnvoyExtensionPolicy,
        EnvoyPatchPolicy,
        GatewayConfig,
        InferenceTrafficPolicy,
        AckTrafficFilter,
        Namespace,
        Pod,
        Service,
        Secret,
        ConfigMap,
        EndpointSlice,
        ClusterTrustBundle,
    )
}
