//! EnvoyProxy: parameters of a Gateway's proxies and of the objects provisioned for them.
//!
//! Fields about Envoy itself have no meaning here. Nor have fields that would loosen the confinement of the proxies, which may
//! read a Gateway's keys: other images, security contexts, volumes and containers.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::DeploymentStrategy,
        autoscaling::v2::{HorizontalPodAutoscalerBehavior, MetricSpec},
        core::v1::{Affinity, EnvVar, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use serde::Deserialize;

use super::{merge::MergeType, telemetry::ProxyTelemetry};
use crate::{duration::Duration, meta::Resource, unsupported::Unsupported};

mod merge;
mod unsupported;

/// `gateway.envoyproxy.io/v1alpha1` EnvoyProxy: parameters of a GatewayClass or Gateway.
pub type EnvoyProxy = Resource<EnvoyProxySpec>;

/// `spec` of an EnvoyProxy. Fields of type [`Unsupported`] are known and not acted on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyProxySpec {
    /// Provider of the proxies' objects.
    pub provider: Provider,
    /// The proxies' own log.
    pub logging: Logging,
    /// How a proxy ends.
    pub shutdown: Shutdown,
    /// Threads that serve requests; the number of processors unless given.
    pub concurrency: Option<i32>,
    /// Families of the addresses of the Service; both, where the cluster has both, unless given.
    pub ip_family: Option<IpFamily>,
    /// One proxy for all Gateways of a class.
    pub merge_gateways: Option<bool>,
    /// How a Gateway's parameters are joined with its class's; `Replace` by default.
    pub merge_type: Option<MergeType>,
    /// Logs, metrics and traces.
    pub telemetry: Option<ProxyTelemetry>,
    bootstrap: Option<Unsupported>,
    routing_type: Option<Unsupported>,
    extra_args: Option<Unsupported>,
    merge_backends: Option<Unsupported>,
    filter_order: Option<Unsupported>,
    #[serde(rename = "backendTLS")]
    backend_tls: Option<Unsupported>,
    preserve_route_order: Option<Unsupported>,
    lua: Option<Unsupported>,
    lua_validation: Option<Unsupported>,
    dynamic_modules: Option<Unsupported>,
    /// Databases of the places of addresses.
    #[serde(rename = "geoIP")]
    pub geo_ip: Option<GeoIp>,
}

/// Databases of the places of addresses.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GeoIp {
    /// Their provider.
    pub provider: GeoIpProvider,
}

/// A provider of databases.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GeoIpProvider {
    /// `MaxMind`.
    #[serde(rename = "type")]
    pub kind: GeoIpProviderType,
    /// Files in MaxMind's format.
    #[serde(default)]
    pub max_mind: Option<GeoIpMaxMind>,
}

/// Kind of a provider of databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum GeoIpProviderType {
    /// Files in MaxMind's format.
    MaxMind,
}

/// Files in MaxMind's format; at least one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GeoIpMaxMind {
    /// Cities, their regions and countries.
    pub city_db_source: Option<GeoIpDbSource>,
    /// Countries.
    pub country_db_source: Option<GeoIpDbSource>,
    /// Autonomous systems.
    pub asn_db_source: Option<GeoIpDbSource>,
    /// Internet service providers.
    pub isp_db_source: Option<GeoIpDbSource>,
    /// Clients that hide.
    pub anonymous_ip_db_source: Option<GeoIpDbSource>,
}

/// Source of a database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GeoIpDbSource {
    /// A file of the proxy's.
    pub local: LocalGeoIpDbSource,
}

/// A file of the proxy's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LocalGeoIpDbSource {
    /// Its path, which ends in `.mmdb`.
    pub path: String,
}

/// Type of the provider.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// `Kubernetes`, or `Host`, which has no meaning here.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Settings of objects in a cluster.
    pub kubernetes: KubernetesProvider,
    host: Option<Unsupported>,
}

/// Settings of objects in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesProvider {
    /// The Deployment of the proxies.
    pub envoy_deployment: Deployment,
    /// The Service that clients reach them by.
    pub envoy_service: Service,
    /// A HorizontalPodAutoscaler; none unless given. It takes the place of the Deployment's `replicas`.
    pub envoy_hpa: Option<Autoscaler>,
    /// A PodDisruptionBudget; none unless given.
    #[serde(rename = "envoyPDB")]
    pub envoy_pdb: Option<DisruptionBudget>,
    /// Whether proxies listen on the listeners' own ports, which they always do.
    pub use_listener_port_as_container_port: Option<bool>,
    envoy_daemon_set: Option<Unsupported>,
    envoy_service_account: Option<Unsupported>,
}

/// The Deployment of the proxies.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Deployment {
    /// How many proxies there are; 1 by default.
    pub replicas: Option<i32>,
    /// How proxies are replaced; none goes before another has come unless given.
    pub strategy: Option<DeploymentStrategy>,
    /// The pods.
    pub pod: Pod,
    /// Their container.
    pub container: Container,
    name: Option<Unsupported>,
    patch: Option<Unsupported>,
    init_containers: Option<Unsupported>,
}

/// The proxies' pods.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Annotations beside those of the Gateway.
    pub annotations: BTreeMap<String, String>,
    /// Labels beside those of the Gateway.
    pub labels: BTreeMap<String, String>,
    /// Scheduling of pods, relative to nodes and other pods.
    pub affinity: Option<Affinity>,
    /// Taints that do not matter.
    pub tolerations: Vec<Toleration>,
    /// Secrets that the image is pulled with, beside the controller's.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// How pods are spread.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Their importance.
    pub priority_class_name: Option<String>,
    security_context: Option<Unsupported>,
    volumes: Option<Unsupported>,
}

/// The proxies' container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Variables of its environment.
    pub env: Vec<EnvVar>,
    /// Requests and limits.
    pub resources: Option<ResourceRequirements>,
    image: Option<Unsupported>,
    image_repository: Option<Unsupported>,
    security_context: Option<Unsupported>,
    volume_mounts: Option<Unsupported>,
}

/// The Service that clients reach the proxies by.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Annotations beside those of the Gateway.
    pub annotations: BTreeMap<String, String>,
    /// Labels beside those of the Gateway.
    pub labels: BTreeMap<String, String>,
    /// `LoadBalancer` by default.
    #[serde(rename = "type")]
    pub kind: Option<ServiceType>,
    /// Kind of load balancer.
    pub load_balancer_class: Option<String>,
    /// Whether nodes have ports for a load balancer, too.
    pub allocate_load_balancer_node_ports: Option<bool>,
    /// From where a load balancer lets clients in.
    pub load_balancer_source_ranges: Vec<String>,
    /// The load balancer's address; `spec.addresses` of the Gateway goes before it.
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
    /// `Local` keeps clients' addresses; the cluster's default unless given.
    pub external_traffic_policy: Option<String>,
    name: Option<Unsupported>,
    patch: Option<Unsupported>,
}

/// How a Service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ServiceType {
    /// From within the cluster.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// By an address that somebody outside of Kubernetes gives.
    LoadBalancer,
    /// By a port on each node.
    NodePort,
}

/// A HorizontalPodAutoscaler.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaler {
    /// The fewest proxies; 1 by default.
    #[serde(default)]
    pub min_replicas: Option<i32>,
    /// The most proxies.
    pub max_replicas: i32,
    /// Metrics to scale by; 80 % of the CPU request, unless given.
    #[serde(default)]
    pub metrics: Vec<MetricSpec>,
    /// How fast.
    #[serde(default)]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
    #[serde(default)]
    name: Option<Unsupported>,
    #[serde(default)]
    patch: Option<Unsupported>,
}

/// A PodDisruptionBudget.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DisruptionBudget {
    /// How many proxies have to be there, as a number or in per cent.
    pub min_available: Option<IntOrString>,
    /// How many proxies may be away, as a number or in per cent.
    pub max_unavailable: Option<IntOrString>,
    name: Option<Unsupported>,
    patch: Option<Unsupported>,
}

/// The proxies' own log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Levels by component of Envoy; only `default` has a meaning. Envoy Gateway's definition fills in `default: warn`.
    pub level: BTreeMap<String, LogLevel>,
}

/// A level of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// Details that help to find a fault.
    Debug,
    /// Ordinary events.
    Info,
    /// Possible faults.
    Warn,
    /// Faults.
    Error,
    /// Nothing.
    Off,
    /// Faults that end the program.
    Critical,
}

/// How a proxy ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shutdown {
    /// How long it finishes what is under way.
    pub drain_timeout: Option<Duration>,
    /// How long it goes on as before, while everybody hears that it ends.
    pub min_drain_duration: Option<Duration>,
    health_check_failure_delay: Option<Unsupported>,
}

/// Families of a Service's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum IpFamily {
    /// IPv4 alone.
    IPv4,
    /// IPv6 alone.
    IPv6,
    /// Both.
    DualStack,
}

#[cfg(test)]
mod tests;
