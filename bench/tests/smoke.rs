//! The program works: not how fast anything is, which no test asserts.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Workloads that are compared with the gateway's own 200b; the first is for every gateway.
const OF_PAILOU: [&str; 6] = ["2-cores", "limits", "jwt", "jwt-new", "telemetry-1", "telemetry-100"];

#[test]
fn every_workload_is_measured_with_and_without_the_gateway() {
    // Beside haproxy, where that is installed.
    let peer = haproxy();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("smoke");
    let output = Command::new(env!("CARGO_BIN_EXE_pailou-bench"))
        .args(["--smoke", "--date", "today", "--peer"])
        .arg(peer.as_ref().map_or("direct".into(), |path| format!("haproxy={}", path.display())))
        .arg("--out")
        .arg(&out)
        .arg("--gateway")
        .arg(pailou_e2e::binary::path())
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(!log.contains("left out"), "{log}");

    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(page, fs::read_to_string(out.join("results.md")).unwrap());
    assert!(page.starts_with("today: "), "{page}");
    assert!(page.contains("| start to first response | ≤ 30 ms | "), "{page}");
    // The others have no bar where a loaded machine hides what the gateway adds.
    for chart in ["memory.svg", "start.svg"] {
        let chart = fs::read_to_string(out.join(chart)).unwrap();
        assert!(chart.contains(">pailou</text>"), "{chart}");
    }

    let results: Value = serde_json::from_slice(&fs::read(out.join("results.json")).unwrap()).unwrap();
    let requests = ["200b", "32k", "1m", "plain", "plain-32k", "routes-10", "routes-5000", "tls", "h2"];
    let expected = |gateway: &[&'static str]| {
        let twice = requests.iter().map(|&name| (name, 2));
        let once = ["sse-16", "sse-256"].iter().map(|&name| (name, 1));
        twice.chain(once).chain(gateway.iter().map(|&name| (name, 2))).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(answered(&results, "direct"), expected(&[]), "two phases where answers are whole, one where they are streams");
    let gateways = if peer.is_some() { vec!["pailou", "haproxy"] } else { vec!["pailou"] };
    for gateway in gateways {
        assert_eq!(answered(&results, gateway), expected(if gateway == "pailou" { &OF_PAILOU } else { &["2-cores"] }));
        let footprints = results["footprints"].as_array().unwrap().iter().filter(|footprint| footprint["subject"] == gateway);
        let workloads: Vec<&str> = footprints.map(|footprint| footprint["workload"].as_str().unwrap()).collect();
        assert_eq!(workloads, ["idle-1000", "idle-10000", "start"]);
    }
    let clusters = results["clusters"].as_array().unwrap();
    assert_eq!(clusters.iter().map(|turn| turn["subject"].as_str().unwrap()).collect::<Vec<_>>(), ["pailou"]);
    for part in ["controller", "proxy"] {
        assert!(clusters[0]["p50_ms"].as_f64() > Some(0.0) && clusters[0][part]["cpu_ms"].as_f64() > Some(0.0), "{clusters:?}");
    }
    for footprint in results["footprints"].as_array().unwrap() {
        assert_eq!(footprint["held"].is_null(), footprint["workload"] == "start", "{footprint}");
        assert!(footprint["start_ms"].as_f64().unwrap() > 0.0, "{footprint}");
        assert!(footprint["idle_bytes"].as_u64() > footprint["anonymous_bytes"].as_u64(), "{footprint}");
    }
}

/// How many phases of each workload had answers, none of them an error.
fn answered<'a>(results: &'a Value, subject: &str) -> BTreeMap<&'a str, usize> {
    let mut phases = BTreeMap::new();
    for sample in results["samples"].as_array().unwrap().iter().filter(|sample| sample["subject"] == subject) {
        let workload = sample["workload"].as_str().unwrap();
        assert_eq!(sample["errors"], 0, "{sample}");
        assert!(sample["requests"].as_u64().unwrap() > 0, "{sample}");
        assert_eq!(sample["chunks"].as_u64().unwrap() > 0, workload.starts_with("sse"), "{sample}");
        *phases.entry(workload).or_default() += 1;
    }
    phases
}

/// haproxy, where Debian puts it or on the path.
fn haproxy() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join("haproxy")).find(|path| path.is_file())
}
