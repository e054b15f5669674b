//! `pailou serve`: start, reload under load, drain.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    dir::TestDir,
    pailou,
    process::{Client, Response, Running, free_address, wait_until},
    run,
};

/// A Gateway on an address in front of one backend.
fn objects(gateway: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gateway}}
spec:
  gatewayClassName: pailou
  listeners: [{{name: http, protocol: HTTP, port: {}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: route}}
spec:
  parentRefs: [{{name: gateway}}]
  rules:
  - backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: backend}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: backend}}
spec:
  endpoints: [{{ip: {{address: {}, port: {}}}}}]
",
        gateway.port(),
        backend.ip(),
        backend.port()
    )
}

fn sim(name: &str) -> (Running, SocketAddr) {
    let sim = Running::start(pailou().args(["sim", "--instant", "--listen", "127.0.0.1:0", "--name", name]));
    let said = sim.wait_for("http://");
    let address = said.trim().rsplit('/').next().unwrap().parse().unwrap();
    (sim, address)
}

fn serve(file: &Path, admin: SocketAddr) -> Running {
    Running::start(pailou().args(["serve", "--access-log", "off", "--workers", "1", "--admin", &admin.to_string(), "-f"]).arg(file))
}

fn ask(address: SocketAddr, path: &str) -> Option<Response> {
    Client::connect(address).ok()?.get(path).ok()
}

/// A page of the admin endpoint.
fn shown(admin: SocketAddr, path: &str) -> String {
    Client::connect(admin).unwrap().get_with(path, &[("host", "localhost")]).unwrap().body
}

/// The statuses that the admin endpoint shows.
fn status(admin: SocketAddr) -> String {
    shown(admin, "/status")
}

fn ready(admin: SocketAddr) -> Option<()> {
    ask(admin, "/readyz").filter(|response| response.status == 200).map(|_| ())
}

/// Results of a client under load.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    requests: AtomicU64,
    failures: AtomicU64,
}

impl Load {
    fn run(&self, address: SocketAddr) {
        let mut client = Client::connect(address).unwrap();
        while !self.stop.load(Ordering::Relaxed) {
            let is_fine = client.get("/v1/models").is_ok_and(|response| response.status == 200);
            self.requests.fetch_add(1, Ordering::Relaxed);
            if !is_fine {
                self.failures.fetch_add(1, Ordering::Relaxed);
                client = Client::connect(address).unwrap();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_saved_file_is_live_at_once_and_no_request_fails() {
    let (_one, one) = sim("one");
    let (_two, two) = sim("two");
    let directory = TestDir::new();
    let file = directory.path().join("objects.yaml");
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let _server = serve(directory.path(), admin);
    wait_until("the gateway is ready", || ready(admin));

    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            thread::spawn({
                let load = load.clone();
                move || load.run(gateway)
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        let (name, backend) = if round % 2 == 0 { ("two", two) } else { ("one", one) };
        if round % 3 == 0 {
            // As editors do it.
            fs::write(directory.path().join("objects.yaml~"), objects(gateway, backend)).unwrap();
            fs::rename(directory.path().join("objects.yaml~"), &file).unwrap();
        } else {
            fs::write(&file, objects(gateway, backend)).unwrap();
        }
        let saved = Instant::now();
        wait_until("the new backend answers", || {
            ask(gateway, "/v1/models").filter(|response| response.header("x-sim-server") == Some(name))
        });
        slowest = slowest.max(saved.elapsed());
    }
    load.stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    println!("live after {slowest:?} at most, with {} requests under way", load.requests.load(Ordering::Relaxed));
    assert_eq!(load.failures.load(Ordering::Relaxed), 0);
    // A hundredfold of what it takes on an idle machine: this guards against waiting for a poll, not against a busy neighbour.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}

#[test]
fn a_broken_file_keeps_the_last_good_state_and_the_rest_applies() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let file = directory.path().join("objects.yaml");
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let server = serve(&file, admin);
    wait_until("the gateway is ready", || ready(admin));

    fs::write(&file, objects(gateway, one).replace("parentRefs: [", "parentRefs: {")).unwrap();
    server.wait_for("not valid YAML");
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);

    fs::write(&file, objects(gateway, one).replace("parentRefs: [{name: gateway}]", "parentRefs: gateway")).unwrap();
    let said = server.wait_for("HTTPRoute route: spec.parentRefs");
    assert!(said.contains("objects.yaml:12: HTTPRoute route"), "{said}");
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);

    fs::write(&file, objects(gateway, one)).unwrap();
    server.wait_for("no longer: ");
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);
}

#[test]
fn a_file_that_is_renamed_away_closes_no_listener() {
    let (_one, one) = sim("one");
    let (_two, two) = sim("two");
    let directory = TestDir::new();
    let (file, aside) = (directory.path().join("objects.yaml"), directory.path().join("objects.yaml~"));
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let server = serve(&file, admin);
    wait_until("the gateway is ready", || ready(admin));
    fs::rename(&file, &aside).unwrap();
    server.wait_for("objects.yaml: is gone; what came from it before holds until it is back");
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);
    fs::write(&file, objects(gateway, two)).unwrap();
    wait_until("the new backend answers", || {
        ask(gateway, "/v1/models").filter(|response| response.header("x-sim-server") == Some("two"))
    });
    let said = server.wait_for("no longer: ");
    assert!(!said.contains("no longer listening"), "{said}");
}

#[test]
fn a_directorys_file_that_takes_another_name_closes_no_listener_until_it_is_deleted() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let (file, renamed) = (directory.path().join("b.yaml"), directory.path().join("a.yaml"));
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let server = serve(directory.path(), admin);
    wait_until("the gateway is ready", || ready(admin));
    // First it is nowhere, as for whoever moves it by hand.
    fs::rename(&file, directory.path().join("b.yaml~")).unwrap();
    fs::rename(directory.path().join("b.yaml~"), &renamed).unwrap();
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);
    fs::remove_file(&renamed).unwrap();
    let said = server.wait_for("no longer listening");
    // "listening on" and "no longer listening on".
    assert_eq!((said.matches("listening on").count(), said.contains("defined twice")), (2, false), "{said}");
}

#[test]
fn no_text_of_an_object_acts_on_the_terminal() {
    let directory = TestDir::new();
    fs::write(directory.path().join("objects.yaml"), crate::check::HOSTILE).unwrap();
    let server = serve(directory.path(), free_address());
    let said = server.wait_for("nothing to serve");
    assert!(said.contains("31m"), "the texts are not there: {said:?}");
    assert!(!said.chars().any(|character| character.is_control() && character != '\n'), "{said:?}");
}

#[test]
fn a_mounted_volume_is_followed_when_its_link_moves() {
    let (_one, one) = sim("one");
    let (_two, two) = sim("two");
    let directory = TestDir::new();
    let (gateway, admin) = (free_address(), free_address());
    let volume = |version: &str, backend| {
        let real = directory.path().join(version);
        fs::create_dir(&real).unwrap();
        fs::write(real.join("objects.yaml"), objects(gateway, backend)).unwrap();
        symlink(version, directory.path().join("..next")).unwrap();
        fs::rename(directory.path().join("..next"), directory.path().join("..data")).unwrap();
    };
    volume("..1", one);
    symlink("..data/objects.yaml", directory.path().join("objects.yaml")).unwrap();
    let _server = serve(directory.path(), admin);
    wait_until("the gateway is ready", || ready(admin));
    volume("..2", two);
    let start = Instant::now();
    wait_until("the new backend answers", || {
        ask(gateway, "/v1/models").filter(|response| response.header("x-sim-server") == Some("two"))
    });
    assert!(start.elapsed() < Duration::from_secs(5), "found by the poll alone: {:?}", start.elapsed());
}

#[test]
fn a_key_that_changes_in_its_file_is_used_at_once_and_never_said() {
    let directory = TestDir::new();
    let (key, known) = (directory.path().join("key"), directory.path().join("known"));
    fs::write(&known, "sk-right").unwrap();
    let sim = Running::start(pailou().args(["sim", "--instant", "--listen", "127.0.0.1:0", "--api-key-file"]).arg(&known));
    let service = sim.wait_for("http://").trim().rsplit('/').next().unwrap().parse().unwrap();
    let (gateway, admin) = (free_address(), free_address());
    let filter = "filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: key}}]";
    let injection = "\
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: key}
spec: {credentialInjection: {overwrite: true, credential: {valueRef: {name: key}}}}
";
    let text = objects(gateway, service).replace("  - backendRefs", &format!("  - {filter}\n    backendRefs")) + injection;
    let file = directory.path().join("objects.yaml");
    fs::write(&file, text).unwrap();
    fs::write(&key, "Bearer sk-wrong\n").unwrap();
    let mut command = pailou();
    command.args(["serve", "--log", "debug", "--admin", &admin.to_string(), "-f"]).arg(&file);
    let server = Running::start(command.arg("--secret").arg(format!("key={}", key.display())));
    wait_until("the gateway is ready", || ready(admin));
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 401);
    fs::write(&key, "Bearer sk-right\n").unwrap();
    wait_until("the new key is used", || ask(gateway, "/v1/models").filter(|response| response.status == 200));
    let shown = server.stderr() + &status(admin) + &shown(admin, "/metrics");
    assert!(!shown.contains("sk-right") && !shown.contains("sk-wrong"), "{shown}");
}

#[test]
fn an_address_that_is_taken_at_a_reload_is_told_and_taken_once_it_is_free() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let file = directory.path().join("objects.yaml");
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let server = serve(&file, admin);
    wait_until("the gateway is ready", || ready(admin));
    let second = free_address();
    let taken = TcpListener::bind(second).unwrap();
    let more = objects(gateway, one)
        .replace("listeners: [", &format!("listeners: [{{name: second, protocol: HTTP, port: {}}}, ", second.port()));
    fs::write(&file, &more).unwrap();
    server.wait_for(&format!("cannot listen on {second} (HTTP: Gateway default/gateway, listener second): the port is taken"));
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);
    drop(taken);
    fs::write(&file, more + "# again\n").unwrap();
    wait_until("the second listener answers", || ask(second, "/v1/models").filter(|response| response.status == 200));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = TestDir::new();
    fs::write(directory.path().join("objects.yaml"), objects(address, address)).unwrap();
    let ended = run(directory.path(), &["serve", "-f", "objects.yaml", "--admin", "off", "--log", "off"], "");
    assert_eq!(ended.status, 2);
    assert_eq!(
        ended.stderr,
        format!(
            "error: cannot listen on {address} (HTTP: Gateway default/gateway, listener http): the port is taken\n\n\
             hint: stop what has the port, change the listener's `port`, or move the Gateway with --address GATEWAY=IP\n"
        )
    );
    let ended = run(directory.path(), &["serve", "-f", "objects.yaml", "--admin", &address.to_string(), "--log", "off"], "");
    assert_eq!(ended.status, 2);
    assert!(ended.stderr.starts_with(&format!("error: cannot listen on {address} (the admin endpoint): the port is taken")));
}

#[test]
fn a_signal_drains_and_ends_well() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let file = directory.path().join("objects.yaml");
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let mut server = serve(&file, admin);
    wait_until("the gateway is ready", || ready(admin));
    server.signal("TERM");
    assert_eq!(server.end(), 0, "{}", server.stderr());
    server.wait_for("every request is finished");
}

#[test]
fn a_gateway_without_listeners_waits_for_files() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let (gateway, admin) = (free_address(), free_address());
    let server = serve(directory.path(), admin);
    server.wait_for("nothing to serve");
    fs::write(directory.path().join("objects.yaml"), objects(gateway, one)).unwrap();
    wait_until("the gateway answers", || ask(gateway, "/v1/models").filter(|response| response.status == 200));
}

#[test]
fn the_admin_endpoint_shows_conditions_and_metrics() {
    let (_one, one) = sim("one");
    let directory = TestDir::new();
    let file = directory.path().join("objects.yaml");
    let (gateway, admin) = (free_address(), free_address());
    fs::write(&file, objects(gateway, one)).unwrap();
    let _server = serve(&file, admin);
    wait_until("the gateway is ready", || ready(admin));
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200);
    let status: serde_json::Value = serde_json::from_str(&status(admin)).unwrap();
    assert_eq!(status["accepted"], true, "{status}");
    wait_until("the request is counted", || shown(admin, "/metrics").contains("pailou_requests_total{").then_some(()));
}

#[test]
fn a_pipe_is_read_once_and_holds() {
    let directory = TestDir::new();
    let (gateway, admin) = (free_address(), free_address());
    let (_sim, backend) = sim("a");
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (path, text) = (pipe.clone(), objects(gateway, backend));
    let writer = thread::spawn(move || fs::write(path, text));
    let serving = serve(&pipe, admin);
    wait_until("it is ready", || ready(admin));
    writer.join().unwrap().unwrap();
    assert_eq!(ask(gateway, "/v1/models").unwrap().status, 200, "{}", serving.stderr());
}
