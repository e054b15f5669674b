//! The program works: not how fast anything is, which no test asserts.

use std::{fs, process::Command};

use serde_json::Value;

#[test]
fn every_workload_is_measured_against_the_mock_engine() {
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("smoke");
    let output = Command::new(env!("CARGO_BIN_EXE_pailou-bench"))
        .args(["--smoke", "--peer", "direct", "--date", "today", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(page, fs::read_to_string(out.join("results.md")).unwrap());
    assert!(page.starts_with("today: "), "{page}");

    let results: Value = serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    let samples = results["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 3 * 2 + 2, "two phases where answers are whole, one where they are streams");
    for sample in samples {
        assert_eq!(sample["errors"], 0, "{sample}");
        assert!(sample["requests"].as_u64().unwrap() > 0, "{sample}");
        let streams = sample["workload"].as_str().unwrap().starts_with("sse");
        assert_eq!(sample["chunks"].as_u64().unwrap() > 0, streams, "{sample}");
    }
}
