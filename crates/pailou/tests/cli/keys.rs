//! `pailou keys`: keys are shown once, and only their hashes are written.

use std::fs;

use crate::{dir::TestDir, run};

#[test]
fn a_new_key_is_printed_once_and_its_entry_has_the_hash() {
    let dir = TestDir::new();
    let arguments = [
        "keys",
        "new",
        "alice",
        "--secret",
        "red",
        "--expires",
        "2027-01-31",
        "--metadata",
        "team=it's red",
        "--metadata",
        "seats=3",
    ];
    let made = run(dir.path(), &arguments, "");
    assert_eq!(made.status, 0, "{made:?}");
    let key = made.stderr.lines().find(|line| line.starts_with("pailou-sk-")).unwrap();
    assert!(!made.stdout.contains(key) && made.stdout.contains("\"keyHash\":\"sha256:"), "{made:?}");
    assert!(made.stdout.starts_with("apiVersion: v1\nkind: Secret\nmetadata: {name: red}\nstringData:\n  alice: '{"), "{made:?}");

    // The hash of the key is the same entry.
    let arguments = [&["keys", "hash"], &arguments[2..]].concat();
    assert_eq!(run(dir.path(), &arguments, &format!("{key}\n")).stdout, made.stdout);

    fs::write(dir.path().join("secret.yaml"), &made.stdout).unwrap();
    let other = "apiVersion: v1\nkind: Secret\nmetadata: {name: other}\nstringData: {password: hunter2}\n";
    fs::write(dir.path().join("other.yaml"), other).unwrap();
    let listed = run(dir.path(), &["keys", "list", "-f", "."], "");
    let row = "default/red  alice   2027-01-31T00:00:00Z  {\"seats\":3,\"team\":\"it's red\"}\n";
    assert_eq!(listed.stdout, format!("SECRET       CLIENT  EXPIRES               METADATA\n{row}"), "{listed:?}");
    let listed = run(dir.path(), &["keys", "list", "-f", ".", "-o", "json"], "");
    assert!(listed.stdout.contains("\"client\": \"alice\"") && !listed.stdout.contains("sha256"), "{listed:?}");
}

#[test]
fn names_that_yaml_takes_for_something_else_stay_names() {
    let dir = TestDir::new();
    for client in ["on", "00123", "null", "1e3", "True", ".inf", "-", "0x1f", "alice", "N", "2027-01-31"] {
        let arguments = ["keys", "hash", "--secret", "123", "-n", "null", "--", client];
        let made = run(dir.path(), &arguments, "key");
        assert_eq!(made.status, 0, "{client}: {made:?}");
        // Readers of YAML 1.1 take more words for something else than this one does, which reads the entry below.
        let is_quoted = made.stdout.contains(&format!("\n  '{client}': '{{"));
        assert_eq!(is_quoted, client != "alice", "{made:?}");
        fs::write(dir.path().join("secret.yaml"), &made.stdout).unwrap();
        let listed = run(dir.path(), &["keys", "list", "-f", "secret.yaml", "-o", "json"], "");
        let list: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        let first = &list["keys"][0];
        assert_eq!([&first["namespace"], &first["secret"], &first["client"]], ["null", "123", client], "{made:?}");
    }
}

#[test]
fn keys_of_a_security_policy_are_listed_whatever_their_form_and_never_shown() {
    let dir = TestDir::new();
    fs::write(
        dir.path().join("objects.yaml"),
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: p}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, \
         kind: Gateway, name: g}]\n  apiKeyAuth: {credentialRefs: [{name: plain}], extractFrom: [{headers: [x-api-key]}]}\n---\napiVersion: v1\nkind: \
         Secret\nmetadata: {name: plain}\nstringData: {bob: swordfish, carol: '{\"expires\":\"2020-01-01T00:00:00Z\",\"key\":\"sesame\"}', dave: \
         '{\"key\":5}'}\n",
    )
    .unwrap();
    let listed = run(dir.path(), &["keys", "list", "-f", "objects.yaml"], "");
    assert_eq!(listed.status, 1, "{listed:?}");
    assert!(listed.stdout.contains("bob     never") && listed.stdout.contains("2020-01-01T00:00:00Z (expired)"), "{listed:?}");
    assert!(listed.stdout.contains("dave    -") && listed.stdout.contains("not accepted: the JSON value is no key"), "{listed:?}");
    for key in ["swordfish", "sesame", "keyHash"] {
        assert!(
            !listed.stdout.contains(&format!("\"{key}\"")) && !listed.stdout.contains("swordfish") && !listed.stderr.contains(key)
        );
    }
}

#[test]
fn what_is_no_client_no_time_or_no_key_is_refused() {
    let dir = TestDir::new();
    for (arguments, stdin) in [
        (&["keys", "new", "a b"][..], ""),
        (&["keys", "new", "a", "--expires", "soon"], ""),
        (&["keys", "new", "a", "--metadata", "team"], ""),
        (&["keys", "new", "a", "-n", "x"], ""),
        (&["keys", "new", "a", "--secret", "Red"], ""),
        (&["keys", "new", "a", "--secret", "a..b"], ""),
        (&["keys", "new", "a", "--secret", "a: b"], ""),
        (&["keys", "new", "a", "--secret", "red", "-n", "a.b"], ""),
        (&["keys", "new", "a", "--secret", "red", "-n", "-a"], ""),
        (&["keys", "hash", "a"], "\n"),
    ] {
        let ended = run(dir.path(), arguments, stdin);
        assert_eq!((ended.status, &*ended.stdout), (2, ""), "{arguments:?}: {ended:?}");
    }
}
