//! The process as a whole, for the page and `pailou top`: counts, pools, and who may see them.

use pailou_e2e::client::{Call, Open, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::picker::Picker;
use pailou_e2e::{objects, wait};
use pailou_sim::{Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{instant, pool_of};

fn models(engines: &[&Sim]) -> Vec<Value> {
    let rules = json!([{"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]}]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", engines));
    list
}

async fn admin(gateway: &Gateway, path: &str) -> Reply {
    Call::get(path).host("localhost:15000").send(gateway.admin()).await
}

/// The first overview that is as wanted.
async fn overview(gateway: &Gateway, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        loop {
            let sample = admin(gateway, "/overview").await.json();
            if is_wanted(&sample) {
                return sample;
            }
            tokio::task::yield_now().await;
        }
    };
    wait::within("the overview shows it", found).await
}

/// Samples of a stream, one after the other.
struct Samples {
    stream: Open,
    text: String,
}

impl Samples {
    async fn open(gateway: &Gateway) -> Self {
        let stream = Call::get("/overview/stream").host("127.0.0.1").open(gateway.admin()).await;
        assert_eq!(stream.status, 200);
        Self { stream, text: String::new() }
    }

    /// The next one with its number.
    async fn next(&mut self) -> (u64, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let mut lines = event.lines();
                let number = lines.next().unwrap().strip_prefix("id: ").unwrap().parse().unwrap();
                assert_eq!(lines.next(), Some("event: sample"));
                let sample = serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap();
                self.text = rest.to_owned();
                return (number, sample);
            }
            let piece = self.stream.next().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

#[tokio::test]
async fn an_overview_counts_requests_by_status_fault_and_model() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).serve().await;
    for _ in 0..3 {
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    }
    assert_eq!(Call::chat("unknown", "hello").send(gateway.http()).await.status, 404);
    for sim in [&a, &b] {
        sim.faults().set([Fault::new(FaultKind::Status(503)).times(1)]);
    }
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 503);
    for sim in [&a, &b] {
        sim.faults().set([FaultKind::Reset(None).into()]);
    }
    assert!(Call::chat("qwen", "hello").send(gateway.http()).await.status.is_server_error());

    let sample = overview(&gateway, |sample| sample["requests"]["total"] == 6 && sample["requests"]["active"] == 0).await;
    assert_eq!(
        (&sample["schema"], &sample["kind"], &sample["ready"]),
        (&json!("pailou.overview/v1"), &json!("gateway"), &json!(true))
    );
    let requests = &sample["requests"];
    assert_eq!(
        (&requests["byStatus"]["2xx"], &requests["byStatus"]["5xx"], &requests["unrouted"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!((&requests["byFault"]["client"], &requests["byFault"]["backend"]), (&json!(1), &json!(2)), "{requests}");
    assert_eq!(requests["flags"]["NR"], 1);
    let duration = &sample["latency"]["duration"];
    assert_eq!((&duration["count"], duration["counts"].as_array().unwrap().last()), (&json!(5), Some(&json!(5))));
    assert_eq!(duration["counts"].as_array().unwrap().len(), duration["bounds"].as_array().unwrap().len() + 1);
    assert!(sample["latency"]["overhead"]["count"].as_u64() >= Some(5), "{sample}");
    assert!(sample["tokens"]["output"].as_u64() > Some(0), "{sample}");
    let model = &sample["models"][0];
    assert_eq!((&model["model"], &model["requests"], &model["errors"]), (&json!("qwen"), &json!(5), &json!(2)));
    let pool = &sample["pools"][0];
    assert_eq!((&pool["name"], &pool["backend"]), (&json!("default/qwen"), &json!("pool/default/qwen")));
    let endpoints = pool["endpoints"].as_array().unwrap();
    let sent: u64 = endpoints.iter().map(|endpoint| endpoint["requests"].as_u64().unwrap()).sum();
    assert!(endpoints.len() == 2 && sent >= 6, "five requests, and a further attempt of one: {pool}");
}

#[tokio::test]
async fn an_engine_s_own_errors_are_its_fault_and_no_first_tokens() {
    let sim = instant("a", "qwen").await;
    let filters = json!([{"type": "ExtensionRef", "extensionRef": {"group": "gateway.envoyproxy.io", "kind": "HTTPRouteFilter", "name": "closed"}}]);
    let mut list = models(&[&sim]);
    list.push(objects::route("closed", json!([{"matches": [{"path": {"value": "/closed"}}], "filters": filters}])));
    list.push(json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "HTTPRouteFilter", "metadata": {"name": "closed", "namespace": "default"},
        "spec": {"directResponse": {"statusCode": 503}},
    }));
    let gateway = Setup::with(list).serve().await;
    sim.faults().set([FaultKind::Status(500).into()]);
    for _ in 0..2 {
        assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 500);
    }
    sim.faults().set([FaultKind::Status(422).into()]);
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 422);
    assert_eq!(Call::get("/closed").send(gateway.http()).await.status, 503);
    let sample = overview(&gateway, |sample| sample["requests"]["total"] == 4 && sample["requests"]["active"] == 0).await;
    let requests = &sample["requests"];
    assert_eq!(requests["flags"], json!({}));
    let faults = json!({"backend": 2, "client": 1, "gateway": 1, "endpointPicker": 0, "externalProcessor": 0});
    assert_eq!(requests["byFault"], faults);
    assert_eq!((&sample["latency"]["ttft"]["count"], &sample["models"][0]["ttft"]["count"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn a_model_has_one_row_whatever_is_asked_of_it() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).serve().await;
    let completion = || Call::json("/v1/completions", json!({"model": "qwen", "prompt": "hello"}).to_string());
    for call in [Call::chat("qwen", "hello"), completion(), completion()] {
        assert_eq!(call.send(gateway.http()).await.status, 200);
    }
    let sample = overview(&gateway, |sample| sample["requests"]["total"] == 3 && sample["requests"]["active"] == 0).await;
    let rows = sample["models"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["requests"], &rows[0]["ttft"]["count"]), (1, &json!(3), &json!(3)), "{rows:?}");
    assert!(sample["modelsOmitted"].is_null() && rows[0]["outputTokens"].as_u64() > Some(2), "{rows:?}");
}

#[tokio::test]
async fn an_engine_that_dies_is_seen_to_have_trouble() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).serve().await;
    let state =
        |sample: &Value, place: usize| sample["pools"][0]["endpoints"][place]["state"].as_str().unwrap_or_default().to_owned();
    overview(&gateway, |sample| state(sample, 0) == "ready" && state(sample, 1) == "ready").await;
    b.stop().await;
    let sample = overview(&gateway, |sample| matches!(&*state(sample, 1), "stale" | "failing")).await;
    assert_eq!(state(&sample, 0), "ready");
    let sample = overview(&gateway, |sample| sample["pools"][0]["endpoints"][1]["problem"].is_string()).await;
    assert!(sample["pools"][0]["endpoints"][0]["problem"].is_null(), "{sample}");
}

#[tokio::test]
async fn viewers_share_the_samples_and_are_no_more_than_sixteen() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).serve().await;
    let mut first = Samples::open(&gateway).await;
    let (number, sample) = first.next().await;
    assert_eq!((number, &sample["schema"]), (1, &json!("pailou.overview/v1")));
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    let seen = async { while first.next().await.1["requests"]["total"] != 1 {} };
    wait::within("the request is seen", seen).await;
    // One that comes later gets what there was before.
    let mut second = Samples::open(&gateway).await;
    assert_eq!(second.next().await, (1, sample));
    let mut others = Vec::new();
    for _ in 2..16 {
        others.push(Samples::open(&gateway).await);
    }
    let open = || Call::get("/overview/stream").host("127.0.0.1").open(gateway.admin());
    assert_eq!(open().await.status, 503);
    drop(others);
    let free = async { while open().await.status != 200 {} };
    wait::within("a place is free again", free).await;
}

#[tokio::test]
async fn the_page_is_for_everybody_who_reaches_it_and_the_data_for_those_with_the_token() {
    let setup = Setup::with(models(&[]));
    let token = setup.aside("token", "a-token-of-the-operator\n");
    let gateway = setup.args(["--admin-token-file", token.to_str().unwrap()]).serve().await;
    let by_name = |path: &str| Call::get(path).host("pailou.test:15000").header("accept", "text/html");
    for (path, status) in [("/", 200), ("/ui/app.js", 200), ("/overview", 401), ("/overview/stream", 401), ("/routes", 401)] {
        assert_eq!(by_name(path).send(gateway.admin()).await.status, status, "{path}");
    }
    let bearer = by_name("/overview").header("authorization", "Bearer a-token-of-the-operator");
    assert_eq!(bearer.send(gateway.admin()).await.status, 200);
    let page = Call::get("/").host("127.0.0.1").header("accept", "text/html").header("accept-encoding", "gzip");
    let page = page.send(gateway.admin()).await;
    assert_eq!((page.status.as_u16(), page.header("content-encoding"), page.header("x-frame-options")), (200, "gzip", ""));
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"), "{:?}", page.headers);
    let ask = |authorization: &str| Call::get("/overview").host("127.0.0.1").header("authorization", authorization);
    assert_eq!(admin(&gateway, "/overview").await.status, 401);
    assert_eq!(ask("Bearer another-token-of-nobody").send(gateway.admin()).await.status, 401);
    assert_eq!(ask("Bearer a-token-of-the-operator").send(gateway.admin()).await.status, 200);
    for path in ["/status", "/limits"] {
        assert_eq!(admin(&gateway, path).await.status, 401, "{path}");
        let with = Call::get(path).host("127.0.0.1").header("authorization", "Bearer a-token-of-the-operator");
        assert_eq!(with.send(gateway.admin()).await.status, 200, "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(Call::get(path).host("probes.test").send(gateway.admin()).await.status, 200, "{path}");
    }
    assert_eq!(Call::get("/metrics").host("rebound.test").send(gateway.admin()).await.status, 421);
    let from_a_page = Call::get("/overview").host("localhost").header("sec-fetch-site", "cross-site");
    assert_eq!(from_a_page.send(gateway.admin()).await.status, 403);
}

#[tokio::test]
async fn routes_come_page_by_page_with_conditions_and_counts() {
    let sim = instant("a", "qwen").await;
    let mut list = models(&[&sim]);
    for number in 0..60 {
        let path = json!({"path": {"type": "PathPrefix", "value": format!("/part-{number}")}});
        let to = if number == 7 { json!({"name": "nowhere", "port": 80}) } else { objects::to_pool("qwen") };
        list.push(objects::route(&format!("part-{number:02}"), json!([{"matches": [path], "backendRefs": [to]}])));
    }
    let gateway = Setup::with(list).serve().await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    assert_eq!(Call::get("/part-7/x").send(gateway.http()).await.status, 500);

    let mut names = Vec::new();
    let mut next = Some(0);
    while let Some(offset) = next {
        let page = admin(&gateway, &format!("/routes?limit=25&offset={offset}")).await.json();
        assert_eq!(page["total"], 61);
        names.extend(page["routes"].as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap().to_owned()));
        next = page["next"].as_u64();
    }
    assert_eq!((names.len(), &*names[0], &*names[60]), (61, "default/models", "default/part-59"));

    let models = admin(&gateway, "/routes?search=model+%3D+QWEN").await.json();
    let route = &models["routes"][0];
    assert_eq!((&models["total"], &route["name"], &route["kind"]), (&json!(1), &json!("default/models"), &json!("HTTPRoute")));
    let rule = &route["rules"][0];
    assert_eq!((&rule["matches"], &rule["backends"]), (&json!(["path /*, model = qwen"]), &json!(["pool/default/qwen"])));
    assert_eq!((&rule["name"], &rule["hostnames"]), (&json!("default/models/0"), &json!([])));
    overview(&gateway, |sample| sample["requests"]["total"] == 2).await;
    let rule = |page: Value| page["routes"][0]["rules"][0].clone();
    let counted = rule(admin(&gateway, "/routes?search=default/models").await.json());
    assert_eq!((&counted["requests"], &counted["errors"], &counted["ttft"]["count"]), (&json!(1), &json!(0), &json!(1)));

    let broken = admin(&gateway, "/routes?search=part-07").await.json();
    assert_eq!(rule(broken.clone())["errors"], 1);
    let route = &broken["routes"][0];
    assert_eq!(route["severity"], "error");
    let condition = route["conditions"].as_array().unwrap().iter().find(|it| it["type"] == "ResolvedRefs").unwrap();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("BackendNotFound")), "{route}");
    assert!(route["rules"][0]["backends"][0].as_str().unwrap().starts_with("500: "), "{route}");
    let problems = admin(&gateway, "/routes?problems=1").await.json();
    assert_eq!((&problems["total"], &problems["routes"][0]["name"]), (&json!(1), &json!("default/part-07")));
    let objects = admin(&gateway, "/objects?search=gateway%20default").await.json();
    let object = &objects["objects"][0];
    assert_eq!((&object["kind"], &object["name"], &object["severity"]), (&json!("Gateway"), &json!("default/gw"), &json!("note")));
    let of_objects = admin(&gateway, "/objects?problems=1").await.json()["total"].as_u64().unwrap();
    let sample = admin(&gateway, "/overview").await.json();
    assert!(sample["problems"].as_u64().unwrap() > of_objects, "the route, and problems of files: {sample}");
}

#[tokio::test]
async fn a_picker_shows_its_pool_and_says_what_it_does_not_know() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let picker = Picker::serve("qwen", pool_of("qwen", &[&a, &b]), &[]).await;
    let gateway = crate::picker::gateway(&[&a, &b], &picker, "FailClose", []).await;
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    let ask = || Call::get("/overview").host("localhost").send(picker.admin());
    let counted = async {
        loop {
            let sample = ask().await.json();
            if sample["requests"] == json!({"active": 0, "total": 1, "byStatus": {}, "byFault": {}, "flags": {}, "unrouted": 0}) {
                return sample;
            }
            tokio::task::yield_now().await;
        }
    };
    let sample = wait::within("the pick is counted", counted).await;
    assert_eq!((&sample["kind"], &sample["picks"]), (&json!("picker"), &json!({"picked": 1})));
    assert_eq!((&sample["pools"][0]["name"], sample.get("latency")), (&json!("default/qwen"), None));
    let endpoints = sample["pools"][0]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.iter().map(|endpoint| endpoint["requests"].as_u64().unwrap()).sum::<u64>(), 1);
    assert!(sample["unknown"].as_str().unwrap().contains("gateway"), "{sample}");
    assert_eq!(Call::get("/try").host("localhost").send(picker.admin()).await.status, 404);
}
