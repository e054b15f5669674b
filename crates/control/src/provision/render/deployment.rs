//! The Deployment of a data plane's proxies.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            Capabilities, ConfigMapProjection, Container, ContainerPort, HTTPGetAction, KeyToPath, Lifecycle, LifecycleHandler,
            PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, SeccompProfile, SecurityContext,
            ServiceAccountTokenProjection, SleepAction, Sysctl, Volume, VolumeMount, VolumeProjection,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    super::{FEED_AUDIENCE, Options, names, plan::Plan},
    AUTHORITIES, labels, metadata, selector,
};

/// The port of the proxies' admin endpoint, for probes and scrapers.
const ADMIN_PORT: u16 = 15000;
/// Where the token and the authorities are mounted.
const CREDENTIALS: &str = "/var/run/pailou";
/// A user that owns nothing.
const USER: i64 = 65532;
/// How long a pod that ends goes on as before: until then it may still be sent new connections, in seconds.
const NOTICE: i64 = 5;
/// What is left for the proxy to end in after its drain, in seconds.
const LEEWAY: i64 = 5;
/// How long a token holds; the kubelet renews it well before, in seconds.
const TOKEN_LIFE: i64 = 3600;

pub(super) fn deployment(plan: &Plan, options: &Options) -> Deployment {
    let annotations = (!plan.annotations.is_empty()).then(|| plan.annotations.clone());
    let pod = ObjectMeta { labels: Some(labels(plan, options)), annotations, ..ObjectMeta::default() };
    let spec = DeploymentSpec {
        replicas: Some(1),
        selector: LabelSelector { match_labels: Some(selector(plan)), match_expressions: None },
        // No pod goes before another has taken its place.
        strategy: Some(DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }),
        template: PodTemplateSpec { metadata: Some(pod), spec: Some(pod_spec(plan, options)) },
        ..DeploymentSpec::default()
    };
    Deployment { metadata: metadata(plan, options), spec: Some(spec), status: None }
}

fn pod_spec(plan: &Plan, options: &Options) -> PodSpec {
    PodSpec {
        service_account_name: Some(names::data_plane(&plan.gateway.name)),
        // The one token that is needed is mounted by name, for the feed alone.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (!options.image_pull_secrets.is_empty()).then(|| options.image_pull_secrets.clone()),
        termination_grace_period_seconds: Some(NOTICE + i64::from(options.drain_seconds) + LEEWAY),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            // Listeners have the ports that the Gateway gives them, 80 and 443 too.
            sysctls: Some(vec![Sysctl { name: "net.ipv4.ip_unprivileged_port_start".to_owned(), value: "0".to_owned() }]),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(plan, options)],
        volumes: Some(vec![credentials(plan)]),
        ..PodSpec::default()
    }
}

fn container(plan: &Plan, options: &Options) -> Container {
    Container {
        name: "proxy".to_owned(),
        image: Some(options.image.clone()),
        image_pull_policy: options.image_pull_policy.clone(),
        args: Some(arguments(plan, options)),
        ports: Some(vec![ContainerPort {
            name: Some("admin".to_owned()),
            container_port: ADMIN_PORT.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        readiness_probe: Some(probe("/readyz", 1, 2)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler { sleep: Some(SleepAction { seconds: NOTICE }), ..LifecycleHandler::default() }),
            ..Lifecycle::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: "credentials".to_owned(),
            mount_path: CREDENTIALS.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}

fn arguments(plan: &Plan, options: &Options) -> Vec<String> {
    let mut arguments = vec![
        "proxy".to_owned(),
        format!("--gateway={}", plan.gateway),
        format!("--feed={}", options.feed_url),
        format!("--feed-ca={CREDENTIALS}/{AUTHORITIES}"),
        format!("--feed-token={CREDENTIALS}/token"),
        format!("--admin=0.0.0.0:{ADMIN_PORT}"),
        format!("--drain={}", options.drain_seconds),
    ];
    arguments.extend(plan.controllers.iter().map(|name| format!("--controller-name={name}")));
    arguments.extend(options.log.iter().map(|levels| format!("--log={levels}")));
    arguments
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    let get = HTTPGetAction { path: Some(path.to_owned()), port: IntOrString::Int(ADMIN_PORT.into()), ..HTTPGetAction::default() };
    Probe { http_get: Some(get), period_seconds: Some(period), failure_threshold: Some(failures), ..Probe::default() }
}

fn credentials(plan: &Plan) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(FEED_AUDIENCE.to_owned()),
        expiration_seconds: Some(TOKEN_LIFE),
        path: "token".to_owned(),
    };
    let authorities = ConfigMapProjection {
        name: names::data_plane(&plan.gateway.name),
        items: Some(vec![KeyToPath { key: AUTHORITIES.to_owned(), path: AUTHORITIES.to_owned(), mode: None }]),
        optional: None,
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authorities), ..VolumeProjection::default() },
    ];
    Volume {
        name: "credentials".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: None }),
        ..Volume::default()
    }
}
