//! Fields of an EnvoyProxy that are set and not acted on.

use super::{EnvoyProxySpec, KubernetesProvider, ProxyTelemetry};
use crate::{
    envoy::{access_log::AccessLogSink, proxy_metrics::ProxyMetrics, telemetry::ProxyTracing},
    unsupported::unsupported_fields,
};

fn kubernetes(spec: &EnvoyProxySpec) -> &KubernetesProvider {
    &spec.provider.kubernetes
}

fn telemetry(spec: &EnvoyProxySpec) -> Option<&ProxyTelemetry> {
    spec.telemetry.as_ref()
}

fn any_sink(spec: &EnvoyProxySpec, is_set: impl Fn(&AccessLogSink) -> bool) -> bool {
    telemetry(spec).and_then(|it| it.access_log.as_ref()).is_some_and(|it| it.any_sink(is_set))
}

fn metrics(spec: &EnvoyProxySpec) -> Option<&ProxyMetrics> {
    telemetry(spec)?.metrics.as_ref()
}

fn tracing(spec: &EnvoyProxySpec) -> Option<&ProxyTracing> {
    telemetry(spec)?.tracing.as_ref()
}

unsupported_fields!(EnvoyProxySpec,
    "provider.type" => |spec| spec.provider.kind.as_deref().is_some_and(|kind| kind != "Kubernetes"),
    "provider.host" => |spec| spec.provider.host.is_some(),
    "provider.kubernetes.envoyDaemonSet" => |spec| kubernetes(spec).envoy_daemon_set.is_some(),
    "provider.kubernetes.envoyServiceAccount" => |spec| kubernetes(spec).envoy_service_account.is_some(),
    "provider.kubernetes.useListenerPortAsContainerPort" =>
        |spec| kubernetes(spec).use_listener_port_as_container_port == Some(false),
    "provider.kubernetes.envoyDeployment.name" => |spec| kubernetes(spec).envoy_deployment.name.is_some(),
    "provider.kubernetes.envoyDeployment.patch" => |spec| kubernetes(spec).envoy_deployment.patch.is_some(),
    "provider.kubernetes.envoyDeployment.initContainers" => |spec| kubernetes(spec).envoy_deployment.init_containers.is_some(),
    "provider.kubernetes.envoyDeployment.pod.securityContext" =>
        |spec| kubernetes(spec).envoy_deployment.pod.security_context.is_some(),
    "provider.kubernetes.envoyDeployment.pod.volumes" => |spec| kubernetes(spec).envoy_deployment.pod.volumes.is_some(),
    "provider.kubernetes.envoyDeployment.container.image" => |spec| kubernetes(spec).envoy_deployment.container.image.is_some(),
    "provider.kubernetes.envoyDeployment.container.imageRepository" =>
        |spec| kubernetes(spec).envoy_deployment.container.image_repository.is_some(),
    "provider.kubernetes.envoyDeployment.container.securityContext" =>
        |spec| kubernetes(spec).envoy_deployment.container.security_context.is_some(),
    "provider.kubernetes.envoyDeployment.container.volumeMounts" =>
        |spec| kubernetes(spec).envoy_deployment.container.volume_mounts.is_some(),
    "provider.kubernetes.envoyService.name" => |spec| kubernetes(spec).envoy_service.name.is_some(),
    "provider.kubernetes.envoyService.patch" => |spec| kubernetes(spec).envoy_service.patch.is_some(),
    "provider.kubernetes.envoyHpa.name" => |spec| kubernetes(spec).envoy_hpa.as_ref().is_some_and(|it| it.name.is_some()),
    "provider.kubernetes.envoyHpa.patch" => |spec| kubernetes(spec).envoy_hpa.as_ref().is_some_and(|it| it.patch.is_some()),
    "provider.kubernetes.envoyPDB.name" => |spec| kubernetes(spec).envoy_pdb.as_ref().is_some_and(|it| it.name.is_some()),
    "provider.kubernetes.envoyPDB.patch" => |spec| kubernetes(spec).envoy_pdb.as_ref().is_some_and(|it| it.patch.is_some()),
    "logging.level" => |spec| spec.logging.level.keys().any(|component| component != "default"),
    "shutdown.healthCheckFailureDelay" => |spec| spec.shutdown.health_check_failure_delay.is_some(),
    "mergeGateways" => |spec| spec.merge_gateways == Some(true),
    "telemetry.accessLog.settings[].sinks[].als.backendSettings" =>
        |spec| any_sink(spec, |sink| sink.als.as_ref().is_some_and(|als| als.backend_settings.is_some())),
    "telemetry.accessLog.settings[].sinks[].openTelemetry.backendSettings" =>
        |spec| any_sink(spec, |sink| sink.open_telemetry.as_ref().is_some_and(|otel| otel.backend_settings.is_some())),
    "telemetry.accessLog.settings[].sinks[].openTelemetry.host" =>
        |spec| any_sink(spec, |sink| sink.open_telemetry.as_ref().is_some_and(|otel| otel.host.is_some())),
    "telemetry.metrics.sinks[].openTelemetry.backendSettings" =>
        |spec| metrics(spec).is_some_and(|it| it.any_sink(|sink| sink.backend_settings.is_some())),
    "telemetry.metrics.sinks[].openTelemetry.host" =>
        |spec| metrics(spec).is_some_and(|it| it.any_sink(|sink| sink.host.is_some())),
    "telemetry.metrics.matches" => |spec| metrics(spec).is_some_and(|it| it.matches.is_some()),
    "telemetry.metrics.enableVirtualHostStats" => |spec| metrics(spec).is_some_and(|it| it.enable_virtual_host_stats),
    "telemetry.metrics.enablePerEndpointStats" => |spec| metrics(spec).is_some_and(|it| it.enable_per_endpoint_stats),
    "telemetry.metrics.enableRequestResponseSizesStats" =>
        |spec| metrics(spec).is_some_and(|it| it.enable_request_response_sizes_stats),
    "telemetry.metrics.enableGRPCStats" => |spec| metrics(spec).is_some_and(|it| it.enable_grpc_stats),
    "telemetry.metrics.clusterStatName" => |spec| metrics(spec).is_some_and(|it| it.cluster_stat_name.is_some()),
    "telemetry.requestID" => |spec| telemetry(spec).is_some_and(|it| it.request_id.is_some()),
    "telemetry.tracing.provider of another type than OpenTelemetry" =>
        |spec| tracing(spec).is_some_and(|it| it.provider.kind != "OpenTelemetry"),
    "telemetry.tracing.provider.host" => |spec| tracing(spec).is_some_and(|it| it.provider.host.is_some()),
    "telemetry.tracing.provider.port" => |spec| tracing(spec).is_some_and(|it| it.provider.port.is_some()),
    "telemetry.tracing.provider.backendSettings" => |spec| tracing(spec).is_some_and(|it| it.provider.backend_settings.is_some()),
    "telemetry.tracing.provider.zipkin" => |spec| tracing(spec).is_some_and(|it| it.provider.zipkin.is_some()),
    "bootstrap" => |spec| spec.bootstrap.is_some(),
    "routingType" => |spec| spec.routing_type.is_some(),
    "extraArgs" => |spec| spec.extra_args.is_some(),
    "mergeBackends" => |spec| spec.merge_backends.is_some(),
    "filterOrder" => |spec| spec.filter_order.is_some(),
    "backendTLS" => |spec| spec.backend_tls.is_some(),
    "preserveRouteOrder" => |spec| spec.preserve_route_order.is_some(),
    "lua" => |spec| spec.lua.is_some(),
    "luaValidation" => |spec| spec.lua_validation.is_some(),
    "dynamicModules" => |spec| spec.dynamic_modules.is_some(),
);
