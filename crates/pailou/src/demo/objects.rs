//! Objects of the demo: the examples as they are, with Pods, a key and a certificate authority of its own.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use pailou_api::{
    ConfigMap, Meta, NamespaceName, Object, Pod, PortNumber, Secret, SecretValue,
    core_v1::{config_map::ConfigMapData, pod::PodSpec, secret::SecretData},
    parse::parse,
};

use super::engines::Engines;
use crate::cli::DemoArgs;

/// The hosted service's name in the examples.
pub(super) const HOSTED_NAME: &str = "dashscope.aliyuncs.com";
/// The model that the hosted service has.
pub(super) const HOSTED_MODEL: &str = "qwen3-32b";
/// Pod, model and address of each replica.
pub(super) const REPLICAS: [(&str, &str, Ipv4Addr); 4] = [
    ("qwen-0", "qwen", Ipv4Addr::new(127, 0, 0, 2)),
    ("qwen-1", "qwen", Ipv4Addr::new(127, 0, 0, 3)),
    ("deepseek-r1-0", "deepseek-r1", Ipv4Addr::new(127, 0, 0, 4)),
    ("deepseek-r1-1", "deepseek-r1", Ipv4Addr::new(127, 0, 0, 5)),
];
/// The name of the Gateway of the hosted service.
const HOSTED_GATEWAY: &str = "hosted";

const EXAMPLES: [(&str, &str); 6] = [
    ("examples/model-routing/gateway.yaml", include_str!("../../../../examples/model-routing/gateway.yaml")),
    ("examples/model-routing/pools.yaml", include_str!("../../../../examples/model-routing/pools.yaml")),
    ("examples/model-routing/route.yaml", include_str!("../../../../examples/model-routing/route.yaml")),
    ("examples/hosted-service/gateway.yaml", include_str!("../../../../examples/hosted-service/gateway.yaml")),
    ("examples/hosted-service/backend.yaml", include_str!("../../../../examples/hosted-service/backend.yaml")),
    ("examples/hosted-service/route.yaml", include_str!("../../../../examples/hosted-service/route.yaml")),
];

/// Replaces the example's policy, which trusts the system's authorities: the demo has just made the authority of the simulated
/// service's certificate.
const TLS: (&str, &str) = ("demo/tls.yaml", include_str!("tls.yaml"));

/// The namespace of all objects.
pub(super) fn namespace() -> NamespaceName {
    NamespaceName::try_from("default").expect("it is a DNS label")
}

/// Every object, with the ports that the command line gives.
pub(super) fn all(args: &DemoArgs, engines: &Engines) -> Vec<Object> {
    let mut objects = examples();
    for object in &mut objects {
        move_ports(object, args);
    }
    objects.extend(REPLICAS.map(|(name, app, address)| pod(name, app, address)));
    objects.push(credential(engines.credential()));
    objects.push(authority(engines.ca_pem()));
    objects
}

fn examples() -> Vec<Object> {
    let namespace = namespace();
    let read = |(name, text): &(&str, &str)| {
        let parsed = parse(text.as_bytes(), name, &namespace);
        assert!(parsed.errors.is_empty(), "the program's own examples are wrong: {:?}", parsed.errors);
        parsed.objects.into_iter().map(|decoded| decoded.object)
    };
    EXAMPLES.iter().chain([&TLS]).flat_map(read).collect()
}

fn move_ports(object: &mut Object, args: &DemoArgs) {
    let port = |number: u16| PortNumber::try_from(i64::from(number)).expect("the command line takes no port 0");
    match object {
        Object::Gateway(gateway) => {
            let number = if gateway.meta.name == HOSTED_GATEWAY { args.hosted_port } else { args.port };
            for listener in &mut Arc::make_mut(gateway).spec.listeners {
                listener.port = port(number);
            }
        }
        Object::InferencePool(pool) => Arc::make_mut(pool).spec.target_ports = vec![port(args.engine_port)],
        _ => {}
    }
}

fn meta(name: &str) -> Meta {
    Meta { name: name.to_owned(), namespace: namespace().to_string(), ..Meta::default() }
}

fn pod(name: &str, app: &str, address: Ipv4Addr) -> Object {
    let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
    let spec = PodSpec { ips: vec![address.into()], ready: true, ..PodSpec::default() };
    Object::Pod(Arc::new(Pod { meta: Meta { labels, ..meta(name) }, spec }))
}

fn credential(value: String) -> Object {
    let data = BTreeMap::from([("credential".to_owned(), SecretValue::new(value.into_bytes()))]);
    let spec = SecretData { kind: "Opaque".to_owned(), data };
    Object::Secret(Arc::new(Secret { meta: meta("hosted-credential"), spec }))
}

fn authority(pem: &str) -> Object {
    let data = BTreeMap::from([("ca.crt".to_owned(), pem.to_owned())]);
    let spec = ConfigMapData { data, ..ConfigMapData::default() };
    Object::ConfigMap(Arc::new(ConfigMap { meta: meta("demo-authority"), spec }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_examples_are_in_order() {
        let names: Vec<String> = examples().iter().map(|object| object.key().to_string()).collect();
        assert!(names.contains(&"Gateway default/models".to_owned()), "{names:?}");
        assert!(names.contains(&format!("Gateway default/{HOSTED_GATEWAY}")), "{names:?}");
        assert!(names.contains(&"BackendTLSPolicy default/hosted".to_owned()), "{names:?}");
    }
}
