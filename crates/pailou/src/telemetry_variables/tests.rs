use pailou_snapshot::CollectorUrl;
use pailou_telemetry::{
    export::Resource,
    sampling::{Ratio, RootSampler},
};

use super::*;

fn of(variables: &[(&str, &str)]) -> Result<Option<Tracing>, Error> {
    read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
}

fn on(variables: &[(&str, &str)]) -> Tracing {
    of(variables).unwrap().unwrap()
}

fn url(tracing: &Tracing) -> (String, bool) {
    let CollectorTarget::Url(url) = &tracing.collector.target else { panic!("a URL") };
    let CollectorUrl { host, port, path, tls } = &**url;
    (format!("{host} {port} {path}"), tls.is_some())
}

#[test]
fn traces_are_on_where_a_collector_is_named() {
    assert!(of(&[]).unwrap().is_none());
    assert!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).unwrap().is_none());
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    assert!(of(&[endpoint]).unwrap().is_some());
    assert!(of(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some());
    for off in [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "console"), ("OTEL_SDK_DISABLED", "TRUE")] {
        assert!(of(&[endpoint, off]).unwrap().is_none(), "{off:?}");
    }
}

#[test]
fn the_collector_is_where_the_variables_say() {
    let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let general = |text| ("OTEL_EXPORTER_OTLP_ENDPOINT", text);
    let own = |text| ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", text);
    for (variables, expected, is_tls) in [
        (vec![("OTEL_TRACES_EXPORTER", "otlp")], "localhost 4318 /v1/traces", false),
        (vec![("OTEL_TRACES_EXPORTER", "otlp"), protocol], "localhost 4317 /v1/traces", false),
        (vec![general("http://collector:4318/")], "collector 4318 /v1/traces", false),
        (vec![general("https://collector/base")], "collector 443 /base/v1/traces", true),
        (vec![general("http://no:1"), own("http://[::1]:2/as/it/is")], "::1 2 /as/it/is", false),
        (vec![general("https://collector"), protocol], "collector 443 /v1/traces", true),
        (vec![general("http://collector"), protocol], "collector 4317 /v1/traces", false),
        (vec![own("http://collector:2")], "collector 2 /", false),
        (vec![general("collector:4317"), protocol], "collector 4317 /v1/traces", true),
        (vec![general("collector:4317"), protocol, ("OTEL_EXPORTER_OTLP_INSECURE", "true")], "collector 4317 /v1/traces", false),
    ] {
        let (text, tls) = url(&on(&variables));
        assert_eq!((text.as_str(), tls), (expected, is_tls), "{variables:?}");
    }
}

#[test]
fn what_leads_to_no_collector_is_an_error_without_secrets() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
    for (variables, says) in [
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://s3cret")], "OTEL_EXPORTER_OTLP_ENDPOINT: expected a URL"),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@host")], "OTEL_EXPORTER_OTLP_HEADERS"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")], "OTEL_EXPORTER_OTLP_HEADERS: expected name=value"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=1,a b=s3cret")], "pair 2 makes no header"),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization: Bearer s3cret=")], "pair 1 makes no header"),
        (
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"), ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere.pem")],
            "cannot read /nowhere.pem",
        ),
    ] {
        let error = of(&variables).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("s3cret"), "{error}");
    }
}

#[test]
fn every_variable_has_its_effect() {
    let tracing = on(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20key, x-tenant = a"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_PROPAGATORS", "b3"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "40"),
    ]);
    let Collector { headers, timeout, is_compressed, .. } = &tracing.collector;
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("authorization", "Bearer key"), ("x-tenant", "a")]);
    assert!(!format!("{tracing:?}").contains("Bearer"));
    assert_eq!((*timeout, *is_compressed), (Duration::from_secs(3), true));
    let expected = Sampler { root: RootSampler::TraceIdRatio(Ratio::new(0.25)), is_parent_based: false, ..Sampler::default() };
    assert_eq!((tracing.sampler, tracing.propagators), (expected, Propagators::parse("b3").unwrap()));
    let milliseconds = Duration::from_millis;
    let batching = Batching {
        schedule_delay: milliseconds(10),
        max_queue_size: 100,
        // No batch is longer than the queue.
        max_batch_size: 100,
        export_timeout: milliseconds(40),
    };
    assert_eq!(tracing.batching, batching);
}

#[test]
fn a_value_that_is_not_known_is_passed_over() {
    let tracing = on(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_TRACES_SAMPLER", "xray"),
        ("OTEL_PROPAGATORS", "ottrace"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_RESOURCE_ATTRIBUTES", "x"),
    ]);
    let Collector { protocol, timeout, is_compressed, .. } = tracing.collector;
    assert_eq!((protocol, timeout, is_compressed), (OtlpProtocol::HttpProtobuf, Duration::from_secs(10), false));
    assert_eq!((tracing.sampler, tracing.propagators), (Sampler::default(), Propagators::default()));
    assert_eq!(tracing.batching, Batching::default());
}

#[test]
fn what_is_known_beside_it_is_in_force() {
    let tracing = on(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_TRACES_SAMPLER", "traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "1%"),
        ("OTEL_PROPAGATORS", "jaeger, b3"),
    ]);
    let all = Sampler { root: RootSampler::TraceIdRatio(Ratio::new(1.0)), is_parent_based: false, ..Sampler::default() };
    assert_eq!((tracing.sampler, tracing.propagators), (all, Propagators::parse("b3").unwrap()));
    assert_eq!(tracing.collector.timeout, Duration::from_secs(10));
}

#[test]
fn the_resource_is_what_the_environment_says_over_what_the_gateway_knows() {
    let version = env!("CARGO_PKG_VERSION");
    let resource = on(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
        ("OTEL_SERVICE_NAME", "edge"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,k8s.pod.name=named,deployment.environment.name=a%2Cb"),
        ("POD_NAME", "pod-1"),
        ("POD_NAMESPACE", "gateways"),
    ])
    .resource;
    let expected = [
        ("deployment.environment.name", "a,b"),
        ("k8s.namespace.name", "gateways"),
        ("k8s.pod.name", "named"),
        ("service.name", "edge"),
        ("service.version", version),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.name", "pailou"),
        ("telemetry.sdk.version", version),
    ];
    assert_eq!(resource, Resource::new(expected, "pailou", version));
}
