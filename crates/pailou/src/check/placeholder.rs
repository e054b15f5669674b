//! Objects that stand for ones which are elsewhere, as plain as those that refer to them allow.

use std::collections::{BTreeMap, BTreeSet};

use pailou_api::{ObjectKey, core_v1::cluster_trust_bundle::CERTIFICATES_GROUP, refs::GATEWAY_GROUP};
use pailou_compile::CONTROLLER_NAME;
use pailou_sim::selfsigned::Authority;
use serde_json::{Value, json};

/// Facts of an object, from those that refer to it.
#[derive(Debug, Default)]
pub(super) struct Details {
    /// Ports of a Service.
    pub(super) ports: BTreeSet<u16>,
    /// Listeners: name, port, protocol.
    pub(super) listeners: BTreeSet<(Option<String>, Option<u16>, ListenerProtocol)>,
    /// Names of a route's rules.
    pub(super) rules: BTreeSet<String>,
    /// Objects of other namespaces that refer to it: group, kind, namespace.
    pub(super) referrers: BTreeSet<(String, String, String)>,
}

/// Protocol of a listener that takes a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListenerProtocol {
    Http,
    Tls,
    Tcp,
    Udp,
}

/// Makes placeholders.
pub(super) struct Placeholder {
    certificate: String,
    key: String,
    authority: String,
}

const CLASS: &str = "assumed";
/// Key of a ConfigMap with prices of models.
const PRICES: &str = "model_prices_and_context_window.json";
/// Gateway of placeholders that need one.
const GATEWAY: &str = "assumed";
/// The port of a Service that nobody names one of.
const DEFAULT_PORT: u16 = 80;
/// Ports of listeners whose port nobody names.
const FIRST_PORT: u16 = 20_000;

impl Placeholder {
    /// Makes the certificate that Secrets hold; `None` if that cannot be made.
    pub(super) fn new() -> Option<Self> {
        let authority = Authority::new().ok()?;
        let tls = authority.issue(&["assumed.invalid"]).ok()?;
        Some(Self { certificate: tls.cert_pem, key: tls.key_pem.expose().to_owned(), authority: authority.ca_pem() })
    }

    /// The object of a key, with what it needs; none for kinds that only the files can have.
    pub(super) fn objects(&self, key: &ObjectKey, details: &Details) -> Vec<Value> {
        let mut objects = vec![match &*key.kind {
            "Service" => service(details),
            "Secret" => json!({ "apiVersion": "v1", "stringData": self.secret() }),
            "ConfigMap" => {
                json!({ "apiVersion": "v1", "data": { "ca.crt": self.authority, "response.body": "", PRICES: r#"{"*":{"input_cost_per_token":0,"output_cost_per_token":0}}"# } })
            }
            "ClusterTrustBundle" => {
                json!({ "apiVersion": format!("{CERTIFICATES_GROUP}/v1beta1"), "spec": { "trustBundle": self.authority } })
            }
            "Backend" => spec(
                "gateway.envoyproxy.io/v1alpha1",
                json!({ "endpoints": [{ "fqdn": { "hostname": "assumed.invalid", "port": 443 } }] }),
            ),
            "HTTPRouteFilter" => spec("gateway.envoyproxy.io/v1alpha1", json!({})),
            "EnvoyProxy" => spec("gateway.envoyproxy.io/v1alpha1", json!({})),
            "GatewayConfig" => spec("aigateway.envoyproxy.io/v1beta1", json!({})),
            "InferencePool" => pool(&key.group),
            "GatewayClass" => class(),
            "Gateway" => gateway(details),
            "ListenerSet" => {
                spec("gateway.networking.k8s.io/v1", json!({ "parentRef": { "name": GATEWAY }, "listeners": listeners(details) }))
            }
            "HTTPRoute" | "GRPCRoute" => route(details),
            _ => return Vec::new(),
        }];
        objects[0]["kind"] = key.kind.as_ref().into();
        objects[0]["metadata"] = json!({ "name": key.name, "namespace": key.namespace });
        match &*key.kind {
            "Gateway" => objects.push(named("GatewayClass", "", CLASS, class())),
            "ListenerSet" | "HTTPRoute" | "GRPCRoute" => {
                objects.push(named("Gateway", &key.namespace, GATEWAY, gateway(&Details::default())));
                objects.push(named("GatewayClass", "", CLASS, class()));
            }
            _ => {}
        }
        objects.extend(details.referrers.iter().enumerate().map(|(place, referrer)| grant(key, place, referrer)));
        objects
    }

    /// Values of the keys that any field reads.
    fn secret(&self) -> BTreeMap<&'static str, &str> {
        let authority = self.authority.as_str();
        [("tls.crt", self.certificate.as_str()), ("tls.key", &self.key), ("ca.crt", authority), ("credential", "assumed")].into()
    }
}

fn spec(api_version: &str, spec: Value) -> Value {
    json!({ "apiVersion": api_version, "spec": spec })
}

fn named(kind: &str, namespace: &str, name: &str, object: Value) -> Value {
    let mut object = object;
    object["kind"] = kind.into();
    object["metadata"] = json!({ "name": name, "namespace": namespace });
    object
}

fn service(details: &Details) -> Value {
    let mut ports = details.ports.clone();
    if ports.is_empty() {
        ports.insert(DEFAULT_PORT);
    }
    let both = ports.iter().flat_map(|port| ["TCP", "UDP"].map(|protocol| (port, protocol)));
    let ports = both.map(
        |(port, protocol)| json!({ "name": format!("{}-{port}", protocol.to_lowercase()), "port": port, "protocol": protocol }),
    );
    spec("v1", json!({ "ports": ports.collect::<Vec<_>>() }))
}

fn pool(group: &str) -> Value {
    match group {
        pailou_api::inference_pool::INFERENCE_GROUP => spec(
            "inference.networking.k8s.io/v1",
            json!({ "selector": { "matchLabels": { "assumed": "true" } }, "targetPorts": [{ "number": 8000 }] }),
        ),
        _ => spec(
            "inference.networking.x-k8s.io/v1alpha2",
            json!({ "selector": { "assumed": "true" }, "targetPortNumber": 8000, "extensionRef": { "name": "assumed" } }),
        ),
    }
}

fn class() -> Value {
    spec("gateway.networking.k8s.io/v1", json!({ "controllerName": CONTROLLER_NAME }))
}

fn gateway(details: &Details) -> Value {
    spec(
        "gateway.networking.k8s.io/v1",
        json!({
            "gatewayClassName": CLASS,
            "listeners": listeners(details),
            "allowedListeners": { "namespaces": { "from": "All" } },
        }),
    )
}

fn listeners(details: &Details) -> Vec<Value> {
    let mut asked = details.listeners.clone();
    if asked.is_empty() {
        asked.insert((None, None, ListenerProtocol::Http));
    }
    let mut seen = BTreeSet::new();
    let mut listeners = Vec::new();
    for (place, (name, port, protocol)) in asked.iter().enumerate() {
        let name = name.clone().unwrap_or_else(|| format!("assumed-{place}"));
        if !seen.insert(name.clone()) {
            continue;
        }
        let place = u16::try_from(place).unwrap_or(0);
        let mut listener = json!({
            "name": name,
            "port": port.unwrap_or(FIRST_PORT + place),
            "allowedRoutes": { "namespaces": { "from": "All" } },
        });
        match protocol {
            ListenerProtocol::Http => listener["protocol"] = "HTTP".into(),
            ListenerProtocol::Tls => {
                listener["protocol"] = "TLS".into();
                listener["tls"] = json!({ "mode": "Passthrough" });
            }
            ListenerProtocol::Tcp => listener["protocol"] = "TCP".into(),
            ListenerProtocol::Udp => listener["protocol"] = "UDP".into(),
        }
        listeners.push(listener);
    }
    listeners
}

fn route(details: &Details) -> Value {
    let rules = details.rules.iter().map(|name| json!({ "name": name }));
    spec("gateway.networking.k8s.io/v1", json!({ "parentRefs": [{ "name": GATEWAY }], "rules": rules.collect::<Vec<_>>() }))
}

fn grant(key: &ObjectKey, place: usize, (group, kind, namespace): &(String, String, String)) -> Value {
    let grant = spec(
        &format!("{GATEWAY_GROUP}/v1beta1"),
        json!({
            "from": [{ "group": group, "kind": kind, "namespace": namespace }],
            "to": [{ "group": key.group, "kind": key.kind, "name": key.name }],
        }),
    );
    let name = format!("assumed-{}-{}-{place}", key.kind.to_lowercase(), key.name);
    named("ReferenceGrant", &key.namespace, &name, grant)
}
