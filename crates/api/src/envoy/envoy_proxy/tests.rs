use super::*;

fn spec(text: &str) -> EnvoyProxySpec {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_a_definition_fills_in_is_nothing_to_warn_of() {
    let spec = spec(
        r#"{
            "logging": {"level": {"default": "warn"}},
            "provider": {"type": "Kubernetes", "kubernetes": {
                "envoyService": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
                "useListenerPortAsContainerPort": true
            }}
        }"#,
    );
    assert_eq!(spec.unsupported(), Vec::<&str>::new());
}

#[test]
fn what_is_about_envoy_or_loosens_the_proxies_confinement_is_named() {
    let spec = spec(
        r#"{
            "bootstrap": {"value": "admin: {}"},
            "logging": {"level": {"default": "info", "upstream": "debug"}},
            "provider": {"type": "Kubernetes", "kubernetes": {
                "envoyDeployment": {
                    "replicas": 3,
                    "pod": {"securityContext": {"runAsUser": 0}, "labels": {"team": "inference"}},
                    "container": {"image": "envoyproxy/envoy:v1.38", "volumeMounts": []},
                    "patch": {"value": {}}
                },
                "envoyPDB": {"minAvailable": "50%", "name": "mine"}
            }}
        }"#,
    );
    let deployment = &spec.provider.kubernetes.envoy_deployment;
    assert_eq!((deployment.replicas, deployment.pod.labels.get("team").unwrap().as_str()), (Some(3), "inference"));
    let named = [
        "provider.kubernetes.envoyDeployment.patch",
        "provider.kubernetes.envoyDeployment.pod.securityContext",
        "provider.kubernetes.envoyDeployment.container.image",
        "provider.kubernetes.envoyDeployment.container.volumeMounts",
        "provider.kubernetes.envoyPDB.name",
        "logging.level",
        "bootstrap",
    ];
    assert_eq!(spec.unsupported(), named);
}
