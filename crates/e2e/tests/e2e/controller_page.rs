//! The controller's page: the data of all Gateways' proxies together, read over the network with tokens that the feed's authority signs.

use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use pailou_e2e::client::{Call, Open};
use pailou_e2e::cluster::{Cluster, Proxy};
use pailou_e2e::{address::loopback, binary, wait};
use pailou_sim::Sim;
use serde_json::{Value, json};

use crate::support::instant;

const POLICIES: &str = "/apis/gateway.envoyproxy.io/v1alpha1/backendtrafficpolicies";
const PODS: &str = "/api/v1/pods";
const ROUTES: &str = "/apis/gateway.networking.k8s.io/v1/httproutes";
/// Each receipt is kept, and backends are on this machine: so its own requests need a token, too.
const ARGUMENTS: &[&str] = &["--receipts-sample", "1", "--allow-local-backends"];

/// Two Gateways, each with a proxy and a route to the engine.
struct World {
    cluster: Cluster,
    one: Proxy,
    two: Proxy,
    ports: [u16; 2],
    _sim: Sim,
}

impl World {
    async fn start() -> Self {
        let (cluster, sim) = (Cluster::start(&[]).await, instant("a", "qwen").await);
        let ports = ["one", "two"].map(|name| cluster.gateway(name));
        let address = sim.addr();
        cluster.api.apply("/api/v1/services", json!({
            "metadata": {"name": "engine", "namespace": "default"}, "spec": {"ports": [{"port": 80, "targetPort": address.port()}]},
        }));
        cluster.api.apply(
            "/apis/discovery.k8s.io/v1/endpointslices",
            json!({
                "metadata": {"name": "engine-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "engine"}},
                "addressType": "IPv4", "ports": [{"port": address.port()}],
                "endpoints": [{"addresses": [address.ip()], "conditions": {"ready": true}}],
            }),
        );
        for name in ["one", "two"] {
            let rules = json!([{"backendRefs": [{"name": "engine", "port": 80}]}]);
            let spec = json!({"parentRefs": [{"name": name}], "rules": rules});
            cluster.api.apply(ROUTES, json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}));
        }
        let one = cluster.proxy("one", "one-x", ARGUMENTS).await;
        let two = cluster.proxy("two", "two-x", ARGUMENTS).await;
        Self { cluster, one, two, ports, _sim: sim }
    }

    /// Sends a chat to a Gateway's proxy once it serves.
    async fn chat(&self, at: usize, id: &str) {
        let sent = async {
            loop {
                let call = Call::chat("qwen", "hello").header("x-request-id", id);
                if matches!(call.try_send(([127, 0, 0, 1], self.ports[at]).into()).await, Ok(reply) if reply.status == 200) {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        wait::within("the proxy serves", sent).await;
    }

    async fn get(&self, path: &str) -> Value {
        let reply = Call::get(path).host("localhost:15000").send(self.cluster.admin()).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// The first document at a path that is as wanted.
    async fn find(&self, path: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let last = std::sync::Mutex::new(Value::Null);
        let finding = async {
            loop {
                let document = self.get(path).await;
                if is_wanted(&document) {
                    return document;
                }
                *last.lock().unwrap() = document;
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let found = tokio::time::timeout(wait::WAIT_TIMEOUT, finding).await;
        found.unwrap_or_else(|_| panic!("{path} does not come to what is wanted: {}", last.lock().unwrap()))
    }

    /// Standard output and exit status of a command against the controller's admin endpoint.
    fn run(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let admin = self.cluster.admin().to_string();
        let mut command = Command::new(binary::path());
        command.arg(arguments[0]).args(["--admin", &admin]).args(&arguments[1..]).stdin(Stdio::null());
        let output = command.output().unwrap();
        (String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(), output.status.code())
    }
}

fn total(sample: &Value) -> u64 {
    sample["requests"]["total"].as_u64().unwrap_or(0)
}

/// The next receipt of a stream.
async fn next_receipt(stream: &mut Open, text: &mut String) -> Value {
    let reading = async {
        loop {
            if let Some((event, rest)) = text.split_once("\n\n") {
                let data =
                    event.lines().find_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap());
                let rest = rest.to_owned();
                *text = rest;
                match data {
                    Some(receipt) => return receipt,
                    None => continue,
                }
            }
            text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
        }
    };
    wait::within("a receipt comes", reading).await
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_all_gateways_of_one_or_of_one_proxy() {
    let mut world = World::start().await;
    world.chat(0, "first").await;
    world.chat(0, "second").await;
    world.chat(1, "third").await;
    let all = world.find("/overview", |sample| total(sample) == 3).await;
    assert_eq!(
        (&all["kind"], &all["latency"]["duration"]["count"], &all["unknown"]),
        (&json!("controller"), &json!(3), &Value::Null)
    );
    assert_eq!(all["gateways"].as_array().unwrap().len(), 2);
    let rows = all["proxies"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["name"], &rows[0]["gateway"], &rows[0]["requests"]),
        (&json!("default/one-x"), &json!("default/one"), &json!(2))
    );
    assert_eq!(total(&world.get("/overview?gateway=default/one").await), 2);
    assert_eq!(total(&world.get("/overview?proxy=default%2Ftwo-x").await), 1);
    let routes = world.find("/routes?search=default/two", |page| page["routes"][0]["rules"][0]["requests"] == 1).await;
    assert_eq!((&routes["total"], &routes["routes"][0]["name"]), (&json!(1), &json!("default/two")));
    let (text, status) = world.run(&["top", "--once", "--interval", "1"]);
    assert!(status == Some(0) && text.contains("3 since the start") && text.contains("default/two-x"), "{text}");
    let of_one = ["--once", "--interval", "1", "--gateway", "default/one"];
    let (text, status) = world.run(&[&["top"][..], &of_one].concat());
    assert!(status == Some(0) && text.contains("2 since the start"), "{text}");
    assert!(all["controller"]["leaderName"].as_str().is_some_and(|name| !name.is_empty()), "{all}");
    world.two.kill();
    let away = world.find("/overview", |sample| sample["proxies"][1]["away"].is_string()).await;
    assert_eq!((total(&away), &away["proxies"][1]["ready"], &away["proxies"][0]["away"]), (3, &json!(false), &Value::Null));
    let routes = world.get("/routes?search=default/two").await;
    assert_eq!((&routes["routes"][0]["rules"][0]["requests"], &routes["away"]), (&json!(1), &json!(["default/two-x"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_and_explanations_are_found_at_whichever_proxy() {
    let world = World::start().await;
    world.chat(0, "first").await;
    world.chat(1, "second").await;
    let list = world.find("/receipts", |list| list["receipts"].as_array().unwrap().len() == 2).await;
    let of = |receipt: &Value| {
        [&receipt["request_id"], &receipt["proxy"], &receipt["gateway"]].map(|it| it.as_str().unwrap().to_owned())
    };
    assert_eq!(of(&list["receipts"][0]), ["second", "default/two-x", "default/two"]);
    assert_eq!(list["away"], json!([]));
    assert_eq!(world.get("/receipts?gateway=default/one").await["receipts"].as_array().unwrap().len(), 1);
    assert_eq!(of(&world.get("/receipts/first").await)[1], "default/one-x");
    let missing = Call::get("/receipts/none").host("localhost").send(world.cluster.admin()).await;
    assert_eq!(missing.status, 404);
    let numbered = Call::get("/receipts?after=1").host("localhost").send(world.cluster.admin()).await;
    assert!(numbered.status == 400 && numbered.text().contains("numbers its own receipts"), "{}", numbered.text());
    let call = Call::get("/receipts/stream?proxy=default/one-x").host("localhost");
    let mut stream = call.header("last-event-id", &list["last"].to_string()).open(world.cluster.admin()).await;
    world.chat(1, "of-the-other").await;
    world.chat(0, "third").await;
    assert_eq!(of(&next_receipt(&mut stream, &mut String::new()).await)[0], "third");
    let (text, status) = world.run(&["explain", "second"]);
    assert!(status == Some(0) && text.contains("default/two/0") && text.contains("default/two-x"), "{text}");
    let (text, status) = world.run(&["explain", "unknown"]);
    assert!(status == Some(1) && text.contains("no proxy that answers"), "{text}");
    let url = format!("http://127.0.0.1:{}/v1/models", world.ports[1]);
    let (text, status) = world.run(&["explain", &url]);
    assert!(status == Some(0) && text.contains("default/two/0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_is_caught_at_whichever_proxy() {
    let world = World::start().await;
    world.chat(0, "before").await;
    world.chat(1, "before").await;
    let caught = tokio::spawn(Call::get("/receipts/next?expression=true").host("localhost").send(world.cluster.admin()));
    let sending = async {
        while !caught.is_finished() {
            world.chat(1, "caught").await;
        }
    };
    wait::within("it is caught", sending).await;
    let receipt = caught.await.unwrap().json();
    assert_eq!((&receipt["request_id"], &receipt["proxy"]), (&json!("caught"), &json!("default/two-x")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reads_a_proxy_and_the_controllers_own_data_need_its_token() {
    let world = World::start().await;
    for path in ["/overview", "/receipts", "/routes"] {
        let host = world.one.admin().to_string();
        let refused = Call::get(path).host(&host).send(world.one.admin()).await;
        assert_eq!(refused.status, 403, "{path}: the proxy trusts nobody without a token");
        // Its end is near, so that its signature is what is wrong: it is one, but of nobody.
        let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 60;
        let forged = format!("Bearer pailou-admin.{end}.3006020101020101");
        let forged = Call::get(path).host(&host).header("authorization", &forged).send(world.one.admin()).await;
        assert_eq!(forged.status, 403, "{path}");
    }
    let site = Call::get("/receipts").host("localhost").header("sec-fetch-site", "cross-site").send(world.cluster.admin()).await;
    assert_eq!(site.status, 403);
    let name = Call::get("/limits").host("evil.test").send(world.cluster.admin()).await;
    assert_eq!(name.status, 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_a_token_tells_only_its_bearers() {
    let directory = std::env::temp_dir().join(format!("pailou-e2e-controller-token-{}", std::process::id()));
    std::fs::write(&directory, "a-token-of-enough-bytes\n").unwrap();
    let cluster = Cluster::start(&["--admin-token-file", directory.to_str().unwrap()]).await;
    for path in ["/overview", "/receipts", "/limits", "/objects", "/status"] {
        let without = Call::get(path).host("localhost").send(cluster.admin()).await;
        assert_eq!(without.status, 401, "{path}");
    }
    let with = Call::get("/overview")
        .host("localhost")
        .header("authorization", "Bearer a-token-of-enough-bytes")
        .send(cluster.admin())
        .await;
    assert!(with.json()["unknown"].as_str().unwrap().contains("there is no proxy of a Gateway yet"));
    std::fs::remove_file(directory).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_of_limits_are_each_proxys_own_and_those_of_one_that_is_away_are_said_to_miss() {
    let mut world = World::start().await;
    for name in ["one", "two"] {
        let target = json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}]);
        let limit = json!({"type": "Global", "global": {"rules": [{"limit": {"requests": 1_000_000, "unit": "Year"}}]}});
        let spec = json!({"targetRefs": target, "rateLimit": limit});
        world.cluster.api.apply(POLICIES, json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}));
    }
    let counting = async {
        loop {
            world.chat(0, "counted").await;
            world.chat(1, "counted").await;
            let counters = world.get("/limits").await;
            if counters["counters"].as_array().unwrap().len() == 2 {
                return counters;
            }
        }
    };
    let counters = wait::within("both proxies count", counting).await;
    let proxies = ["0", "1"].map(|at| counters.pointer(&format!("/counters/{at}/proxy")).unwrap().as_str().unwrap());
    assert_eq!((proxies, &counters["away"]), (["default/one-x", "default/two-x"], &json!([])));
    let of_two = world.get("/limits?proxy=default/two-x").await;
    assert_eq!(of_two["counters"].as_array().unwrap().len(), 1);
    let (text, status) = world.run(&["limits", "--gateway", "default/two"]);
    assert!(status == Some(0) && text.contains("default/two-x") && !text.contains("default/one-x"), "{text}");
    world.two.kill();
    let left = world.find("/limits", |counters| counters["away"] == json!(["default/two-x"])).await;
    assert_eq!(left["counters"].as_array().unwrap().len(), 1);
    let (text, status) = world.run(&["limits"]);
    assert!(status == Some(0) && text.contains("1 proxy did not answer") && text.contains("default/one-x"), "{text}");
}

/// The token that the controller sends a pod.
async fn token_of(listener: tokio::net::TcpListener) -> String {
    use tokio::io::AsyncReadExt as _;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = String::new();
    while !head.contains("\r\n\r\n") {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).await.unwrap();
        assert!(length > 0, "the question ends early: {head}");
        head.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_, token) = lines.find(|(name, _)| name.eq_ignore_ascii_case("authorization")).unwrap();
    token.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_pod_that_it_is_for_and_no_other() {
    let world = World::start().await;
    // The first proxy's pod has the address of somebody who listens.
    let listener = tokio::net::TcpListener::bind((loopback(), 15000)).await.unwrap();
    let mut pod = world.cluster.api.get(PODS, "default/one-x");
    pod["status"]["podIP"] = json!(listener.local_addr().unwrap().ip());
    world.cluster.api.apply(PODS, pod);
    let look = async {
        loop {
            world.get("/overview").await;
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let token = wait::within("the controller asks the pod", async {
        tokio::select! {
            token = token_of(listener) => token,
            () = look => unreachable!(),
        }
    })
    .await;
    let status = async |proxy: &Proxy, token: Option<&str>| {
        let call = Call::get("/overview").host("localhost:15000");
        let call = token.into_iter().fold(call, |call, token| call.header("authorization", token));
        call.send(proxy.admin()).await.status.as_u16()
    };
    assert_eq!((status(&world.one, Some(&token)).await, status(&world.one, None).await), (200, 403));
    assert_eq!(status(&world.two, Some(&token)).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_proxy_holds_nobody_up_and_hundreds_of_routes_have_their_counts() {
    let world = World::start().await;
    world.chat(0, "first").await;
    world.chat(1, "second").await;
    world.find("/overview", |sample| total(sample) == 2).await;
    for at in 0..300 {
        let matches = json!([{"path": {"type": "PathPrefix", "value": format!("/many/{at}")}}]);
        let rules = json!([{"matches": matches, "backendRefs": [{"name": "engine", "port": 80}]}]);
        let (name, spec) = (format!("many-{at:03}"), json!({"parentRefs": [{"name": "one"}], "rules": rules}));
        world.cluster.api.apply(ROUTES, json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec}));
    }
    let last = world.find("/routes?limit=200&offset=200", |page| page["total"] == 302).await;
    let routes = last["routes"].as_array().unwrap();
    assert_eq!((routes.len(), &last["next"], &last["away"]), (102, &Value::Null, &json!([])));
    let counts: u64 = routes.iter().map(|route| route["rules"][0]["requests"].as_u64().unwrap()).sum();
    assert_eq!(counts, 2, "of the first and the last by name");
    world.two.hang();
    let away = world.find("/overview", |sample| sample["proxies"][1]["away"].is_string()).await;
    assert_eq!((total(&away), &away["proxies"][0]["away"]), (2, &Value::Null));
    let routes = world.get("/routes?search=default/two").await;
    assert_eq!((&routes["routes"][0]["rules"][0]["requests"], &routes["away"]), (&json!(1), &json!(["default/two-x"])));
}
