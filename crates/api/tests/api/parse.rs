//! The mission's resources decode as they are; wrong ones get errors that say what to do.

use std::path::Path;

use pailou_api::parse::{Parsed, parse, parse_object};
use pailou_api::{NamespaceName, Object};
use proptest::prelude::*;

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(file))
        .expect("the test's file is there")
}

fn parsed(text: &str, origin: &str) -> Parsed {
    parse(text.as_bytes(), origin, &NamespaceName::try_from("default").expect("a namespace"))
}

fn errors(file: &str) -> String {
    let parsed = parsed(&read(&format!("wrong/{file}")), file);
    let mut lines: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
    lines.extend(parsed.objects.iter().map(|decoded| format!("(read: {})", decoded.object.key())));
    lines.extend(parsed.foreign.iter().map(|foreign| format!("(foreign: {} {})", foreign.kind, foreign.api_version)));
    lines.join("\n")
}

fn only(text: &str) -> Object {
    let mut parsed = parsed(text, "test");
    assert_eq!(parsed.errors, []);
    assert_eq!(parsed.objects.len(), 1);
    let decoded = parsed.objects.remove(0);
    assert_eq!(decoded.ignored, []);
    decoded.object
}

#[test]
fn the_missions_resources_decode_with_their_defaults() {
    for file in ["maas-policy", "gateway-route", "inference-route", "inference-pool", "inference-gateway"] {
        let parsed = parsed(&read(&format!("mission/{file}.yaml")), file);
        assert_eq!(parsed.errors, []);
        assert!(parsed.objects.iter().all(|decoded| decoded.ignored.is_empty()));
        let objects: Vec<&Object> = parsed.objects.iter().map(|decoded| &decoded.object).collect();
        insta::assert_debug_snapshot!(file, objects);
    }
}

#[test]
fn errors_say_where_and_what_to_do() {
    for file in ["syntax", "identity", "routes", "gateways", "inference", "envoy", "secrets"] {
        insta::assert_snapshot!(format!("wrong-{file}"), errors(&format!("{file}.yaml")));
    }
}

#[test]
fn no_error_quotes_a_value_that_may_be_a_credential() {
    let route = |filter: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: a}}\n\
             spec: {{rules: [{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {filter}}}]}}]}}"
        )
    };
    let policy = |headers: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: a}}\n\
             spec: {{targetRef: {{group: gateway.networking.k8s.io, kind: Gateway, name: g}}, headers: {{earlyRequestHeaders: {headers}}}}}"
        )
    };
    let filter = |header: &str| {
        format!(
            "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: HTTPRouteFilter\nmetadata: {{name: a}}\n\
             spec: {{credentialInjection: {{header: {header}, credential: {{valueRef: {{name: s}}}}}}}}"
        )
    };
    let pod = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\n\
             spec: {{containers: [{{name: c, env: [{{name: Authorization, value: {value}}}]}}]}}"
        )
    };
    for (text, named) in [
        (route("{set: [{name: Authorization, value: 'Bearer  4711'}]}"), "Authorization"),
        (route("{add: [{name: Authorization, value: ' 4711'}]}"), "Authorization"),
        (route("{set: [{name: Authorization, value: 4711}]}"), "set[0].value"),
        (route("{set: ['Authorization: Bearer 4711']}"), "set[0]"),
        (route("{set: 'Authorization: Bearer 4711'}"), "requestHeaderModifier.set"),
        (route("'Authorization: Bearer 4711'"), "requestHeaderModifier"),
        (route("{set: [{name: 'Authorization: Bearer 4711', value: a}]}"), "Authorization…"),
        (policy("{addIfAbsent: [{name: Authorization, value: \"Bearer\\n4711\"}]}"), "Authorization"),
        (filter("'Authorization: Bearer 4711'"), "Authorization…"),
        (pod("4711"), "env[0].value"),
    ] {
        let errors: Vec<String> = parsed(&text, "test").errors.iter().map(ToString::to_string).collect();
        let errors = errors.join("\n");
        assert!(errors.contains(named) && !errors.contains("4711"), "{text}\n{errors}");
    }
}

#[test]
fn base64_may_have_line_breaks() {
    let secret = only(
        "{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {a: \"aHVudG\\n  VyMg==\\r\\n\"}}".replace("  ", "").as_str(),
    );
    let Object::Secret(secret) = secret else { panic!("a Secret") };
    assert_eq!(secret.spec.data["a"].expose(), b"hunter2");
    let map = only("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nbinaryData:\n  a: |\n    AAAB\n    /g==\n");
    let Object::ConfigMap(map) = map else { panic!("a ConfigMap") };
    assert_eq!(map.spec.binary_data["a"], [0, 0, 1, 0xfe]);
}

#[test]
fn an_address_of_a_pod_that_is_none_is_named() {
    let texts = |status: &str| {
        let parsed = parsed(&format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, status: {status}}}"), "f");
        parsed.errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(texts("{podIP: localhost}"), ["f:1: Pod a: status.podIP: \"localhost\" is no IP address"]);
    assert_eq!(texts("{podIPs: [{ip: 10.0.0.1}, {ip: x}]}"), ["f:1: Pod a: status.podIPs[1].ip: \"x\" is no IP address"]);
    assert_eq!(texts("{podIP: \"\", podIPs: [{ip: '::1'}]}"), [""; 0]);
}

#[test]
fn no_error_about_a_secret_shows_its_value() {
    let shown = errors("secrets.yaml");
    assert!(!shown.contains("hunter2") && !shown.contains("12345678"), "{shown}");
}

#[test]
fn a_secrets_debug_output_is_redacted() {
    let secret = only("{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {a: aHVudGVyMg==}, stringData: {b: hunter3}}");
    let shown = format!("{secret:?}");
    assert!(shown.contains("[redacted]") && !shown.contains("hunter"), "{shown}");
    let Object::Secret(secret) = secret else { panic!("a Secret") };
    assert_eq!(secret.spec.data["a"].expose(), b"hunter2");
    assert_eq!(secret.spec.data["b"].expose(), b"hunter3");
}

#[test]
fn unknown_fields_are_listed_by_path() {
    let text = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: a, colour: red}
extra: 1
spec:
  rules:
  - matchs: []
    backendRefs:
    - {name: a, port: 80, wieght: 3}
    filters:
    - type: URLRewrite
      urlRewrite: {host: x}
";
    let parsed = parsed(text, "test");
    assert_eq!(parsed.errors, []);
    let mut ignored: Vec<_> =
        parsed.objects[0].ignored.iter().map(|field| (field.path.as_str(), field.meant, field.line)).collect();
    ignored.sort_unstable();
    assert_eq!(
        ignored,
        [
            ("extra", None, 5),
            ("metadata.colour", None, 4),
            ("spec.rules[0].backendRefs[0].wieght", Some("weight"), 10),
            ("spec.rules[0].filters[0].urlRewrite.host", Some("hostname"), 13),
            ("spec.rules[0].matchs", Some("matches"), 8),
        ]
    );
}

#[test]
fn json_lists_and_streams_are_read() {
    let pod = |name: &str| format!(r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}}}"#);
    let list = format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{}, {{"kind": "Nope"}}, {}]}}"#, pod("a"), pod("b"));
    let broken = format!("{}\n{}\n{{\"kind\": \n{}\n{}", list, pod("c"), pod("d"), pod("e"));
    let parsed = parsed(&broken, "stream.json");
    let names: Vec<&str> = parsed.objects.iter().map(|decoded| decoded.object.meta().name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let shown: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!("json-stream", shown.join("\n"));
}

#[test]
fn what_comes_after_a_json_object_and_is_none_may_be_of_any_characters() {
    let pod = |name: &str| format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}"}}}}"#);
    for noise in ["\u{11d09}", "é\u{301}", "x", "\n\u{11d09}"] {
        let parsed = parsed(&format!("{}{noise}\n{}", pod("before"), pod("after")), "stream.json");
        let names: Vec<&str> = parsed.objects.iter().map(|decoded| decoded.object.meta().name.as_str()).collect();
        assert_eq!((names, parsed.errors.len()), (vec!["before", "after"], 1), "{noise:?}");
    }
}

#[test]
fn one_object_that_is_json_already_is_read_as_one_of_a_file() {
    let namespace = NamespaceName::try_from("default").unwrap();
    let read = |value| parse_object(value, "cluster", &namespace);
    let class = serde_json::json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": { "name": "a", "labels": null },
        "spec": { "controllerName": "x.y/z", "colour": "red" },
    });
    let decoded = read(class.clone()).unwrap();
    let ignored: Vec<_> = decoded.ignored.iter().map(|field| field.path.as_str()).collect();
    assert_eq!((decoded.object.meta().name.as_str(), ignored), ("a", vec!["spec.colour"]));
    let texts = |value| read(value).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": [class.clone(), class] });
    assert_eq!(texts(list), ["cluster: expected exactly one Kubernetes object"]);
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "n" }, "data": { "key": "not base64!" },
    });
    let errors = texts(secret);
    assert!(errors.len() == 1 && errors[0].starts_with("cluster: Secret n/s: ") && !errors[0].contains("not base64"), "{errors:?}");
}

#[test]
fn typed_lists_lend_their_kind_to_their_items() {
    let text = "{apiVersion: v1, kind: PodList, items: [{metadata: {name: a}}]}";
    assert!(matches!(only(text), Object::Pod(_)));
}

#[test]
fn scalars_are_read_as_kubernetes_reads_them() {
    let data = |value: &str| {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata:\n  key: {value}\n");
        let parsed = parsed(&text, "test");
        parsed.objects.first().map(|decoded| match &decoded.object {
            Object::ConfigMap(map) => map.spec.data["key"].clone(),
            other => panic!("{other:?}"),
        })
    };
    for text in ["'yes'", "\"12\"", "hello", "1.2.3", "2024-01-01", "12:30:45", "0x", "8080/tcp"] {
        assert_eq!(data(text).as_deref(), Some(text.trim_matches(['"', '\''])), "{text}");
    }
    for not_text in ["yes", "on", "true", "12", "1.5", "0x10", "0755", "1e3"] {
        assert_eq!(data(not_text), None, "{not_text}");
    }
}

#[test]
fn nulls_count_as_absent() {
    let object = only(
        "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: a, creationTimestamp: null}, \
         spec: {parentRefs: null, rules: [{matches: null, filters: ~}]}, status: null}",
    );
    let Object::HttpRoute(route) = object else { panic!("a route") };
    assert_eq!(route.spec.rules[0].matches.len(), 1);
}

#[test]
fn aliases_that_unfold_without_end_are_refused() {
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    let parsed = parsed(&text, "bomb");
    assert!(parsed.objects.is_empty());
    assert_eq!(parsed.errors.len(), 1);
}

#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let text = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        let parsed = parsed(&text, "deep");
        assert_eq!((parsed.objects.len(), parsed.errors.len()), (0, 1));
    }
}

#[test]
fn an_input_that_is_no_text_is_one_error() {
    let parsed = parse(b"a: \xff", "bytes", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors[0].to_string(), "bytes: not UTF-8 text (the first wrong byte is at offset 3)");
}

proptest! {
    #[test]
    fn no_input_panics(text in "([a-z]{1,4}: |- |\\[|\\]|\\{|\\}|\"|'|&a |\\*a|\n|  |---\n|#|\\||1|kind: Pod\n|metadata: |\\PC){0,40}") {
        parsed(&text, "noise");
    }

    #[test]
    fn a_broken_document_leaves_its_neighbours_be(noise in "[a-z:{}\\[\\]\"'&*#|> \n]{0,60}") {
        let pod = |name: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n");
        let stream = format!("{}---\n{noise}\n---\n{}", pod("before"), pod("after"));
        let parsed = parsed(&stream, "noise");
        let names: Vec<&str> = parsed.objects.iter().map(|decoded| decoded.object.meta().name.as_str()).collect();
        prop_assert_eq!(names, ["before", "after"]);
    }

    #[test]
    fn an_edited_example_never_panics(at in 0..900_usize, with in "[ -~\n]{0,5}", cut in 0..20_usize) {
        let mut text = read("mission/gateway-route.yaml");
        let start = text.floor_char_boundary(at.min(text.len()));
        let end = text.floor_char_boundary((start + cut).min(text.len()));
        text.replace_range(start..end, &with);
        parsed(&text, "edited");
    }
}
