//! `pailou-bench sockets` measures pickers as processes, and ends what it started: not how fast anything is, which no test asserts.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

fn sockets(out: &str) -> (Command, PathBuf) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(out);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pailou-bench"));
    command.args(["sockets", "--workload", "7k", "--engines", "2", "--rounds", "1", "--out"]).arg(&out);
    command.arg("--gateway").arg(pailou_e2e::binary::path());
    (command, out)
}

#[test]
fn own_pickers_are_measured_in_process_and_beside_the_gateway() {
    let (mut command, out) = sockets("sockets");
    let output =
        command.args(["--seconds", "1", "--setup", "estimate", "--setup", "exact", "--setup", "pailou-picker"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("left out"), "{log}");
    let page = String::from_utf8(output.stdout).unwrap();
    assert_eq!(page, fs::read_to_string(out.join("sockets.md")).unwrap());
    let results: Value = serde_json::from_slice(&fs::read(out.join("sockets.json")).unwrap()).unwrap();
    let samples = results["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 4);
    for sample in samples {
        let own = sample["setup"] != "round robin, no gateway";
        assert!(sample["requests"].as_u64() > Some(0) && sample["errors"] == 0, "{sample}");
        assert!(sample["ttft_mean_ms"].as_f64() > Some(0.0) && sample["cpu_ms"].is_f64() == own, "{sample}");
    }
}

#[test]
fn a_signal_ends_what_it_started() {
    let (mut command, out) = sockets("sockets-signal");
    let mut bench = command.args(["--seconds", "600", "--setup", "estimate"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(bench.stderr.take().unwrap()).lines();
    let turn = lines.find(|line| line.as_ref().unwrap().contains("round 1")).unwrap().unwrap();
    // Engines write nothing until they have been asked something: their files are there when they run.
    while !out.join("engine-1").exists() {
        std::thread::yield_now();
    }
    let killed = Command::new("kill").args(["-s", "TERM", &bench.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(bench.wait().unwrap().code(), Some(2), "{turn}");
    assert!(rest.last().unwrap().contains("ended by a signal"), "{rest:?}");
    // The engines' standard error is theirs alone: whoever still had it open would be among these.
    let open = Command::new("sh").arg("-c").arg("ls -l /proc/[0-9]*/fd 2>/dev/null").output().unwrap();
    let open = String::from_utf8_lossy(&open.stdout).into_owned();
    let log = out.join("engine-0").to_string_lossy().into_owned();
    assert!(!open.contains(&log), "an engine still runs");
}
