//! The chart's dashboards and alerts: every expression, in a real Prometheus that scrapes a gateway under load.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use pailou_e2e::client::{Call, Reply};
use pailou_e2e::gateway::{Gateway, HTTP, Setup};
use pailou_e2e::prometheus::Prometheus;
use pailou_e2e::{address, objects, python, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::selfsigned::Authority;
use pailou_sim::{Config, Sim};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{engine, everything_to, pool_of};

/// Port of the listener for TLS.
const HTTPS: u16 = 8443;

/// Expressions without data in a gateway that has not what they show: board, panel, and their legends, or all of the panel's.
const WITHOUT_DATA: [(&str, &str, &[&str]); 10] = [
    // No admission control, no traces, no access logs of EnvoyProxies, no metrics by OTLP.
    ("errors", "Circuit breakers", &["{{breaker}} admission control"]),
    (
        "overview",
        "Losses of telemetry",
        &["access logs of EnvoyProxies, {{sink}}: {{reason}}", "messages of metrics: {{reason}}", "spans: {{reason}}"],
    ),
    // No external picker, no `pailou picker`, nothing beside the gateway that counts limits.
    ("overview", "Refused or broken off, by whose doing", &["endpoint picker"]),
    ("errors", "By the endpoint picker", &[]),
    ("errors", "Endpoint pickers", &[]),
    ("errors", "Store of limits, rate limit service", &[]),
    // Engines without KV events, and none that prefills alone.
    ("pool", "Blocks in the prefix index", &["{{backend}}, by KV events"]),
    ("pool", "Engines' KV events", &[]),
    ("pool", "Questions for tokens of prompts", &[]),
    ("pool", "Prefills", &[]),
];

fn deploy(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(path).canonicalize().expect("the file is there")
}

fn boards() -> BTreeMap<&'static str, Value> {
    let read = |name| (name, std::fs::read_to_string(deploy(&format!("chart/dashboards/{name}.json"))).unwrap());
    let all = ["overview", "models", "pool", "errors"].map(read);
    all.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())).collect()
}

/// An expression of a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Expression<'a> {
    board: &'a str,
    panel: &'a str,
    legend: &'a str,
    text: &'a str,
}

impl Expression<'_> {
    /// Whether it needs what the gateway under test has not.
    fn is_without_data(&self) -> bool {
        let is_it = |(board, panel, legends): &(&str, &str, &[&str])| {
            (*board, *panel) == (self.board, self.panel) && (legends.is_empty() || legends.contains(&self.legend))
        };
        WITHOUT_DATA.iter().any(is_it)
    }

    /// As Grafana sends it, without the 0 that it has in place of nothing.
    fn query(&self) -> String {
        filled(self.text.strip_suffix(" or vector(0)").unwrap_or(self.text))
    }
}

/// Expressions of all panels.
fn expressions<'a>(boards: &'a BTreeMap<&'static str, Value>) -> impl Iterator<Item = Expression<'a>> {
    boards.iter().flat_map(|(name, board)| {
        let panels = board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row");
        panels.flat_map(move |panel| {
            let text = |value: &'a Value| value.as_str().unwrap();
            panel["targets"].as_array().unwrap().iter().map(move |target| Expression {
                board: name,
                panel: text(&panel["title"]),
                legend: text(&target["legendFormat"]),
                text: text(&target["expr"]),
            })
        })
    })
}

/// An engine that takes a little for each token.
async fn slow(name: &str) -> Sim {
    let cost = CostModel { step_us: 5_000.0, ..CostModel::instant() };
    engine(Config { cost, max_num_seqs: 4, ..Config::new(name, ["qwen"]) }).await
}

/// A gateway with something of all that the dashboards show.
async fn gateway(engines: &[&Sim]) -> Gateway {
    let nobody = SocketAddr::from((address::loopback(), 1));
    let mut gateway = objects::listeners(json!([
        {"name": "http", "protocol": "HTTP", "port": HTTP},
        {"name": "https", "protocol": "HTTPS", "port": HTTPS, "tls": {"certificateRefs": [{"name": "https"}]}},
    ]));
    let certificate = Authority::new().unwrap().issue(&["gateway.test"]).unwrap();
    gateway["metadata"]["annotations"] = json!({"pailou.dev/model-prices": "prices"});
    let prices = json!({"qwen": {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5, "mode": "chat"}});
    let mut list = vec![
        gateway,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices"},
            "data": {"model_prices_and_context_window.json": prices.to_string()}}),
        objects::host_route("chat", &["gateway.test"], everything_to(objects::to_pool("qwen"))),
        objects::host_route("one", &["one.test"], everything_to(objects::to_pool("qwen"))),
        objects::on_route(
            "BackendTrafficPolicy",
            "one",
            json!({"faultInjection": {"abort": {"httpStatus": 503, "percentage": 100}}}),
        ),
        objects::tls_secret("https", &certificate),
        objects::backend("nobody", &[nobody]),
        objects::host_route("nobody", &["nobody.test"], everything_to(objects::to_backend("nobody"))),
        objects::on_route(
            "BackendTrafficPolicy",
            "nobody",
            json!({"healthCheck": {
                "passive": {"consecutive5XxErrors": 1, "baseEjectionTime": "300s", "maxEjectionPercent": 100},
                "active": {"type": "HTTP", "http": {"path": "/"}, "interval": "1s"},
                "panicThreshold": 100,
            }}),
        ),
        objects::backend("engine", &[engines[0].addr()]),
        objects::host_route("narrow", &["narrow.test"], everything_to(objects::to_backend("engine"))),
        objects::on_route(
            "BackendTrafficPolicy",
            "narrow",
            json!({"circuitBreaker": {"maxParallelRequests": 1, "maxPendingRequests": 0}}),
        ),
        objects::host_route("limited", &["limited.test"], everything_to(objects::to_backend("engine"))),
        objects::on_route(
            "BackendTrafficPolicy",
            "limited",
            json!({"rateLimit": {"type": "Local", "local": {"rules": [{"limit": {"requests": 1, "unit": "Hour"}}]}}}),
        ),
        objects::host_route("processed", &["processed.test"], everything_to(objects::to_backend("engine"))),
        objects::on_route(
            "EnvoyExtensionPolicy",
            "processed",
            json!({"extProc": [{"backendRefs": [objects::to_backend("nobody")], "processingMode": {"request": {}}}]}),
        ),
    ];
    let mut pool = pool_of("qwen", engines);
    pool[0]["metadata"]["annotations"] = json!({"pailou.dev/queueing": "true", "pailou.dev/queue-max-concurrency": "2"});
    list.extend(pool);
    let names = ["--metric-names", "inference-pool,inference-objective,inference-extension,llm-d,http,envoy-gateway,ack"];
    Setup::with(list).args(names).serve().await
}

/// Sends something of each sort.
async fn send(to: SocketAddr) {
    let prompt = "a prompt that is long enough for some blocks of a prefix, and the same in each round ".repeat(8);
    let mut calls = Vec::new();
    for _ in 0..6 {
        let stream = Call::chat_stream("qwen", &prompt, 20);
        calls.push(stream.header("x-llm-d-slo-ttft-ms", "60000").header("x-llm-d-slo-tpot-ms", "60000"));
    }
    calls.extend([Call::chat("qwen", &prompt), Call::chat("unknown", "hello"), Call::get("/").host("elsewhere.test")]);
    calls.extend([Call::chat("qwen", "hello").host("one.test"), Call::chat("qwen", "hello").host("nobody.test")]);
    calls.extend([(); 3].map(|()| Call::chat_stream("qwen", "hello", 20).host("narrow.test")));
    calls.extend([Call::chat("qwen", "hello").host("processed.test"), Call::chat("qwen", "hello").host("limited.test")]);
    let mut under_way = tokio::task::JoinSet::new();
    for call in calls {
        under_way.spawn(call.try_send(to));
    }
    for port in [HTTP, HTTPS] {
        under_way.spawn(no_request(SocketAddr::new(to.ip(), port)));
    }
    under_way.join_all().await;
}

/// Sends what is neither a request nor a greeting of TLS.
async fn no_request(to: SocketAddr) -> std::io::Result<Reply> {
    let mut stream = tokio::net::TcpStream::connect(to).await?;
    stream.write_all(b"no request\r\n\r\n").await?;
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await?;
    Err(std::io::ErrorKind::Other.into())
}

/// An expression as Grafana sends it.
fn filled(expression: &str) -> String {
    let values = [("$__rate_interval", "8s"), ("$__range", "30s"), ("$job", ".*"), ("$model", ".*"), ("$backend", ".*")];
    values.iter().fold(expression.to_owned(), |all, (name, value)| all.replace(name, value))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_alert_finds_its_metrics_in_a_gateway_under_load() {
    let engines = [slow("a").await, slow("b").await];
    let gateway = gateway(&engines.each_ref()).await;
    let rules = deploy("chart/rules/pailou.yaml");
    let Some(prometheus) = Prometheus::scrape(&[gateway.admin()], &rules).await else { return };
    let to = gateway.http();
    let load = tokio::spawn(async move {
        loop {
            send(to).await;
        }
    });
    let boards = boards();
    let mut missing: BTreeSet<_> = expressions(&boards).collect();
    let searching = async {
        while missing.iter().any(|it| !it.is_without_data()) {
            for expression in missing.clone() {
                if !prometheus.values(&expression.query()).await.is_empty() {
                    missing.remove(&expression);
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    if tokio::time::timeout(wait::WAIT_TIMEOUT * 2, searching).await.is_err() {
        missing.retain(|it| !it.is_without_data());
        panic!("expressions without data: {missing:#?}\n{}", gateway.stderr());
    }
    let rules = prometheus.api("rules", &[]).await;
    for rule in rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    load.abort();
    for board in boards.values() {
        for variable in board["templating"]["list"].as_array().unwrap().iter().filter(|it| it["type"] == "query") {
            let query = filled(variable["query"]["query"].as_str().unwrap());
            let inner = query.strip_prefix("label_values(").and_then(|it| it.strip_suffix(')')).unwrap();
            let (series, label) = inner.rsplit_once(", ").unwrap();
            assert!(!prometheus.values(&format!("count by ({label}) ({series})")).await.is_empty(), "{query}");
        }
    }
}

/// Names of our metrics in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
    words.filter(|word| word.starts_with("pailou_") || word.starts_with("gen_ai_") && word.matches('_').count() > 3)
}

#[test]
fn every_metric_of_dashboards_and_alerts_is_documented() {
    let reference = std::fs::read_to_string(deploy("../docs/reference/metrics.md")).unwrap();
    let boards = boards();
    let rules = std::fs::read_to_string(deploy("chart/rules/pailou.yaml")).unwrap();
    let texts = expressions(&boards).map(|expression| expression.text);
    for name in texts.chain([rules.as_str()]).flat_map(names) {
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let is_label =
            ["gen_ai_original_model", "gen_ai_request_model", "gen_ai_token_type", "gen_ai_provider_name"].contains(&name);
        let is_there = [format!("{family}`"), format!("{family}{{")].iter().any(|it| reference.contains(it.as_str()));
        assert!(is_there || is_label, "{name}");
    }
}

#[test]
fn each_flag_is_shown_beside_those_of_the_same_cause() {
    let errors = std::fs::read_to_string(deploy("../docs/reference/errors.md")).unwrap();
    let boards = boards();
    let of_errors = expressions(&boards).filter(|it| it.board == "errors");
    let shown: BTreeMap<_, _> = of_errors.filter_map(|it| Some((it.panel.strip_prefix("By the ")?, it.text))).collect();
    let rows = errors.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 3);
    let mut flags = BTreeSet::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let (flag, cause) = (cells[0].trim_matches('`'), cells[3].trim());
        let expression = shown[cause];
        assert!(expression.split(['"', '|']).any(|it| it == flag), "{flag} of the {cause}: {expression}");
        flags.insert(flag);
    }
    assert!(flags.len() > 20, "{flags:?}");
}

#[test]
fn alerts_keep_to_their_unit_tests_and_have_runbooks() {
    let guide = std::fs::read_to_string(deploy("../docs/guides/dashboards.md")).unwrap();
    let rules = std::fs::read_to_string(deploy("chart/rules/pailou.yaml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    for alert in alerts {
        assert!(guide.contains(&format!("### {alert}\n")), "{alert}");
        assert!(rules.contains(&format!("#{}\n", alert.to_lowercase())), "{alert}");
    }
    let Some(promtool) = python::program("promtool") else { return };
    for arguments in [["check", "rules"], ["test", "rules"]] {
        let file = deploy(if arguments[0] == "check" { "chart/rules/pailou.yaml" } else { "tests/alerts.yaml" });
        let output = Command::new(&promtool).args(arguments).arg(file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}
