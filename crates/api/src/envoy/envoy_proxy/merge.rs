//! How a Gateway's parameters are joined with its class's.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge;

use super::{
    Autoscaler, Container, Deployment, DisruptionBudget, EnvoyProxySpec, MergeType, Pod, ProxyTelemetry, Service, Shutdown,
};

impl EnvoyProxySpec {
    /// Whether they take the place of the class's. Source: Envoy Gateway, `mergeType`.
    pub fn replaces(&self) -> bool {
        matches!(self.merge_type, None | Some(MergeType::Replace))
    }

    /// Merges these parameters over those of the class, by [`merge_type`](Self::merge_type). It names unsupported fields, but
    /// does not merge them.
    pub fn over(self, base: Self) -> Self {
        if self.replaces() {
            return self;
        }
        let by_keys = self.merge_type == Some(MergeType::StrategicMerge);
        let (below, mut provider) = (base.provider.kubernetes, self.provider);
        let own = provider.kubernetes;
        provider.kubernetes = super::KubernetesProvider {
            envoy_deployment: deployment(own.envoy_deployment, below.envoy_deployment, by_keys),
            envoy_service: service(own.envoy_service, below.envoy_service),
            envoy_hpa: joined(own.envoy_hpa, below.envoy_hpa, autoscaler),
            envoy_pdb: joined(own.envoy_pdb, below.envoy_pdb, disruption_budget),
            ..own
        };
        let mut logging = base.logging;
        logging.level.extend(self.logging.level);
        Self {
            provider,
            logging,
            shutdown: Shutdown {
                drain_timeout: self.shutdown.drain_timeout.or(base.shutdown.drain_timeout),
                min_drain_duration: self.shutdown.min_drain_duration.or(base.shutdown.min_drain_duration),
                ..self.shutdown
            },
            concurrency: self.concurrency.or(base.concurrency),
            ip_family: self.ip_family.or(base.ip_family),
            geo_ip: self.geo_ip.or(base.geo_ip),
            telemetry: joined(self.telemetry, base.telemetry, telemetry),
            ..self
        }
    }
}

fn telemetry(own: ProxyTelemetry, base: ProxyTelemetry) -> ProxyTelemetry {
    ProxyTelemetry {
        access_log: own.access_log.or(base.access_log),
        metrics: own.metrics.or(base.metrics),
        tracing: own.tracing.or(base.tracing),
        ..own
    }
}

fn deployment(own: Deployment, base: Deployment, by_keys: bool) -> Deployment {
    Deployment {
        replicas: own.replicas.or(base.replicas),
        strategy: joined(own.strategy, base.strategy, deep),
        pod: pod(own.pod, base.pod, by_keys),
        container: container(own.container, base.container, by_keys),
        ..own
    }
}

fn pod(own: Pod, base: Pod, by_keys: bool) -> Pod {
    Pod {
        annotations: map(own.annotations, base.annotations),
        labels: map(own.labels, base.labels),
        affinity: joined(own.affinity, base.affinity, deep),
        tolerations: list(own.tolerations, base.tolerations),
        image_pull_secrets: match by_keys {
            true => keyed(own.image_pull_secrets, base.image_pull_secrets, |it| it.name.clone()),
            false => list(own.image_pull_secrets, base.image_pull_secrets),
        },
        node_selector: map(own.node_selector, base.node_selector),
        topology_spread_constraints: match by_keys {
            true => keyed(own.topology_spread_constraints, base.topology_spread_constraints, |it| it.topology_key.clone()),
            false => list(own.topology_spread_constraints, base.topology_spread_constraints),
        },
        priority_class_name: own.priority_class_name.or(base.priority_class_name),
        ..own
    }
}

fn container(own: Container, base: Container, by_keys: bool) -> Container {
    Container {
        env: match by_keys {
            true => keyed(own.env, base.env, |it| it.name.clone()),
            false => list(own.env, base.env),
        },
        resources: joined(own.resources, base.resources, deep),
        ..own
    }
}

fn service(own: Service, base: Service) -> Service {
    Service {
        annotations: map(own.annotations, base.annotations),
        labels: map(own.labels, base.labels),
        kind: own.kind.or(base.kind),
        load_balancer_class: own.load_balancer_class.or(base.load_balancer_class),
        allocate_load_balancer_node_ports: own.allocate_load_balancer_node_ports.or(base.allocate_load_balancer_node_ports),
        load_balancer_source_ranges: list(own.load_balancer_source_ranges, base.load_balancer_source_ranges),
        load_balancer_ip: own.load_balancer_ip.or(base.load_balancer_ip),
        external_traffic_policy: own.external_traffic_policy.or(base.external_traffic_policy),
        ..own
    }
}

fn autoscaler(own: Autoscaler, base: Autoscaler) -> Autoscaler {
    Autoscaler {
        min_replicas: own.min_replicas.or(base.min_replicas),
        metrics: list(own.metrics, base.metrics),
        behavior: joined(own.behavior, base.behavior, deep),
        ..own
    }
}

fn disruption_budget(own: DisruptionBudget, base: DisruptionBudget) -> DisruptionBudget {
    // The two bounds exclude one another: an API server takes one.
    if own.min_available.is_some() || own.max_unavailable.is_some() { own } else { base }
}

fn joined<T>(own: Option<T>, base: Option<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    match (own, base) {
        (Some(own), Some(base)) => Some(join(own, base)),
        (own, base) => own.or(base),
    }
}

/// Objects of Kubernetes' own API, by its own rules.
fn deep<T: DeepMerge>(own: T, mut base: T) -> T {
    base.merge_from(own);
    base
}

fn map(own: BTreeMap<String, String>, mut base: BTreeMap<String, String>) -> BTreeMap<String, String> {
    base.extend(own);
    base
}

fn list<T>(own: Vec<T>, base: Vec<T>) -> Vec<T> {
    if own.is_empty() { base } else { own }
}

/// Merges lists whose items have a key: the base's items, each replaced by the own item of its key, and then the new ones.
fn keyed<T: DeepMerge>(own: Vec<T>, mut base: Vec<T>, key: impl Fn(&T) -> String) -> Vec<T> {
    for item in own {
        match base.iter_mut().find(|known| key(known) == key(&item)) {
            Some(known) => known.merge_from(item),
            None => base.push(item),
        }
    }
    base
}
