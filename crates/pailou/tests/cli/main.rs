//! The binary by its command line: what it prints, how it ends, what it serves.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod check;
mod controller;
mod demo;
mod dir;
mod docs;
mod examples;
mod keys;
mod limit_store;
mod limits;
mod process;
mod serve;

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// The binary.
fn pailou() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pailou"));
    // The developer's environment must not change the test.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"PAILOU_") {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

/// How a run ended.
#[derive(Debug)]
struct Ended {
    /// Exit status.
    status: i32,
    /// Standard output.
    stdout: String,
    /// Standard error.
    stderr: String,
}

/// Runs the binary in a directory to its end.
fn run(directory: &Path, arguments: &[&str], stdin: &str) -> Ended {
    let mut child = pailou()
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input may have gone by now.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
