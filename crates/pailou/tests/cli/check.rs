//! `pailou check` as a user sees it: a snapshot of exit status, standard output and standard error for each file in `check/`.

use std::{fs, path::PathBuf};

use crate::{Ended, dir::TestDir, pailou, run};

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/check")
}

fn shown(ended: &Ended) -> String {
    format!("status: {}\n--- stdout\n{}--- stderr\n{}", ended.status, ended.stdout, ended.stderr)
}

#[test]
fn every_case_prints_as_recorded() {
    let mut names: Vec<String> = fs::read_dir(cases())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 11, "{names:?}");
    for name in names {
        let ended = run(&cases(), &["check", "-f", &name], "");
        insta::assert_snapshot!(format!("check-{}", name.trim_end_matches(".yaml")), shown(&ended));
    }
}

#[test]
fn the_exit_status_tells_acceptance_from_trouble() {
    let status = |arguments: &[&str]| run(&cases(), arguments, "").status;
    assert_eq!(status(&["check", "-f", "good.yaml"]), 0);
    assert_eq!(status(&["check", "-f", "unknown-fields.yaml"]), 1);
    assert_eq!(status(&["check", "-f", "unknown-fields.yaml", "--allow-unknown-fields"]), 0);
    assert_eq!(status(&["check", "-f", "foreign-kinds.yaml"]), 0);
    assert_eq!(status(&["check", "-f", "foreign-kinds.yaml", "--strict"]), 1);
    assert_eq!(status(&["check", "-f", "no-endpoint.yaml"]), 0);
    assert_eq!(status(&["check", "-f", "missing-references.yaml"]), 1);
    assert_eq!(status(&["check", "-f", "broken-yaml.yaml"]), 1);
    assert_eq!(status(&["check", "-f", "nowhere.yaml"]), 2);
    assert_eq!(status(&["check"]), 2);
    assert_eq!(status(&["check", "-f", "good.yaml", "--colour"]), 2);
    assert_eq!(status(&["check", "-f", "good.yaml", "--namespace", "No_Name"]), 2);
}

#[test]
fn a_missing_file_is_named() {
    let ended = run(&cases(), &["check", "-f", "nowhere.yaml"], "");
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("", "error: cannot read nowhere.yaml: No such file or directory (os error 2)\n")
    );
}

#[test]
fn standard_input_is_a_file_like_any_other() {
    let good = fs::read_to_string(cases().join("good.yaml")).unwrap();
    let piped = run(&cases(), &["check", "-f", "-"], &good);
    assert_eq!(piped.stdout, run(&cases(), &["check", "-f", "good.yaml"], "").stdout);
    let broken = run(&cases(), &["check", "-f", "-"], "kind: [");
    assert_eq!(broken.status, 1);
    assert!(broken.stdout.contains("error: -:1: "), "{}", broken.stdout);
}

#[test]
fn json_and_yaml_say_the_same() {
    let json = run(&cases(), &["check", "-f", "missing-references.yaml", "-o", "json"], "");
    let yaml = run(&cases(), &["check", "-f", "missing-references.yaml", "-o", "yaml"], "");
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let yaml: serde_json::Value = serde_saphyr::from_str(&yaml.stdout).unwrap();
    assert_eq!(json, yaml);
    assert_eq!(json["accepted"], false);
    assert_eq!(json["objects"].as_array().unwrap().len(), 4);
}

#[test]
fn annotations_name_file_line_and_rule() {
    for (format, file) in [("github", "missing-references.yaml"), ("sarif", "unknown-fields.yaml")] {
        let ended = run(&cases(), &["check", "-f", file, "-o", format], "");
        let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
        insta::assert_snapshot!(format!("check-annotations-{format}"), shown(&ended).replace(&version, "\"version\": \"VERSION\""));
    }
}

#[test]
fn a_cluster_is_judged_as_its_controller_would() {
    let ended = run(&cases(), &["check", "-f", "cluster.yaml"], "");
    assert_eq!(ended.status, 1, "one port cannot be two Gateways' without a cluster: {ended:?}");
    let ended = run(&cases(), &["check", "-f", "cluster.yaml", "--as", "cluster"], "");
    insta::assert_snapshot!("check-as-cluster", shown(&ended));
}

#[test]
fn objects_elsewhere_may_be_assumed() {
    let check = |more: &[&str]| run(&cases(), &[&["check", "-f", "parts.yaml", "--as", "cluster"], more].concat(), "");
    assert_eq!(check(&[]).status, 1);
    let ended = check(&["--assume-present"]);
    insta::assert_snapshot!("check-assume-present", shown(&ended));
    let ended = check(&["--assume-present=GatewayClass,Gateway,secret,InferencePool"]);
    assert_eq!(ended.status, 1, "the Service may be misspelt: {ended:?}");
    assert!(ended.stdout.contains("Service team/web is in another namespace: add a ReferenceGrant"), "{ended:?}");
    assert_eq!(check(&["--assume-present=Nothing"]).status, 2);
}

#[test]
fn a_secret_is_never_printed() {
    for format in ["table", "json", "yaml", "github", "sarif"] {
        let ended = run(&cases(), &["check", "-f", "secret-in-broken-document.yaml", "-o", format], "");
        assert_eq!(ended.status, 1);
        assert!(!ended.stdout.contains("sk-never") && !ended.stderr.contains("sk-never"), "{ended:?}");
    }
}

#[test]
fn a_cluster_without_a_class_is_told_which_one_it_needs() {
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: a}\n\
                   spec: {gatewayClassName: absent, listeners: [{name: http, protocol: HTTP, port: 80}]}\n";
    let ended = run(&cases(), &["check", "-f", "-", "--as", "cluster"], gateway);
    let advice =
        "there is no GatewayClass absent; no class is: add a GatewayClass whose controllerName is pailou.dev/gateway-controller";
    assert!(ended.status == 1 && ended.stdout.contains(advice), "{ended:?}");
}

#[test]
fn a_pool_that_fails_open_is_served_without_its_picker() {
    let check = |failure_mode: &str, is_reached: bool| {
        let route = if is_reached {
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n\
             spec: {parentRefs: [{name: a}], rules: [{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: a}]}]}\n"
        } else {
            ""
        };
        let objects = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: a}}\n\
             spec: {{gatewayClassName: pailou, listeners: [{{name: http, protocol: HTTP, port: 80}}]}}\n---\n\
             apiVersion: inference.networking.k8s.io/v1\nkind: InferencePool\nmetadata: {{name: a}}\n\
             spec: {{selector: {{matchLabels: {{app: a}}}}, targetPorts: [{{number: 8000}}],\n\
             \x20 endpointPickerRef: {{name: absent, port: {{number: 9002}}, failureMode: {failure_mode}}}}}\n{route}"
        );
        run(&cases(), &["check", "-f", "-", "-o", "github"], &objects)
    };
    for is_reached in [true, false] {
        let ended = check("FailOpen", is_reached);
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(ended.stdout.contains("::warning") && ended.stdout.contains("the built-in picker serves"), "{ended:?}");
        assert_eq!(check("FailClose", is_reached).status, 1);
    }
}

/// Objects of several kinds of trouble, in whose texts are control characters.
pub(crate) const HOSTILE: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: "a\e[2Jb\n::error::c"}
spec: {controllerName: pailou.dev/gateway-controller}
---
apiVersion: example.com/v1
kind: "Foreign\e[31m"
metadata: {name: "a\u009b31mb"}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: default}
spec:
  gatewayClassName: "c\u009b1md"
  listeners: [{name: http, protocol: "TCP\e]0;title\a", port: 1}]
  "colour\e[31m": red
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: "route", namespace: default}
spec:
  parentRefs: [{name: gateway, sectionName: "s\r\e[1A"}]
  rules: [{backendRefs: [{name: "n\u202eo", port: 80}]}]
"#;

#[test]
fn no_text_of_an_object_acts_on_the_terminal() {
    for format in ["table", "json", "yaml", "github", "sarif"] {
        let ended = run(&cases(), &["check", "-f", "-", "-o", format], HOSTILE);
        assert_eq!(ended.status, 1, "{ended:?}");
        let text = ended.stdout + &ended.stderr;
        assert!(text.contains("31m"), "the texts are not there: {text:?}");
        assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{format}: {text:?}");
        assert!(!text.lines().any(|line| line.starts_with("::error::")), "{format}: {text:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_trouble() {
    use std::process::Stdio;
    let mut child = pailou()
        .args(["check", "-f", "good.yaml", "-o", "json"])
        .current_dir(cases())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn documents_without_a_separator_are_told_what_is_missing() {
    let good = fs::read_to_string(cases().join("good.yaml")).unwrap();
    let ended = run(&cases(), &["check", "-f", "-"], &format!("{good}\n{good}").replace("\n---\n", "\n"));
    assert!(ended.stdout.contains("duplicate mapping key: apiVersion: is a `---` missing between two objects?"), "{ended:?}");
}

#[test]
fn nothing_found_is_said_to_be_nothing() {
    let directory = TestDir::new();
    fs::write(directory.path().join("gateway.yaml.txt"), "kind: Gateway").unwrap();
    let ended = run(directory.path(), &["check", "-f", "."], "");
    assert_eq!(ended.status, 0);
    assert!(ended.stderr.contains("nothing was found (directories are read for *.yaml"), "{ended:?}");
}

#[test]
fn an_address_for_a_gateway_that_is_not_there_is_told() {
    let ended = run(&cases(), &["check", "-f", "good.yaml", "--address", "nowhere=127.0.0.9"], "");
    assert!(ended.stdout.contains("warning: --address: there is no Gateway default/nowhere"), "{ended:?}");
}

#[test]
fn pipes_in_directories_are_left_out() {
    let directory = TestDir::new();
    let pipe = directory.path().join("a.yaml");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::copy(cases().join("good.yaml"), directory.path().join("b.yaml")).unwrap();
    let ended = run(directory.path(), &["check", "-f", "."], "");
    assert_eq!(ended.status, 0, "{ended:?}");
}
