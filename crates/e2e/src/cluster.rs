//! A cluster without machines: an API server in memory, the controller, and proxies that the test starts in the kubelet's place.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use pailou_apiserver::Api;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::Call;
use crate::gateway::Files;
use crate::{address, binary, wait};

/// Port of the controller's feed.
const FEED: u16 = 15010;
/// Port of the admin endpoints.
const ADMIN: u16 = 15000;
const GATEWAYS: &str = "/apis/gateway.networking.k8s.io/v1/gateways";
const DEPLOYMENTS: &str = "/apis/apps/v1/deployments";
const PODS: &str = "/api/v1/pods";

/// A cluster with a controller.
pub struct Cluster {
    /// The API server.
    pub api: Api,
    address: IpAddr,
    files: Files,
    server: JoinHandle<()>,
    _controller: Process,
}

/// A proxy with its pod.
pub struct Proxy {
    /// Namespace and name of the pod.
    pub name: String,
    address: IpAddr,
    process: Process,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Cluster {
    /// One with a class, and a controller with these arguments.
    pub async fn start(arguments: &[&str]) -> Self {
        let api = Api::default();
        for (plural, kind) in [("gatewayclasses", "GatewayClass"), ("gateways", "Gateway"), ("httproutes", "HTTPRoute")] {
            api.define("v1.7.0", "gateway.networking.k8s.io", plural, kind, &["v1"]);
        }
        api.define("v1.6.0", "gateway.envoyproxy.io", "backendtrafficpolicies", "BackendTrafficPolicy", &["v1alpha1"]);
        api.apply("/api/v1/namespaces", json!({"metadata": {"name": "default"}}));
        let spec = json!({"controllerName": "pailou.dev/gateway-controller"});
        api.apply("/apis/gateway.networking.k8s.io/v1/gatewayclasses", json!({"metadata": {"name": "pailou"}, "spec": spec}));
        let (address, files) = (IpAddr::from(address::loopback()), Files::new());
        let listener = tokio::net::TcpListener::bind((address, 0)).await.expect("a port is free");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let server = tokio::spawn(pailou_apiserver::serve(api.clone(), listener));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [{"name": "u", "user": {}}],
            "clusters": [{"name": "c", "cluster": {"server": origin}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "pailou-system"}}],
        });
        let config = files.write("kubeconfig", &config.to_string());
        let mut command = Command::new(binary::path());
        command.arg("controller").arg("--kubeconfig").arg(config).arg("--feed-name").arg(address.to_string());
        command.arg("--feed-listen").arg(SocketAddr::new(address, FEED).to_string());
        command.arg("--admin").arg(SocketAddr::new(address, ADMIN).to_string()).args(arguments);
        let controller = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts"));
        let cluster = Self { api, address, files, server, _controller: controller };
        cluster.wait_ready(cluster.admin()).await;
        cluster
    }

    /// The controller's admin endpoint.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, ADMIN)
    }

    /// Adds a Gateway with a listener at a port that is free, and returns the port.
    pub fn gateway(&self, name: &str) -> u16 {
        let port = TcpListener::bind(("0.0.0.0", 0)).and_then(|it| it.local_addr()).expect("a port is free").port();
        let spec = json!({"gatewayClassName": "pailou", "listeners": [{"name": "http", "port": port, "protocol": "HTTP"}]});
        self.api.apply(GATEWAYS, json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}));
        port
    }

    /// A pod of this Gateway's Deployment: a proxy with the arguments that the controller gives it, and these.
    pub async fn proxy(&self, gateway: &str, pod: &str, arguments: &[&str]) -> Proxy {
        let label = "gateway.networking.k8s.io/gateway-name";
        let deployment = wait::eventually_some("the controller provisions a data plane", || {
            self.api.all(DEPLOYMENTS).into_iter().find(|it| it["metadata"]["labels"][label] == gateway)
        })
        .await;
        let plane = deployment["metadata"]["name"].as_str().expect("it has a name");
        let trust = self.api.get("/api/v1/configmaps", &format!("default/{plane}"));
        let authorities = self.files.write("ca.crt", trust["data"]["ca.crt"].as_str().expect("the authority is there"));
        let token = self.files.write(&format!("token-{pod}"), &format!("default:{plane}"));
        let address = IpAddr::from(address::loopback());
        let mut command = Command::new(binary::path());
        let given = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("it has arguments").clone();
        let kept = given.iter().filter_map(Value::as_str);
        command.args(kept.filter(|it| !["--feed", "--admin="].iter().any(|replaced| it.starts_with(replaced))));
        command.arg("--feed").arg(format!("https://{}:{FEED}", self.address)).arg("--feed-ca").arg(authorities);
        command.arg("--feed-token").arg(token).arg("--admin").arg(SocketAddr::new(address, ADMIN).to_string());
        command.env("POD_NAME", pod).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process(command.spawn().expect("the binary starts"));
        let mut object = deployment["spec"]["template"].clone();
        (object["metadata"]["name"], object["metadata"]["namespace"]) = (pod.into(), "default".into());
        object["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{plane}-7c9d8f"), "uid": pod, "controller": true,
        }]);
        object["status"] = json!({"phase": "Running", "podIP": address});
        self.api.apply(PODS, object);
        let proxy = Proxy { name: format!("default/{pod}"), address, process };
        self.wait_ready(proxy.admin()).await;
        proxy
    }

    async fn wait_ready(&self, admin: SocketAddr) {
        let ready = async {
            while !matches!(Call::get("/readyz").try_send(admin).await, Ok(reply) if reply.status == 200) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        wait::within("the process is ready", ready).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Proxy {
    /// Its admin endpoint.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, ADMIN)
    }

    /// Stops its process where it is: it accepts connections, and answers nothing.
    ///
    /// # Panics
    /// There is no `kill`.
    pub fn hang(&self) {
        let status = Command::new("kill").arg("-STOP").arg(self.process.0.id().to_string()).status();
        assert!(status.expect("kill is here").success());
    }

    /// Ends its process; the pod stays.
    pub fn kill(&mut self) {
        let _ = self.process.0.kill();
        let _ = self.process.0.wait();
    }
}
