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

use pailou_api::{Duration, envoy::envoy_proxy::LogLevel};
use pailou_compile::ADMIN_PORT;

use super::{
    super::{FEED_AUDIENCE, Options, observed, plan::Plan},
    AUTHORITIES, marks, metadata, scaling, selector,
};

/// Directory of the token and the authorities.
const CREDENTIALS: &str = "/var/run/pailou";
/// A user that owns nothing.
const USER: i64 = 65532;
/// How long a pod that ends goes on as before, unless parameters say: until then it may still be sent new connections, in seconds.
const NOTICE: i64 = 5;
/// Time for the proxy to end after its drain, in seconds.
const LEEWAY: i64 = 5;
/// How long a token holds; the kubelet renews it well before, in seconds.
const TOKEN_LIFE: i64 = 3600;

pub(super) fn deployment(plan: &Plan, options: &Options, observed: Option<&observed::Deployment>) -> Deployment {
    let requested = &plan.parameters.provider.kubernetes.envoy_deployment;
    let pod = marks(plan, options, &requested.pod.labels, &requested.pod.annotations);
    let spec = DeploymentSpec {
        replicas: replicas(plan, observed),
        selector: LabelSelector { match_labels: Some(selector(plan)), match_expressions: None },
        strategy: Some(requested.strategy.clone().unwrap_or_else(surging)),
        template: PodTemplateSpec { metadata: Some(pod), spec: Some(pod_spec(plan, options)) },
        ..DeploymentSpec::default()
    };
    // The observed number may be outdated: with this version the API server refuses it if the autoscaler has written since.
    let is_carried = plan.is_scaled() && spec.replicas.is_some();
    let resource_version = observed.filter(|_| is_carried).and_then(|observed| observed.metadata.resource_version.clone());
    Deployment { metadata: ObjectMeta { resource_version, ..metadata(plan, options) }, spec: Some(spec), status: None }
}

/// How many proxies there are to be. With an autoscaler that is its matter; but until it has said so itself what there is stays,
/// since a field that its only owner leaves out would fall back to 1.
fn replicas(plan: &Plan, observed: Option<&observed::Deployment>) -> Option<i32> {
    let requested = &plan.parameters.provider.kubernetes;
    match (&requested.envoy_hpa, observed) {
        (None, _) => Some(requested.envoy_deployment.replicas.unwrap_or(1)),
        (Some(autoscaler), None) => Some(autoscaler.min_replicas.unwrap_or(1)),
        (Some(_), Some(observed)) => observed.spec.as_ref().and_then(|spec| spec.replicas).filter(|_| observed.owns_replicas),
    }
}

/// No pod goes before another has taken its place.
fn surging() -> DeploymentStrategy {
    DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    }
}

fn pod_spec(plan: &Plan, options: &Options) -> PodSpec {
    let requested = &plan.parameters.provider.kubernetes.envoy_deployment.pod;
    let pull_secrets: Vec<_> = options.image_pull_secrets.iter().chain(&requested.image_pull_secrets).cloned().collect();
    PodSpec {
        service_account_name: Some(plan.object_name.1.clone()),
        // The one token that is needed is mounted by name, for the feed alone.
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (!pull_secrets.is_empty()).then_some(pull_secrets),
        affinity: requested.affinity.clone(),
        tolerations: (!requested.tolerations.is_empty()).then(|| requested.tolerations.clone()),
        node_selector: (!requested.node_selector.is_empty()).then(|| requested.node_selector.clone()),
        topology_spread_constraints: (!requested.topology_spread_constraints.is_empty())
            .then(|| requested.topology_spread_constraints.clone()),
        priority_class_name: requested.priority_class_name.clone(),
        termination_grace_period_seconds: Some(notice(plan) + i64::from(drain(plan, options)) + LEEWAY),
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
    let requested = &plan.parameters.provider.kubernetes.envoy_deployment.container;
    let notice = notice(plan);
    Container {
        name: "proxy".to_owned(),
        image: Some(options.image.clone()),
        image_pull_policy: options.image_pull_policy.clone(),
        args: Some(arguments(plan, options)),
        env: (!requested.env.is_empty()).then(|| requested.env.clone()),
        resources: scaling::resources(plan),
        ports: Some(vec![ContainerPort {
            name: Some("admin".to_owned()),
            container_port: ADMIN_PORT.into(),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        // A probe for the start alone would have the kubelet take a second more until it says that the pod is ready.
        readiness_probe: Some(probe("/readyz", 1, 2)),
        liveness_probe: Some(probe("/healthz", 10, 6)),
        // There is no sleep of no time.
        lifecycle: (notice > 0).then(|| Lifecycle {
            pre_stop: Some(LifecycleHandler { sleep: Some(SleepAction { seconds: notice }), ..LifecycleHandler::default() }),
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
        format!("--controller-namespace={}", options.namespace),
        format!("--admin=0.0.0.0:{ADMIN_PORT}"),
        format!("--drain={}", drain(plan, options)),
    ];
    // As many as `--workers` takes.
    arguments.extend(plan.parameters.concurrency.map(|threads| format!("--workers={}", threads.clamp(1, 1024))));
    arguments.extend(plan.controllers.iter().map(|name| format!("--controller-name={name}")));
    arguments.extend(log(plan, options).map(|levels| format!("--log={levels}")));
    arguments
}

/// Log levels of the parameters, else the controller's. A `warn` may be a default that Envoy Gateway's definition filled in,
/// and so counts as none.
fn log<'a>(plan: &'a Plan, options: &'a Options) -> Option<&'a str> {
    match plan.parameters.logging.level.get("default") {
        Some(LogLevel::Trace) => Some("trace"),
        Some(LogLevel::Debug) => Some("debug"),
        Some(LogLevel::Info) => Some("info"),
        Some(LogLevel::Error | LogLevel::Critical) => Some("error"),
        Some(LogLevel::Off) => Some("off"),
        Some(LogLevel::Warn) | None => options.log.as_deref(),
    }
}

/// How long a pod that ends goes on as before, in seconds.
fn notice(plan: &Plan) -> i64 {
    plan.parameters.shutdown.min_drain_duration.map_or(NOTICE, |it| seconds(it).into())
}

/// How long a proxy finishes what is under way, in seconds.
fn drain(plan: &Plan, options: &Options) -> u32 {
    plan.parameters.shutdown.drain_timeout.map_or(options.drain_seconds.into(), seconds)
}

/// Whole seconds, rather more than less.
fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_std().as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
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
        name: plan.object_name.1.clone(),
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
