//! Objects of every kind, made at random: whatever refers to whatever, compiling what a Gateway reaches gives what compiling everything
//! gives.

use std::{collections::BTreeMap, sync::LazyLock};

use pailou_api::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{check, entries, store};
use crate::support::random::Random;

/// A certificate with its key, which is its own authority, as a Secret's `stringData`.
static CERTIFICATE: LazyLock<Value> = LazyLock::new(|| {
    let certified = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    json!({"tls.crt": certificate, "tls.key": key, "ca.crt": certificate, "credential": "Bearer x"})
});

const NAMESPACES: [&str; 2] = ["default", "other"];
const NAMES: [&str; 3] = ["a", "b", "c"];
const BACKENDS: [(&str, &str); 3] =
    [("", "Service"), ("gateway.envoyproxy.io", "Backend"), ("inference.networking.k8s.io", "InferencePool")];
const AUTHORITIES: [(&str, &str); 3] = [("", "ConfigMap"), ("", "Secret"), ("certificates.k8s.io", "ClusterTrustBundle")];
const ROUTES: [&str; 5] = ["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"];
const GATEWAY: &str = "gateway.networking.k8s.io";

/// Makes objects.
struct Maker(Random);

impl Maker {
    fn name(&mut self) -> &'static str {
        self.0.of(&NAMES)
    }

    fn labels(&mut self) -> Value {
        json!({"app": self.name()})
    }

    /// A reference to an object of one of these kinds, at times of another one.
    fn local(&mut self, kinds: &[(&str, &str)]) -> Value {
        let kinds = if self.0.one_in(20) { &AUTHORITIES[..] } else { kinds };
        let (group, kind) = self.0.of(kinds);
        json!({"group": group, "kind": kind, "name": self.name()})
    }

    /// The same, at times into another namespace.
    fn reference(&mut self, kinds: &[(&str, &str)]) -> Value {
        let mut reference = self.local(kinds);
        if self.0.one_in(3) {
            reference["namespace"] = self.0.of(&NAMESPACES).into();
        }
        reference
    }

    fn secret(&mut self) -> Value {
        self.reference(&[("", "Secret")])
    }

    fn backend(&mut self) -> Value {
        let mut backend = self.reference(&BACKENDS);
        backend["port"] = 80.into();
        backend
    }

    fn some(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> Value) -> Vec<Value> {
        (0..=self.0.below(most)).map(|_| make(self)).collect()
    }

    fn maybe(&mut self, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.0.one_in(2) { make(self) } else { Value::Null }
    }

    fn rarely(&mut self, make: impl FnOnce(&mut Self) -> Value) -> Value {
        if self.0.one_in(6) { make(self) } else { Value::Null }
    }

    fn listener(&mut self, place: usize) -> Value {
        let protocol = self.0.of(&["HTTP", "HTTP", "HTTPS", "HTTPS", "TLS", "TCP", "UDP"]);
        let port = 8000 + place;
        let tls = (protocol == "HTTPS" || protocol == "TLS").then(|| json!({"certificateRefs": self.some(2, Self::secret)}));
        let from = self.0.of(&["All", "Same", "Selector"]);
        let namespaces = json!({"from": from, "selector": {"matchLabels": self.labels()}});
        let (auth, settings) = self.0.of(&[("HTTP", "http"), ("GRPC", "grpc")]);
        let auth = json!({"protocol": auth, settings: {}, "backendRef": self.backend()});
        let filters = (protocol.starts_with("HTTP") && self.0.one_in(3))
            .then(|| json!({"requests": [{"type": "ExternalAuth", "externalAuth": auth}]}));
        let name = format!("l{place}");
        json!({"name": name, "protocol": protocol, "port": port, "tls": tls, "filters": filters,
            "allowedRoutes": {"namespaces": namespaces}})
    }

    fn listeners(&mut self, first: usize) -> Vec<Value> {
        (0..=self.0.below(3)).map(|place| self.listener(first + place)).collect()
    }

    fn parents(&mut self) -> Vec<Value> {
        self.some(2, |it| it.reference(&[(GATEWAY, "Gateway"), (GATEWAY, "Gateway"), (GATEWAY, "ListenerSet")]))
    }

    fn filter(&mut self, is_http: bool) -> Value {
        match self.0.below(if is_http { 3 } else { 2 }) {
            0 => json!({"type": "RequestMirror", "requestMirror": {"backendRef": self.backend()}}),
            1 => json!({"type": "ExtensionRef", "extensionRef": self.local(&[("gateway.envoyproxy.io", "HTTPRouteFilter")])}),
            _ => json!({"type": "ExternalAuth", "externalAuth": {"protocol": "HTTP", "http": {}, "backendRef": self.backend()}}),
        }
    }

    fn route(&mut self, kind: Kind) -> Value {
        let is_http = kind == Kind::HttpRoute;
        let has_requests = is_http || kind == Kind::GrpcRoute;
        let count = if has_requests { 1 + self.0.below(2) } else { 1 };
        let rules: Vec<_> = (0..count)
            .map(|place| {
                let backends = self.some(2, |it| {
                    let mut backend = it.backend();
                    if has_requests && it.0.one_in(4) {
                        backend["filters"] = json!([it.filter(false)]);
                    }
                    backend
                });
                let filters = if has_requests && self.0.one_in(2) { json!([self.filter(is_http)]) } else { Value::Null };
                json!({"name": format!("r{place}"), "backendRefs": backends, "filters": filters})
            })
            .collect();
        json!({"parentRefs": self.parents(), "rules": rules, "hostnames": (kind == Kind::TlsRoute).then_some(["a.example"])})
    }

    fn targets(&mut self, kinds: &[&str]) -> Vec<Value> {
        let kinds: Vec<_> = kinds.iter().map(|kind| (GATEWAY, *kind)).collect();
        self.some(2, |it| {
            let (group, kind) = it.0.of(&kinds);
            let section = it.0.one_in(4).then(|| it.0.of(&["l0", "l1", "r0", "r1"]));
            json!({"group": group, "kind": kind, "name": it.name(), "sectionName": section})
        })
    }

    /// A policy's targets, by name or by labels.
    fn targeting(&mut self, kinds: &[&str], mut spec: Value) -> Value {
        if self.0.one_in(4) {
            let namespaces = self.maybe(|it| {
                let selector = json!({"matchLabels": it.labels()});
                json!({"from": it.0.of(&["All", "Same", "Selector"]), "selector": selector})
            });
            spec["targetSelectors"] =
                json!([{"group": GATEWAY, "kind": self.0.of(kinds), "matchLabels": self.labels(), "namespaces": namespaces}]);
        } else {
            spec["targetRefs"] = self.targets(kinds).into();
        }
        spec
    }

    fn validation(&mut self) -> Value {
        json!({"validation": {"caCertificateRefs": self.some(2, |it| it.reference(&AUTHORITIES))}})
    }

    fn body(&mut self) -> Value {
        json!({"type": "ValueRef", "valueRef": {"group": "", "kind": "ConfigMap", "name": self.name()}})
    }

    fn pool_ref(&mut self) -> Value {
        json!({"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": self.name()})
    }

    /// The `spec`, or all fields beside `metadata` of a kind without one.
    fn fields(&mut self, kind: Kind) -> Value {
        let routes_and_parents: Vec<_> = ["Gateway", "ListenerSet"].into_iter().chain(ROUTES).collect();
        let spec = match kind {
            Kind::GatewayClass => json!({"controllerName": pailou_compile::CONTROLLER_NAME,
                "parametersRef": self.rarely(|it| it.reference(&[("gateway.envoyproxy.io", "EnvoyProxy")]))}),
            Kind::Gateway => json!({
                "gatewayClassName": "pailou",
                "listeners": self.listeners(0),
                "allowedListeners": {"namespaces": {"from": self.0.of(&["All", "Same", "Selector"]),
                    "selector": {"matchLabels": self.labels()}}},
                "infrastructure": self.rarely(|it| json!({"parametersRef": it.local(&[("gateway.envoyproxy.io", "EnvoyProxy")])})),
                "tls": {"frontend": self.maybe(|it| json!({"default": it.validation(), "perPort": [{"port": 8001, "tls": it.validation()}]})),
                    "backend": self.maybe(|it| json!({"clientCertificateRef": it.secret()}))},
            }),
            Kind::ListenerSet => {
                json!({"parentRef": self.reference(&[(GATEWAY, "Gateway")]), "listeners": self.listeners(5)})
            }
            Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => self.route(kind),
            Kind::ReferenceGrant => {
                let kinds = routes_and_parents.iter().map(|kind| (GATEWAY, *kind));
                let policies = ["ClientTrafficPolicy", "BackendTrafficPolicy", "SecurityPolicy", "EnvoyExtensionPolicy"];
                let envoy = ["Backend", "HTTPRouteFilter"].into_iter().chain(policies).map(|kind| ("gateway.envoyproxy.io", kind));
                let from: Vec<_> = kinds.clone().chain(envoy).collect();
                let to: Vec<_> = BACKENDS.into_iter().chain(AUTHORITIES).chain(kinds).collect();
                json!({"from": self.some(4, |it| {
                    let (group, kind) = it.0.of(&from);
                    json!({"group": group, "kind": kind, "namespace": it.0.of(&NAMESPACES)})
                }), "to": self.some(3, |it| {
                    let (group, kind) = it.0.of(&to);
                    json!({"group": group, "kind": kind})
                })})
            }
            Kind::BackendTlsPolicy => json!({
                "targetRefs": self.some(2, |it| it.local(&BACKENDS[..2])),
                "validation": {"hostname": "a.example", "caCertificateRefs": self.some(1, |it| it.local(&AUTHORITIES))},
            }),
            Kind::InferencePool => json!({
                "selector": {"matchLabels": self.labels()},
                "targetPorts": [{"number": 8000}],
                "endpointPickerRef": self.maybe(|it| json!({"name": it.name(), "port": {"number": 80}})),
            }),
            Kind::InferenceModel => json!({"modelName": self.name(), "poolRef": self.pool_ref()}),
            Kind::InferenceObjective => json!({"priority": 1, "poolRef": self.pool_ref()}),
            Kind::InferenceModelRewrite => {
                let model = self.name();
                json!({"poolRef": self.pool_ref(), "rules": [{"targets": [{"modelRewrite": model}]}]})
            }
            Kind::Backend => json!({
                "endpoints": [{"fqdn": {"hostname": "a.example", "port": 443}}],
                "tls": self.maybe(|it| json!({"caCertificateRefs": it.some(1, |it| it.local(&AUTHORITIES)),
                    "clientCertificateRef": it.maybe(Self::secret)})),
            }),
            Kind::EnvoyHttpRouteFilter => json!({
                "credentialInjection": self.maybe(|it| json!({"credential": {"valueRef": it.secret()}})),
                "directResponse": self.0.one_in(3).then(|| json!({"statusCode": 503, "body": self.body()})),
            }),
            Kind::ClientTrafficPolicy => {
                let authorities = self.some(1, |it| it.reference(&AUTHORITIES));
                self.targeting(
                    &["Gateway", "ListenerSet"],
                    json!({"tls": {"clientValidation": {"caCertificateRefs": authorities}}}),
                )
            }
            Kind::BackendTrafficPolicy => {
                let body = self.body();
                let spec = json!({"responseOverride": self.maybe(|_| json!([{"match": {"statusCodes": [{"type": "Value", "value": 503}]},
                    "response": {"body": body}}])), "requestBuffer": self.maybe(|_| json!({"limit": "1Mi"}))});
                let spec = self.targeting(&routes_and_parents, spec);
                self.merged(spec)
            }
            Kind::SecurityPolicy => {
                let text = self.maybe(|it| {
                    let (kind, name) = (it.0.of(&["Secret", "ConfigMap"]), it.name());
                    json!([{"name": "a", "type": "ValueRef", "valueRef": {"group": "", "kind": kind, "name": name, "key": "ca.crt"}}])
                });
                let keys = self.maybe(|it| {
                    let remote = json!({"uri": "http://a.example/keys", "backendRefs": [it.backend()]});
                    json!({"providers": [{"name": "a", "remoteJWKS": remote}]})
                });
                let server = self.maybe(|it| {
                    let server = json!({"backendRefs": [it.backend()]});
                    json!({"grpc": server, "failOpen": it.0.one_in(2), "contextExtensions": text, "includeRouteMetadata": true})
                });
                let spec = json!({"cors": {"allowOrigins": ["https://a.example"]}, "extAuth": server, "jwt": keys});
                let spec = self.targeting(&routes_and_parents, spec);
                self.merged(spec)
            }
            Kind::EnvoyProxy => json!({"concurrency": 2}),
            Kind::EnvoyExtensionPolicy => {
                let lua = self.maybe(|_| json!([{"type": "Inline", "inline": ""}]));
                let processors = self.some(
                    2,
                    |it| json!({"backendRefs": [it.backend()], "failOpen": it.0.below(2) == 0, "processingMode": {"request": {}}}),
                );
                let spec = self.targeting(&routes_and_parents, json!({"lua": lua, "extProc": processors}));
                self.merged(spec)
            }
            Kind::GatewayConfig => {
                json!({"globalLLMRequestCosts": [{"metadataKey": self.name(), "type": "CEL", "cel": self.0.of(&["1u", "total_tokens", "no"])}]})
            }
            Kind::EnvoyPatchPolicy => json!({"type": "JSONPatch", "targetRef": self.local(&[(GATEWAY, "Gateway")])}),
            Kind::Namespace | Kind::InferenceTrafficPolicy | Kind::AckTrafficFilter => json!({}),
            Kind::Pod => json!({"containers": []}),
            Kind::Service => json!({"selector": self.labels(),
                "ports": [{"name": "web", "port": 80, "targetPort": 8000}, {"name": "udp", "port": 80, "protocol": "UDP"}]}),
            Kind::ClusterTrustBundle => json!({"trustBundle": CERTIFICATE["ca.crt"]}),
            Kind::Secret => return json!({"type": "kubernetes.io/tls", "stringData": *CERTIFICATE}),
            Kind::ConfigMap => {
                return json!({"data": {"ca.crt": CERTIFICATE["ca.crt"], "response.body": self.name(), "model_prices_and_context_window.json": self.0.of(&["{}", "no"])}});
            }
            Kind::EndpointSlice => {
                return json!({"addressType": "IPv4", "ports": [{"name": "web", "port": 8000, "protocol": "TCP"}],
                    "endpoints": [{"addresses": ["192.0.2.7"], "conditions": {"ready": true}}]});
            }
        };
        json!({"spec": spec})
    }

    /// At times with a `mergeType`, which only policies of routes may have.
    fn merged(&mut self, mut spec: Value) -> Value {
        let targets = spec["targetRefs"].as_array().or(spec["targetSelectors"].as_array()).into_iter().flatten();
        if targets.clone().all(|it| it["kind"].as_str().is_some_and(|kind| ROUTES.contains(&kind))) && self.0.one_in(2) {
            spec["mergeType"] = self.0.of(&["StrategicMerge", "JSONMerge"]).into();
        }
        spec
    }

    fn object(&mut self, kind: Kind) -> Value {
        // The two versions of InferencePool have other fields.
        let group = if kind == Kind::InferencePool { kind.groups()[0] } else { self.0.of(kind.groups()) };
        let version = kind.versions(group)[0];
        let mut object = self.fields(kind);
        object["apiVersion"] = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }.into();
        object["kind"] = kind.name().into();
        let name = match kind {
            Kind::GatewayClass => "pailou",
            Kind::Namespace => self.0.of(&NAMESPACES),
            _ => self.name(),
        };
        let mut labels = self.labels();
        if kind == Kind::EndpointSlice {
            labels["kubernetes.io/service-name"] = self.name().into();
        }
        object["metadata"] = json!({"name": name, "labels": labels});
        if kind == Kind::Gateway && self.0.one_in(2) {
            object["metadata"]["annotations"] =
                json!({"aigateway.envoyproxy.io/gateway-config": self.name(), "pailou.dev/model-prices": self.name()});
        }
        if kind.is_namespaced() {
            object["metadata"]["namespace"] = self.0.of(&NAMESPACES).into();
        }
        if kind == Kind::Pod {
            object["status"] = json!({"podIP": "192.0.2.9", "conditions": [{"type": "Ready", "status": "True"}]});
        }
        without_nulls(object)
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.into_iter().filter(|(_, it)| !it.is_null()).map(|(key, it)| (key, without_nulls(it))).collect())
        }
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

/// Six objects of each kind; some bear the name of another.
fn objects(seed: u64) -> String {
    let mut maker = Maker(Random(seed));
    let all = Kind::ALL.iter().flat_map(|kind| [*kind; 6]);
    all.map(|kind| format!("---\n{}\n", maker.object(kind))).collect()
}

#[test]
fn objects_of_every_kind_decode_and_gateways_are_served() {
    let mut count = BTreeMap::new();
    let mut served = 0;
    for seed in 0..8 {
        let all = entries(&objects(seed));
        all.iter().for_each(|entry| *count.entry(entry.object.kind()).or_insert(0) += 1);
        served += check(&store(all)).unwrap();
    }
    let few: Vec<_> = Kind::ALL.iter().filter(|kind| count.get(kind).copied().unwrap_or(0) < 30).collect();
    assert!(few.is_empty(), "many do not decode, of {few:?}");
    assert!(served > 20, "only {served} Gateways are served");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_refers_to_whatever_it_is_enough(seed in any::<u64>()) {
        prop_assert_eq!(check(&store(entries(&objects(seed)))).err(), None);
    }
}
