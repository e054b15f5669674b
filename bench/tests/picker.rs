//! `pailou-bench picker` writes what it prints, the same each time.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn picker(args: &[&str], out: &str) -> (Output, PathBuf) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(out);
    let output = Command::new(env!("CARGO_BIN_EXE_pailou-bench")).arg("picker").args(args).arg("--out").arg(&out).output().unwrap();
    (output, out)
}

#[test]
fn a_short_run_has_tables_figures_and_a_chart() {
    let args = ["--percent", "1", "--replicas", "2", "--workload", "churn"];
    let (output, out) = picker(&args, "picker");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(page, fs::read_to_string(out.join("picker.md")).unwrap());
    for picker in ["random", "round robin", "least requests", "pailou, load", "pailou, estimate", "llm-d, exact", "omniscient"] {
        assert!(page.contains(&format!("| {picker}")), "{picker}: {page}");
    }
    let results: Value = serde_json::from_slice(&fs::read(out.join("picker.json")).unwrap()).unwrap();
    for section in results["sections"].as_array().unwrap() {
        for row in section["rows"].as_array().unwrap() {
            assert!(row["whole"]["requests"].as_u64() > Some(0) && row["whole"]["ttft_mean"].as_f64() > Some(0.0), "{row}");
        }
        let chart = format!("picker-{}.svg", section["workload"].as_str().unwrap());
        assert!(fs::read_to_string(out.join(chart)).unwrap().contains("pailou, estimate"));
    }
    assert_eq!(picker(&args, "picker-again").0.stdout, output.stdout, "virtual time does not differ between runs");
}

#[test]
fn conversations_need_their_trace() {
    let (output, _) = picker(&["--workload", "conversation"], "picker-none");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("--trace"), "{error}");
}
