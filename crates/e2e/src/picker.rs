//! `pailou picker` as a process, and Envoy as one that asks it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::client::Call;
use crate::gateway::{Files, Printed};
use crate::{address, binary, exposition, objects, wait};

/// The protocol's names of endpoints and hints.
const ENDPOINT: &str = "x-gateway-destination-endpoint";
const SUBSET: &str = "x-gateway-destination-endpoint-subset";

/// A running picker. Dropping it kills it.
pub struct Picker {
    address: IpAddr,
    child: Child,
    files: Files,
    stderr: Printed,
}

impl Picker {
    /// A picker of this pool among these objects, once it is ready.
    pub async fn serve(pool: &str, list: impl IntoIterator<Item = Value>, args: &[&str]) -> Self {
        let mut picker = Self::spawn(pool, list, args);
        let ready = async {
            while !Call::get("/readyz").try_send(picker.admin()).await.is_ok_and(|reply| reply.status == 200) {
                if let Some(status) = picker.child.try_wait().expect("the process can be asked") {
                    panic!("the picker ended with {status}:\n{}", picker.stderr());
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        wait::within("the picker is ready", ready).await;
        picker
    }

    /// The same without waiting for anything.
    pub fn spawn(pool: &str, list: impl IntoIterator<Item = Value>, args: &[&str]) -> Self {
        let address = IpAddr::from(address::loopback());
        let files = Files::new();
        let path = files.write("objects.yaml", &objects::documents(list));
        let mut command = Command::new(binary::path());
        command.args(["picker", "--pool-name", pool, "--bind", &address.to_string(), "-f"]).arg(path).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be started");
        let stderr = Printed::read(child.stderr.take().expect("standard error is a pipe"));
        Self { address, child, files, stderr }
    }

    /// Address of its gRPC service.
    pub fn grpc(&self) -> SocketAddr {
        SocketAddr::new(self.address, 9002)
    }

    /// Address of its health service.
    pub fn health(&self) -> SocketAddr {
        SocketAddr::new(self.address, 9003)
    }

    /// Its metrics and figures.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, 9090)
    }

    /// Gives it other objects.
    pub fn save(&self, list: impl IntoIterator<Item = Value>) {
        self.files.write("objects.yaml", &objects::documents(list));
    }

    /// Its standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// A metric's sum over the series whose labels contain all of `labels`; 0 where there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        exposition::sum(self.admin(), name, labels).await
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s TERM \"$0\"", &pid]).status().expect("a shell can be run");
        assert!(status.success(), "the signal is sent");
        wait::eventually_some("the picker ends", || self.child.try_wait().expect("the process can be asked")).await
    }
}

impl Drop for Picker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the picker's standard error:\n{}", self.stderr());
        }
    }
}

/// How Envoy asks a picker, and what it does with the answer.
pub struct EnvoyOptions<'a> {
    /// The mode of both bodies, as Envoy's `processing_mode` names it.
    pub body_mode: &'a str,
    /// The endpoints of its cluster by the dynamic metadata; else it goes wherever the header says.
    pub engines: &'a [SocketAddr],
    /// A subset that it hints at.
    pub hint: Option<&'a str>,
}

/// A running Envoy that asks a picker. Dropping it kills it.
pub struct Envoy {
    address: SocketAddr,
    child: Child,
    _files: Files,
    stderr: Printed,
}

impl Envoy {
    /// Starts the program, which asks this picker by TLS, without verifying its certificate, as gateways do.
    pub async fn serve(program: PathBuf, picker: SocketAddr, options: &EnvoyOptions<'_>) -> Self {
        let address = SocketAddr::new(IpAddr::from(address::loopback()), crate::gateway::HTTP);
        let files = Files::new();
        let config = files.write("envoy.json", &bootstrap(address, picker, options).to_string());
        let mut command = Command::new(program);
        command.arg("-c").arg(config).args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("Envoy starts");
        let stderr = Printed::read(child.stderr.take().expect("standard error is a pipe"));
        let mut envoy = Self { address, child, _files: files, stderr };
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                if let Some(status) = envoy.child.try_wait().expect("the process can be asked") {
                    panic!("Envoy ended with {status}:\n{}", envoy.stderr.text());
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        wait::within("Envoy listens", listens).await;
        envoy
    }

    /// Its listener.
    pub fn http(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- Envoy's standard error:\n{}", self.stderr.text());
        }
    }
}

fn bootstrap(listen: SocketAddr, picker: SocketAddr, options: &EnvoyOptions<'_>) -> Value {
    let set = |hint: &str| {
        let metadata = json!([{"metadata_namespace": "envoy.lb.subset_hint", "value": {SUBSET: hint}}]);
        extension("hint", "filters.http.set_metadata.v3.Config", json!({"metadata": metadata}))
    };
    let filters: Vec<Value> = options
        .hint
        .map(set)
        .into_iter()
        .chain([
            extension("picker", "filters.http.ext_proc.v3.ExternalProcessor", ext_proc(options.body_mode)),
            extension("router", "filters.http.router.v3.Router", json!({})),
        ])
        .collect();
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": "engines", "timeout": "0s"}});
    let manager = json!({
        "stat_prefix": "all", "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    });
    let manager = extension("manager", "filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
    let listener = json!({"name": "all", "address": socket(listen), "filter_chains": [{"filters": [manager]}]});
    json!({"static_resources": {"listeners": [listener], "clusters": [engines(options.engines), picker_cluster(picker)]}})
}

fn ext_proc(body_mode: &str) -> Value {
    json!({
        "grpc_service": {"envoy_grpc": {"cluster_name": "picker"}},
        "message_timeout": "30s",
        "processing_mode": {
            "request_header_mode": "SEND", "request_body_mode": body_mode, "request_trailer_mode": "SEND",
            "response_header_mode": "SEND", "response_body_mode": body_mode, "response_trailer_mode": "SEND",
        },
        "metadata_options": {
            "forwarding_namespaces": {"untyped": ["envoy.lb", "envoy.lb.subset_hint"]},
            "receiving_namespaces": {"untyped": ["envoy.lb"]},
        },
    })
}

/// By the dynamic metadata among known endpoints, or wherever the header leads.
fn engines(endpoints: &[SocketAddr]) -> Value {
    if endpoints.is_empty() {
        let by = json!({"use_http_header": true, "http_header_name": ENDPOINT});
        return json!({
            "name": "engines", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "original_dst_lb_config": by,
        });
    }
    let policy = |name: &str, config: Value| json!({"policies": [{"typed_extension_config": extension(name, name, config)}]});
    let fallback = policy("load_balancing_policies.round_robin.v3.RoundRobin", json!({}));
    let source = json!({"metadata": {"key": "envoy.lb", "path": [{"key": ENDPOINT}]}});
    let chosen = json!({"override_host_sources": [source], "fallback_policy": fallback});
    json!({
        "name": "engines", "type": "STATIC", "load_assignment": assignment("engines", endpoints),
        "load_balancing_policy": policy("load_balancing_policies.override_host.v3.OverrideHost", chosen),
    })
}

fn picker_cluster(picker: SocketAddr) -> Value {
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    let tls = json!({"common_tls_context": {"validation_context": {}}});
    json!({
        "name": "picker", "type": "STATIC", "load_assignment": assignment("picker", &[picker]),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "transport_socket": extension("tls", "transport_sockets.tls.v3.UpstreamTlsContext", tls),
    })
}

fn assignment(name: &str, endpoints: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = endpoints.iter().map(|endpoint| json!({"endpoint": {"address": socket(*endpoint)}})).collect();
    json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]})
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

fn extension(name: &str, kind: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/envoy.extensions.{kind}").into();
    json!({"name": name, "typed_config": config})
}
