//! The keys of the endpoint picker protocol (Gateway API Inference Extension, `docs/proposals/004-endpoint-picker-protocol`).

/// The gRPC service.
pub const SERVICE: &str = "envoy.service.ext_proc.v3.ExternalProcessor";

/// The path of its only method.
pub const METHOD_PATH: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";

/// The metadata namespace of the endpoint chosen, and of the one that served.
pub const ENDPOINT_NAMESPACE: &str = "envoy.lb";

/// The metadata namespace of the endpoints that may be chosen.
pub const SUBSET_NAMESPACE: &str = "envoy.lb.subset_hint";

/// Key and header of the endpoints chosen: `ip:port[,ip:port…]`, to be tried in order.
pub const ENDPOINT: &str = "x-gateway-destination-endpoint";

/// Key of the endpoints that may be chosen, a list or a comma-separated string of `ip` or `ip:port`.
pub const SUBSET: &str = "x-gateway-destination-endpoint-subset";

/// Key of the endpoint that answered.
pub const SERVED: &str = "x-gateway-destination-endpoint-served";

/// Header that tells llm-d's sidecar which endpoint is to compute a request's prompt: `ip:port`.
pub const PREFILLER: &str = "x-prefiller-host-port";

/// Headers that say to llm-d's sidecar, of this version or an older one, which hosts have a part in a request. No client sets them.
pub const SIDECAR_HEADERS: [&str; 5] =
    [PREFILLER, "x-prefiller-url", "x-encoder-hosts-ports", "x-data-parallel-host-port", "x-kv-cache-source-host-port"];

/// The longest piece of a body in one message, in bytes: with its framing it stays under the 64 KiB that pickers expect.
pub const MAX_CHUNK: usize = 62_000;
