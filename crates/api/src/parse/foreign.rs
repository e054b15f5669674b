//! Objects of kinds that are not the gateway's: which of them only stand beside its own, and what to write instead of those of other
//! gateways.

use super::suggest;
use crate::{Kind, ack::ACK_GROUP};

/// An object of a kind that is not the gateway's. Nothing is read of it but its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignObject {
    /// `apiVersion` as written.
    pub api_version: String,
    /// `kind` as written.
    pub kind: String,
    /// `metadata.namespace` as written.
    pub namespace: Option<String>,
    /// `metadata.name` as written.
    pub name: Option<String>,
    /// The line on which its document begins, from 1.
    pub line: usize,
    /// Advice on a replacement, if the object is about a gateway's work; it follows a colon.
    pub advice: Option<&'static str>,
}

/// Edits by which a group, or a core kind, counts as a slip in writing one that is known.
const MAX_EDITS: usize = 2;

/// The replacement for another gateway's kind, if one is known.
pub fn advice(group: &str, kind: &str) -> Option<&'static str> {
    let entries = ADVICE.iter().filter(|(known, _)| *known == group);
    entries.flat_map(|(_, kinds)| *kinds).find(|(known, _)| *known == kind).map(|(_, advice)| *advice)
}

/// Advice on a kind that is not the gateway's, the inner `None` where none is known; the outer `None` for a kind that is the gateway's, or
/// whose name looks like a slip in one of those.
pub(super) fn judge(api_version: &str, kind: &str) -> Option<Option<&'static str>> {
    let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    if Kind::find(group, kind).is_some() {
        return None;
    }
    if let Some(advice) = advice(group, kind) {
        return Some(Some(advice));
    }
    if !is_ours(group) && ADVICE.iter().any(|(known, _)| *known == group) {
        return Some(None);
    }
    let is_slip = match is_ours(group) {
        // There are more kinds in these groups.
        true if SHARED_GROUPS.contains(&group) => is_known(kind) || is_near_kind_of(group, kind),
        true => true,
        false => Kind::ALL.iter().flat_map(|it| it.groups()).any(|known| is_near(known, group)),
    };
    (!is_slip).then_some(None)
}

/// Groups of Kubernetes' own, and ACK's, of which the gateway reads some kinds.
const SHARED_GROUPS: [&str; 4] = ["", "discovery.k8s.io", "certificates.k8s.io", ACK_GROUP];

fn is_ours(group: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.groups().contains(&group))
}

fn is_known(kind: &str) -> bool {
    Kind::ALL.iter().any(|known| known.name() == kind)
}

fn is_near_kind_of(group: &str, kind: &str) -> bool {
    Kind::ALL.iter().filter(|known| known.groups().contains(&group)).any(|known| is_near(known.name(), kind))
}

fn is_near(known: &str, written: &str) -> bool {
    !known.is_empty() && suggest::distance(&known.to_lowercase(), &written.to_lowercase()) <= MAX_EDITS
}

/// A kind and the advice on its replacement.
type KindAdvice = (&'static str, &'static str);

/// Groups of other gateways, and of what people put before models; kinds with advice.
const ADVICE: &[(&str, &[KindAdvice])] = &[
    (
        "aigateway.envoyproxy.io",
        &[
            (
                "AIGatewayRoute",
                "write an HTTPRoute whose rules match the header X-Gateway-Model-Name, with InferencePools and Backends as backendRefs",
            ),
            ("AIServiceBackend", "write a Backend (gateway.envoyproxy.io), and a BackendTLSPolicy on it"),
            ("BackendSecurityPolicy", "write an HTTPRouteFilter with credentialInjection, and an ExtensionRef to it in the route"),
            ("QuotaPolicy", "write a BackendTrafficPolicy whose rateLimit.global selects the model and charges tokens"),
            ("MCPRoute", "write an HTTPRoute to the MCP server's Service or Backend"),
        ],
    ),
    (
        "agentgateway.dev",
        &[
            ("AgentgatewayBackend", "write a Backend (gateway.envoyproxy.io), and a BackendTLSPolicy on it"),
            ("AgentgatewayPolicy", "write a BackendTrafficPolicy, ClientTrafficPolicy or SecurityPolicy (gateway.envoyproxy.io)"),
            ("AgentgatewayParameters", "write an EnvoyProxy, and name it in the Gateway's spec.infrastructure.parametersRef"),
        ],
    ),
    (
        "gateway.kgateway.dev",
        &[
            ("Backend", "write a Backend of gateway.envoyproxy.io/v1alpha1"),
            ("TrafficPolicy", "write a BackendTrafficPolicy or SecurityPolicy (gateway.envoyproxy.io)"),
            ("BackendConfigPolicy", "write a BackendTrafficPolicy (gateway.envoyproxy.io) or a BackendTLSPolicy"),
            ("HTTPListenerPolicy", "write a ClientTrafficPolicy (gateway.envoyproxy.io)"),
            ("ListenerPolicy", "write a ClientTrafficPolicy (gateway.envoyproxy.io)"),
            ("DirectResponse", "write an HTTPRouteFilter with directResponse (gateway.envoyproxy.io)"),
            ("GatewayParameters", "write an EnvoyProxy, and name it in the Gateway's spec.infrastructure.parametersRef"),
        ],
    ),
    (
        "gateway.networking.x-k8s.io",
        &[
            ("XListenerSet", "write a ListenerSet of gateway.networking.k8s.io/v1"),
            ("XBackend", "write a Backend of gateway.envoyproxy.io/v1alpha1"),
            ("XBackendTrafficPolicy", "write a BackendTrafficPolicy of gateway.envoyproxy.io/v1alpha1"),
        ],
    ),
    (
        "gateway.envoyproxy.io",
        &[("EnvoyGateway", "it configures Envoy Gateway's controller; see the flags of `pailou controller`")],
    ),
    ("inference.networking.x-k8s.io", &[("InferencePoolImport", "pools of other clusters are not served")]),
    (
        "networking.istio.io",
        &[
            ("Gateway", "write a Gateway of gateway.networking.k8s.io/v1"),
            ("VirtualService", "write an HTTPRoute"),
            ("DestinationRule", "write a BackendTrafficPolicy (gateway.envoyproxy.io) or a BackendTLSPolicy"),
            ("ServiceEntry", "write a Backend (gateway.envoyproxy.io)"),
        ],
    ),
    ("networking.higress.io", &[("McpBridge", "write a Backend (gateway.envoyproxy.io) for each registry's service")]),
    ("networking.k8s.io", &[("Ingress", "write a Gateway and an HTTPRoute")]),
    ("traefik.io", &[("IngressRoute", "write a Gateway and an HTTPRoute"), ("IngressRouteTCP", "write a TCPRoute or TLSRoute")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice, `-` without; `!` for a slip.
    fn judged(api_version: &str, kind: &str) -> &'static str {
        judge(api_version, kind).map_or("!", |advice| advice.unwrap_or("-"))
    }

    #[test]
    fn kinds_of_applications_are_foreign() {
        for (api_version, kind) in [
            ("apps/v1", "Deployment"),
            ("v1", "ServiceAccount"),
            ("v1", "Endpoints"),
            ("v1", "PersistentVolumeClaim"),
            ("rbac.authorization.k8s.io/v1", "Role"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            ("certificates.k8s.io/v1", "CertificateSigningRequest"),
            ("serving.knative.dev/v1", "Service"),
            ("cert-manager.io/v1", "Certificate"),
            ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
        ] {
            assert_eq!(judged(api_version, kind), "-", "{api_version} {kind}");
        }
    }

    #[test]
    fn slips_are_no_foreign_kinds() {
        for (api_version, kind) in [
            ("gateway.networking.k8s.io/v1", "HttpRoute"),
            ("gateway.networking.k8s.io/v1", "Route"),
            ("gateway.networking.k8s.o/v1", "HTTPRoute"),
            ("v1", "Sevice"),
            ("v1", "Pods"),
            ("v1", "Gateway"),
            ("discovery.k8s.io/v1", "EndpointSlices"),
            ("inference.networking.k8s.io/v1", "InferencePol"),
            ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicies"),
        ] {
            assert_eq!(judged(api_version, kind), "!", "{api_version} {kind}");
        }
    }

    #[test]
    fn kinds_of_other_gateways_come_with_what_to_write() {
        assert!(judged("aigateway.envoyproxy.io/v1beta1", "AIGatewayRoute").starts_with("write an HTTPRoute"));
        assert!(judged("networking.istio.io/v1", "Gateway").contains("gateway.networking.k8s.io/v1"));
        assert_eq!(judged("aigateway.envoyproxy.io/v1beta1", "Other"), "!");
        assert!(judged("gateway.envoyproxy.io/v1alpha1", "EnvoyGateway").starts_with("it configures"));
    }
}
