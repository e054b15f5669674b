//! `pailou controller` without a cluster. With one, `conformance/` tests it.

use std::fs;

use pailou_e2e::exposition;

use crate::{
    dir::TestDir,
    pailou,
    process::{Client, Running, free_address, wait_until},
    run,
};

#[test]
fn without_a_way_to_a_cluster_it_says_what_to_do() {
    let directory = TestDir::new();
    let ended = run(directory.path(), &["controller", "--kubeconfig", "missing.yaml", "--admin", "off"], "");
    assert_eq!((ended.status, ended.stdout.as_str()), (2, ""));
    assert!(ended.stderr.starts_with("error: no usable cluster configuration: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("missing.yaml") && ended.stderr.contains("\n\nhint: name a kubeconfig"), "{}", ended.stderr);
}

#[test]
fn while_the_api_server_does_not_answer_it_waits_and_is_not_ready() {
    let directory = TestDir::new();
    let (nobody, admin) = (free_address(), free_address());
    let kubeconfig = format!(
        "{{apiVersion: v1, kind: Config, current-context: a, clusters: [{{name: a, cluster: {{server: 'http://{nobody}'}}}}], \
         users: [{{name: a, user: {{}}}}], contexts: [{{name: a, context: {{cluster: a, user: a}}}}]}}"
    );
    fs::write(directory.path().join("config"), kubeconfig).unwrap();
    let admin_flag = admin.to_string();
    let arguments = ["controller", "--kubeconfig", "config", "--identity", "one", "--admin", &admin_flag];
    let mut controller = Running::start(pailou().args(arguments).current_dir(directory.path()));
    let mut client = wait_until("the admin endpoint answers", || Client::connect(admin).ok());
    controller.wait_for("cannot watch Service, retrying");
    controller.wait_for("cannot take Lease default/pailou-controller, retrying");
    assert_eq!(client.get("/healthz").unwrap().status, 200);
    assert_eq!(client.get("/readyz").unwrap().status, 503);
    let metrics = client.get_with("/metrics", &[("host", "localhost")]).unwrap().body;
    let samples = exposition::parse(exposition::Format::OpenMetrics, &metrics).unwrap();
    assert!(samples.iter().any(|sample| sample.name == "pailou_controller_leader" && sample.value == 0.0), "{metrics}");
    let overview = client.get_with("/overview", &[("host", "localhost")]).unwrap();
    let sample: serde_json::Value = serde_json::from_str(&overview.body).unwrap();
    assert_eq!((overview.status, &sample["kind"], &sample["ready"]), (200, &"controller".into(), &false.into()));
    assert_eq!((&sample["controller"]["leader"], sample.get("requests")), (&false.into(), None), "{sample}");
    assert!(sample["unknown"].as_str().unwrap().starts_with("pods of proxies: the API server does not list them"), "{sample}");
    assert_eq!(client.get_with("/routes", &[("host", "localhost")]).unwrap().status, 404);
    controller.signal("TERM");
    assert_eq!(controller.end(), 0, "{}", controller.stderr());
}
