//! The chart agrees with itself and with the documentation: permissions for each watched scope, and values. `deploy/render
//! --check` compares its output with the stored one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

/// Scope of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// Wherever the controller watches.
    Watched,
    /// In its own namespace.
    Own,
}

/// Scope, group, resource and verb.
type Permission = (Scope, String, String, String);

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// The permissions of rules of three lines each. The test calls `scope` with each line outside of rules.
fn permissions(text: &str, mut scope: impl FnMut(&str) -> Option<Scope>) -> BTreeSet<Permission> {
    let mut found = BTreeSet::new();
    let (mut place, mut groups, mut resources) = (Scope::Watched, Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(list) = list(line, "- apiGroups: [") {
            groups = list;
        } else if let Some(list) = list(line, "  resources: [") {
            resources = list;
        } else if let Some(verbs) = list(line, "  verbs: [") {
            for group in &groups {
                for resource in &resources {
                    found.extend(verbs.iter().map(|verb| (place, group.clone(), resource.clone(), verb.clone())));
                }
            }
        } else {
            place = scope(line).unwrap_or(place);
        }
    }
    found
}

fn list(line: &str, start: &str) -> Option<Vec<String>> {
    let items = line.strip_prefix(start)?.strip_suffix(']')?;
    Some(items.split(", ").map(|item| item.trim_matches('"').to_owned()).collect())
}

fn documented() -> BTreeSet<Permission> {
    let text = read("docs/reference/chart.md");
    let section = text.split_once("## Controller permissions").unwrap().1;
    let block = section.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    permissions(block, |line| (line == "# in the controller's namespace").then_some(Scope::Own))
}

/// The permissions of a rendered chart. A Role named like the one for watched namespaces belongs to these.
fn given(path: &str) -> BTreeSet<Permission> {
    let text = read(path);
    let mut found = BTreeSet::new();
    for object in text.split("\n---\n") {
        let is_role = object.lines().any(|line| line == "kind: Role");
        let is_watched = object.lines().any(|line| line == "  name: pailou-controller-watched");
        let scope = if is_role && !is_watched { Scope::Own } else { Scope::Watched };
        found.extend(permissions(object, |_| Some(scope)));
    }
    found
}

#[test]
fn the_documentation_lists_what_the_chart_gives() {
    let documented = documented();
    assert!(documented.contains(&(Scope::Watched, "apps".into(), "deployments".into(), "patch".into())), "{documented:?}");
    assert!(documented.contains(&(Scope::Own, "coordination.k8s.io".into(), "leases".into(), "update".into())));
    let given = given("deploy/manifests/install.yaml");
    assert_eq!(Vec::from_iter(documented.difference(&given)), Vec::<&Permission>::new(), "the chart does not give these");
    assert_eq!(Vec::from_iter(given.difference(&documented)), Vec::<&Permission>::new(), "the documentation does not list these");
}

#[test]
fn a_controller_of_some_namespaces_is_given_the_same_in_each_of_them() {
    assert_eq!(given("deploy/tests/namespaced.yaml"), given("deploy/manifests/install.yaml"));
    let text = read("deploy/tests/namespaced.yaml");
    let cluster_wide = text.split("\n---\n").find(|object| object.lines().any(|line| line == "kind: ClusterRole")).unwrap();
    let found = permissions(cluster_wide, |_| None);
    assert!(
        found.iter().all(|(_, _, resource, _)| !["secrets", "services", "deployments"].contains(&resource.as_str())),
        "{found:?}"
    );
}

#[test]
fn network_policies_are_the_controllers_only_with_the_value() {
    let text = read("docs/reference/chart.md");
    let block = text.split_once("With `proxy.networkPolicy.enabled`").unwrap().1.split("```").nth(1).unwrap();
    let documented = permissions(block, |_| None);
    assert!(documented.iter().all(|(_, _, resource, _)| resource == "networkpolicies") && documented.len() == 5, "{documented:?}");
    assert!(given("deploy/tests/everything.yaml").is_superset(&documented));
    assert!(given("deploy/manifests/install.yaml").is_disjoint(&documented));
}

#[test]
fn a_picker_is_given_what_its_documentation_says_and_no_more() {
    let text = read("docs/reference/chart.md");
    let rules = text.split("```yaml\n").find(|block| block.starts_with("rules:")).unwrap().split_once("```").unwrap().0;
    let documented = permissions(rules, |_| Some(Scope::Own));
    assert!(documented.contains(&(Scope::Own, String::new(), "pods".into(), "watch".into())), "{documented:?}");
    assert_eq!(given("deploy/manifests/picker.yaml"), documented);
}

/// The schema's values of a picker are those that the chart's own file describes and a test gives.
#[test]
fn every_value_of_a_picker_is_described_and_tried() {
    let schema: serde_json::Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    let known = BTreeSet::from_iter(schema["definitions"]["picker"]["properties"].as_object().unwrap().keys().cloned());
    let of_lists = |path: &str, start: &str| {
        let text = read(path);
        let after = text.split_once("\npickers:").unwrap().1;
        let lines = after.lines().filter_map(|line| line.strip_prefix(start));
        let keys = lines.filter_map(|line| line.strip_prefix("- ").or(line.strip_prefix("  "))?.split_once(':'));
        BTreeSet::from_iter(keys.map(|(key, _)| key.to_owned()).filter(|key| !key.starts_with([' ', '-'])))
    };
    assert_eq!(of_lists("deploy/chart/values.yaml", "# "), known);
    assert_eq!(of_lists("deploy/tests/everything.values.yaml", ""), known);
}

/// The dotted paths of a file of values, to the second level: written as the chart's own are, in blocks of two spaces.
fn values(path: &str) -> BTreeSet<String> {
    let (text, mut found, mut above) = (read(path), BTreeSet::new(), String::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', '-'])) {
        let indent = line.len() - line.trim_start().len();
        let Some((key, _)) = line.trim_start().split_once(':') else { continue };
        match indent {
            0 => {
                above = key.to_owned();
                found.insert(above.clone());
            }
            2 if !OPEN.contains(&above.as_str()) => {
                found.insert(format!("{above}.{key}"));
            }
            _ => {}
        }
    }
    found
}

/// Values that hold whatever Kubernetes takes there, or lists.
const OPEN: [&str; 6] = ["resources", "affinity", "tolerations", "topologySpreadConstraints", "gatewayClasses", "pickers"];

#[test]
fn every_value_that_the_schema_knows_has_a_default_and_is_tried_with_another() {
    let schema: serde_json::Value = serde_json::from_str(&read("deploy/chart/values.schema.json")).unwrap();
    let mut known = BTreeSet::new();
    for (name, value) in schema["properties"].as_object().unwrap().iter().filter(|(name, _)| *name != "global") {
        known.insert(name.clone());
        let inner = value["properties"].as_object().filter(|_| !OPEN.contains(&name.as_str()));
        known.extend(inner.into_iter().flat_map(|it| it.keys()).map(|inner| format!("{name}.{inner}")));
    }
    assert!(known.contains("image.tag") && known.contains("replicas"), "{known:?}");
    assert_eq!(values("deploy/chart/values.yaml"), known);
    let mut tried = values("deploy/tests/everything.values.yaml");
    // One namespace or several, and none at all, are other files' matter.
    tried.extend(values("deploy/tests/namespaced.values.yaml"));
    tried.extend(values("deploy/manifests/picker.values.yaml"));
    tried.extend(values("deploy/tests/store.values.yaml"));
    tried.extend(values("deploy/tests/monitoring.values.yaml"));
    tried.extend(values("deploy/tests/dashboards/values.yaml"));
    assert_eq!(tried, known);
}
