//! A real Prometheus, as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::client::Call;
use crate::{address, limit_store, python, wait};

/// A running Prometheus. Dropping it kills it, and removes what it has stored.
pub struct Prometheus {
    address: SocketAddr,
    child: Child,
    directory: PathBuf,
}

impl Prometheus {
    /// One that scrapes these addresses each second as the job `pailou`, and evaluates these rules; `None` where it is not installed.
    pub async fn scrape(targets: &[SocketAddr], rules: &Path) -> Option<Self> {
        let program = python::program("prometheus")?;
        let directory = limit_store::directory();
        let targets: Vec<_> = targets.iter().map(ToString::to_string).collect();
        let config = serde_json::json!({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "pailou", "static_configs": [{"targets": targets}]}],
        });
        let file = directory.join("prometheus.yaml");
        std::fs::write(&file, config.to_string()).expect("the configuration can be written");
        let address = SocketAddr::from((address::loopback(), 9090));
        let mut command = Command::new(program);
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
        command.args([format!("--web.listen-address={address}"), "--log.level=error".to_owned()]);
        command.args(["--enable-feature=exemplar-storage"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("Prometheus can be started");
        let prometheus = Self { address, child, directory };
        let ready = async {
            while !Call::get("/-/ready").try_send(address).await.is_ok_and(|reply| reply.status == 200) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        wait::within("Prometheus is ready", ready).await;
        Some(prometheus)
    }

    /// Answer of its API; `query` is percent-encoded here.
    pub async fn api(&self, path: &str, query: &[(&str, &str)]) -> Value {
        let form: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let call = Call::get(&format!("/api/v1/{path}?{}", form.join("&")));
        let reply = call.send(self.address).await;
        let answer: Value = serde_json::from_str(&reply.text()).expect("Prometheus answers in JSON");
        assert_eq!(answer["status"], "success", "{path} {query:?}: {answer}");
        answer["data"].clone()
    }

    /// Values of an expression now, of which none is no number.
    pub async fn values(&self, expression: &str) -> Vec<f64> {
        let data = self.api("query", &[("query", expression)]).await;
        let rows = data["result"].as_array().cloned().unwrap_or_default();
        let values = rows.iter().filter_map(|row| row["value"][1].as_str()?.parse::<f64>().ok());
        values.filter(|value| !value.is_nan()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() {
            all.push(byte.into());
        } else {
            all.push_str(&format!("%{byte:02X}"));
        }
        all
    })
}
