//! The binary under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The built `pailou`: `PAILOU_E2E_BIN`, or the one beside the tests in cargo's target directory, which is built again where sources
/// have changed since.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("PAILOU_E2E_BIN") {
        Some(path) => path.into(),
        None => beside_the_tests(),
    })
}

fn beside_the_tests() -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path is known");
    let profile = tests.ancestors().nth(2).expect("tests lie in <target>/<profile>/deps");
    let binary = profile.join("pailou");
    if !is_fresh(&binary) {
        build(profile);
    }
    binary
}

/// Whether the binary is younger than every source that cargo noted for it.
fn is_fresh(binary: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    let (Some(built), Ok(noted)) = (modified(binary), std::fs::read_to_string(binary.with_extension("d"))) else { return false };
    let sources = noted.split_once(": ").map_or("", |(_, sources)| sources);
    let mut changed = sources.split_whitespace().map(|path| modified(Path::new(path)).unwrap_or(SystemTime::now()));
    changed.all(|changed| changed <= built)
}

fn build(profile: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "pailou", "--bin", "pailou", "--target-dir"]);
    command.arg(profile.parent().expect("a profile lies in the target directory"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "pailou does not build");
}
