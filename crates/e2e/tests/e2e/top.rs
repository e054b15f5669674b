//! `pailou top`: a gateway in a terminal.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use pailou_e2e::client::Call;
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{binary, objects};
use pailou_sim::{FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{instant, pool_of};

fn models(engines: &[&Sim]) -> Vec<Value> {
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", engines));
    list
}

/// Standard output, standard error and exit status of a command.
fn top(gateway: &Gateway, arguments: &[&str]) -> (String, String, Option<i32>) {
    run("top", gateway, arguments)
}

fn run(command: &str, gateway: &Gateway, arguments: &[&str]) -> (String, String, Option<i32>) {
    let admin = gateway.admin().to_string();
    let output =
        Command::new(binary::path()).args([command, "--admin", &admin]).args(arguments).stdin(Stdio::null()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_a_report_or_samples() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    let (text, _, status) = top(&gateway, &["--once", "--interval", "1"]);
    assert_eq!(status, Some(0));
    assert!(
        text.contains("requests  0.0/s  0 active  1 since the start") && text.contains("default/qwen  qwen-0     ready"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
    let (text, _, status) = top(&gateway, &["--once", "-o", "json"]);
    let sample: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &sample["schema"], &sample["requests"]["total"]), (Some(0), &json!("pailou.overview/v1"), &json!(1)));
    let (text, error, status) = top(&gateway, &[]);
    assert_eq!((&*text, status), ("", Some(2)));
    assert!(error.contains("no terminal") && error.contains("--once"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_answers_500_to_everything_is_no_engine_without_errors() {
    let sim = instant("a", "qwen").await;
    sim.faults().set([FaultKind::Status(500).into()]);
    let gateway = Setup::with(models(&[&sim])).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 500);
    let (text, _, _) = top(&gateway, &["--once", "--interval", "1"]);
    assert!(text.contains("errors    backend 0.0/s (1)\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_sent_and_asked_for() {
    let setup = Setup::with(models(&[]));
    let token = setup.aside("token", "a-token-of-the-operator\n");
    let token = token.to_str().unwrap();
    let gateway = setup.args(["--admin-token-file", token]).serve().await;
    let (_, error, status) = top(&gateway, &["--once", "-o", "json"]);
    assert!(status == Some(2) && error.contains("it answered 401"), "{error}");
    assert_eq!(top(&gateway, &["--once", "-o", "json", "--admin-token-file", token]).2, Some(0));
    let (_, error, status) = run("limits", &gateway, &[]);
    assert!(status == Some(2) && error.contains("it answered 401"), "{error}");
    assert_eq!(run("limits", &gateway, &["--admin-token-file", token]).2, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_shows_views_and_is_given_back() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let chat = Call::chat("qwen", "hello").header("x-request-id", "seen-by-top");
    assert_eq!(chat.send(gateway.http()).await.status, 200);
    // It makes a terminal of its own for the command.
    let command = format!("stty cols 150 rows 24; {} top --admin {} --interval 1", binary::path().display(), gateway.admin());
    let mut child = Command::new("script");
    child.args(["-qfec", &command, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", "1");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    let mut until = |text: &str| {
        while !shown.contains(text) {
            let mut piece = [0; 4096];
            let length = screen.read(&mut piece).unwrap();
            // It draws each second: what does not come within so much never does.
            assert!(length > 0 && shown.len() < 200_000, "{text} is never shown: {shown:?}");
            shown.push_str(&String::from_utf8_lossy(&piece[..length]));
        }
    };
    let mut press = |text: &str| keys.write_all(text.as_bytes()).unwrap();
    until("requests  ");
    press("3");
    until("qwen-0     ready");
    press("2");
    until("HTTPRoute default/models/0");
    press("5");
    until("seen-by-top");
    press("\r");
    until("rule      HTTPRoute default/models/0");
    press("\u{1b}");
    press("q");
    until("\u{1b}[?1049l");
    assert!(child.wait().unwrap().success());
    assert!(!shown.contains("\u{1b}[32m"), "no colour is wanted");
}
