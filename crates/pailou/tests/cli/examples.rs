//! The examples, and the mission's files as they are: everything in them is accepted, and nothing ignored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{dir::TestDir, run};

fn crate_root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn assert_accepted(directory: &Path, more: &[&str]) {
    let mut arguments = vec!["check", "-o", "json", "-f", directory.to_str().unwrap()];
    arguments.extend(more);
    let ended = run(directory, &arguments, "");
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(document["problems"], serde_json::json!([]), "{}", directory.display());
    assert_eq!((ended.status, &document["accepted"]), (0, &true.into()), "{}: {}", directory.display(), ended.stdout);
    let routes = document["objects"].as_array().unwrap().iter().filter(|object| object["kind"] == "HTTPRoute");
    let attached = routes.map(|route| route["status"]["parents"].as_array().map_or(0, Vec::len)).collect::<Vec<_>>();
    assert!(!attached.is_empty() && attached.iter().all(|parents| *parents == 1), "{}: {attached:?}", directory.display());
}

#[test]
fn every_example_is_accepted_whole() {
    let examples = crate_root().join("../../examples").canonicalize().unwrap();
    let directories: Vec<PathBuf> =
        fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    assert!(directories.len() >= 7, "{directories:?}");
    for directory in directories {
        assert_accepted(&directory, &[]);
    }
}

#[test]
fn the_guides_files_are_accepted_unchanged() {
    let mission = crate_root().join("tests/mission");
    assert_accepted(&mission.join("model-routing"), &[]);
    let scratch = TestDir::new();
    let key = scratch.path().join("key");
    fs::write(&key, "Bearer sk-test\n").unwrap();
    let secret = format!("bailian-credential={}", key.display());
    assert_accepted(&mission.join("external-maas"), &["--secret", &secret]);
}

#[test]
fn a_hosted_service_without_its_key_is_not_accepted() {
    let directory = crate_root().join("tests/mission/external-maas");
    let ended = run(&directory, &["check", "-f", "."], "");
    assert_eq!(ended.status, 1);
    assert!(ended.stdout.contains("bailian-credential"), "{}", ended.stdout);
}
