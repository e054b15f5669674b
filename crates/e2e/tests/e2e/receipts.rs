//! Routing receipts: why a request went where it went, and nothing of what it said.

use pailou_e2e::client::{Call, Reply};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::{binary, objects, wait};
use pailou_sim::{Fault, FaultKind, Sim};
use serde_json::{Value, json};

use crate::support::{instant, pool_of};

fn models(engines: &[&Sim]) -> Vec<Value> {
    let team =
        json!({"path": {"type": "PathPrefix", "value": "/v1"}, "headers": [{"name": "x-team", "value": "red-header-value"}]});
    let rules = json!([
        {"matches": [team], "backendRefs": [objects::to_pool("qwen")]},
        {"matches": [objects::by_model("other")], "backendRefs": [objects::to_pool("qwen")]},
        {"matches": [objects::by_model("qwen")], "backendRefs": [objects::to_pool("qwen")]},
    ]);
    let mut list = vec![objects::gateway(), objects::route("models", rules)];
    list.extend(pool_of("qwen", engines));
    list
}

async fn admin(gateway: &Gateway, path: &str) -> Reply {
    Call::get(path).host("localhost:15000").send(gateway.admin()).await
}

/// The receipt of a request, once it has ended.
pub(crate) async fn receipt(gateway: &Gateway, id: &str) -> Value {
    let found = async {
        loop {
            let reply = admin(gateway, &format!("/receipts/{id}")).await;
            if reply.status == 200 {
                return reply.json();
            }
            tokio::task::yield_now().await;
        }
    };
    wait::within("the receipt is kept", found).await
}

#[tokio::test]
async fn a_receipt_tells_of_rules_candidates_and_attempts() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "1"]).serve().await;
    let reply = Call::chat("qwen", "hello").header("x-request-id", "whole").send(gateway.http()).await;
    assert_eq!((reply.status.as_u16(), reply.header("x-pailou-receipt"), reply.header("server-timing")), (200, "", ""));
    let receipt_of_one = receipt(&gateway, "whole").await;
    assert_eq!(receipt_of_one["schema"], "pailou.receipt/v1");
    assert_eq!((&receipt_of_one["kept"], &receipt_of_one["status"]), (&json!("sampled"), &json!(200)));
    let rule = &receipt_of_one["rule"];
    assert_eq!(rule["matched"], "HTTPRoute default/models/2", "{receipt_of_one}");
    let why = |rule: &Value| (rule["rule"].clone(), rule["why"].clone());
    assert_eq!(
        rule["beaten"].as_array().unwrap().iter().map(why).collect::<Vec<_>>(),
        [
            (json!("HTTPRoute default/models/0"), json!("the header x-team is missing or has another value")),
            (json!("HTTPRoute default/models/1"), json!("the model is another, or none")),
        ]
    );
    let pick = &receipt_of_one["pick"];
    assert_eq!((&pick["pool"], &pick["judged"]), (&json!("default/qwen"), &json!(2)));
    let names: Vec<_> = pick["candidates"].as_array().unwrap().iter().map(|it| it["endpoint"].as_str().unwrap()).collect();
    assert_eq!(pick["chosen"], names[0]);
    assert_eq!(pick["runner_up"], names[1]);
    assert!(pick["why"].is_string() && receipt_of_one["cache"]["predicted"].is_u64(), "{receipt_of_one}");
    let attempt = &receipt_of_one["attempts"][0];
    assert_eq!((&attempt["endpoint"], &attempt["result"]), (&pick["chosen"], &json!(200)));
    let time = |name: &str| attempt[name].as_f64().unwrap();
    assert!(time("start") <= time("head") && time("head") <= time("first_content") && time("first_content") <= time("end"));
    assert!(receipt_of_one["usage"]["output"].as_u64() > Some(0) && receipt_of_one["timing"]["ttft"].is_f64());
    assert!(receipt_of_one.to_string().len() < 2048);
}

#[tokio::test]
async fn failed_and_retried_requests_are_kept_without_sampling() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "0", "--receipts-headers"]).serve().await;
    let ordinary = Call::chat("qwen", "hello").header("x-request-id", "ordinary").send(gateway.http()).await;
    assert_eq!((ordinary.status.as_u16(), ordinary.header("x-pailou-receipt")), (200, ""));
    assert!(ordinary.header("server-timing").contains("overhead;dur="), "{:?}", ordinary.headers);

    for sim in [&a, &b] {
        sim.faults().set([Fault::new(FaultKind::Status(503)).times(1)]);
    }
    let failed = Call::chat("qwen", "hello").header("x-request-id", "failed").send(gateway.http()).await;
    assert_eq!((failed.status.as_u16(), failed.header("x-pailou-receipt")), (503, "failed"));
    let told = receipt(&gateway, "failed").await;
    assert_eq!((&told["kept"], &told["attempts_made"]), (&json!("failed"), &json!(2)), "{told}");
    let attempts = told["attempts"].as_array().unwrap();
    assert_eq!(attempts.iter().map(|it| it["result"].as_u64()).collect::<Vec<_>>(), [Some(503), Some(503)]);
    assert_eq!(told["timing"].get("ttft"), None, "an error is no first token: {told}");
    let line = gateway.logged("the request's line", |line| line["request_id"] == "failed").await;
    assert_eq!((&line["status"], line.get("ttft_ms")), (&json!(503), None), "{line}");
    assert_ne!(attempts[0]["endpoint"], attempts[1]["endpoint"]);
    assert_eq!((&told["pick"]["chosen"], &told["pick"]["why"]), (&attempts[1]["endpoint"], &json!("those before it failed")));

    let unknown = Call::chat("unknown", "hello").header("x-request-id", "unknown").send(gateway.http()).await;
    assert_eq!(unknown.status, 404);
    let told = receipt(&gateway, "unknown").await;
    assert_eq!((&told["flag"], &told["rule"]["matched"], &told["attempts"]), (&json!("NR"), &Value::Null, &json!([])));

    // All three have ended by now.
    assert_eq!(admin(&gateway, "/receipts/ordinary").await.status, 404);
    let ids = |list: &Value| list["receipts"].as_array().unwrap().iter().map(|it| it["request_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&admin(&gateway, "/receipts").await.json()), ["unknown", "failed"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?status=5xx").await.json()), ["failed"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?flag=NR&limit=5").await.json()), ["unknown"]);
    assert_eq!(ids(&admin(&gateway, "/receipts?model=qwen").await.json()), ["failed"]);
    assert_eq!(admin(&gateway, "/receipts?status=bad").await.status, 400);
    assert_eq!(gateway.metric("pailou_receipts_kept_total", &[]).await, 2.0);
}

#[tokio::test]
async fn receipts_hold_no_prompt_no_header_and_no_credential() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let call = |id: &str, model: &str| {
        Call::chat(model, "my-prompt-text")
            .header("x-request-id", id)
            .header("authorization", "Bearer my-bearer-token")
            .header("x-api-key", "my-api-key")
            .header("cookie", "session=my-cookie")
            .header("x-team", "red-header-value")
            .header("user-agent", "my-user-agent")
    };
    assert_eq!(call("served", "qwen").send(gateway.http()).await.status, 200);
    assert_eq!(call("unrouted", "unknown").header("x-team", "blue").send(gateway.http()).await.status, 404);
    sim.faults().set([FaultKind::Reset(None).into()]);
    assert!(call("broken", "qwen").send(gateway.http()).await.status.is_server_error());
    let get = Call::get("/nowhere?key=my-query").header("x-request-id", "get").header("authorization", "Bearer my-bearer-token");
    assert_eq!(get.send(gateway.http()).await.status, 404);
    receipt(&gateway, "get").await;
    let all = admin(&gateway, "/receipts").await;
    assert_eq!(all.json()["receipts"].as_array().unwrap().len(), 4);
    for secret in ["my-", "red-header-value", "blue", "Bearer"] {
        assert!(!all.text().contains(secret), "{secret}: {}", all.text());
    }
}

#[tokio::test]
async fn a_viewer_follows_and_there_are_no_more_than_sixteen() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let open = || Call::get("/receipts/stream").host("127.0.0.1").open(gateway.admin());
    let mut first = open().await;
    assert_eq!(first.status, 200);
    first.next().await.unwrap().unwrap();
    assert_eq!(Call::chat("qwen", "hello").header("x-request-id", "seen").send(gateway.http()).await.status, 200);
    let event = String::from_utf8(first.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.starts_with("id: 1\nevent: receipt\ndata: {") && event.contains("\"request_id\":\"seen\""), "{event}");
    // One that comes back gets what it has missed.
    let again = Call::get("/receipts/stream").host("127.0.0.1").header("last-event-id", "0").open(gateway.admin());
    let mut again = again.await;
    again.next().await.unwrap().unwrap();
    let event = String::from_utf8(again.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert!(event.contains("\"request_id\":\"seen\""), "{event}");
    let mut others = Vec::new();
    for _ in 2..16 {
        let viewer = open().await;
        assert_eq!(viewer.status, 200);
        others.push(viewer);
    }
    assert_eq!(open().await.status, 503);
    drop(others);
    let free = async { while open().await.status != 200 {} };
    wait::within("a place is free again", free).await;
}

#[tokio::test]
async fn a_stream_goes_on_where_a_list_ends_and_counts_what_its_filter_leaves_out() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "1"]).serve().await;
    let chat = || Call::chat("qwen", "hello").send(gateway.http());
    assert_eq!(chat().await.status, 200);
    let listed = async {
        while admin(&gateway, "/receipts").await.json()["last"] != 1 {
            tokio::task::yield_now().await;
        }
    };
    wait::within("the receipt is there", listed).await;
    let filtered = admin(&gateway, "/receipts?status=404").await.json();
    assert_eq!((&filtered["last"], filtered["receipts"].as_array().map(Vec::len)), (&json!(1), Some(0)));
    let mut stream = Call::get("/receipts/stream?status=404").host("127.0.0.1").open(gateway.admin()).await;
    let mut next = async || String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    assert_eq!(next().await, "retry: 2000\nid: 1\n\n");
    assert_eq!(chat().await.status, 200);
    assert_eq!(next().await, "id: 2\n\n");
}

#[tokio::test]
async fn names_that_lead_here_get_no_receipts_and_none_are_made_where_they_are_off() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts", "0"]).serve().await;
    for path in ["/receipts", "/receipts/stream", "/receipts/some"] {
        assert_eq!(Call::get(path).host("rebound.test:15000").send(gateway.admin()).await.status, 421);
        assert_eq!(admin(&gateway, path).await.status, 404);
    }
    let from_a_page = Call::get("/receipts").host("localhost").header("sec-fetch-site", "cross-site");
    assert_eq!(from_a_page.send(gateway.admin()).await.status, 403);
    assert_eq!(Call::chat("qwen", "hello").send(gateway.http()).await.status, 200);
    assert_eq!(gateway.metric("pailou_receipts_kept_total", &[]).await, 0.0);
}

/// Standard output and exit status of a command.
fn explain(arguments: &[&str]) -> (String, Option<i32>) {
    let output = std::process::Command::new(binary::path()).arg("explain").args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap(), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_explained_after_it_and_before_it_is_sent() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "1"]).serve().await;
    let address = gateway.admin().to_string();
    let url = format!("http://{}/v1/chat/completions", gateway.http());
    let body = json!({"model": "qwen", "messages": [{"role": "user", "content": "my-prompt ".repeat(400)}]}).to_string();

    let (text, status) = explain(&["--admin", &address, "-d", &body, &url]);
    assert!(text.contains("rule      HTTPRoute default/models/2  path /*, model = qwen"), "{text}");
    assert!(text.contains("HTTPRoute default/models/0  path /v1/*, header x-team: the header x-team is missing"), "{text}");
    assert!(
        text.contains("pool      default/qwen by prefix-cache") && text.contains("qwen-0") && text.contains("qwen-1"),
        "{text}"
    );
    assert_eq!(status, Some(0));
    assert_eq!(a.stats().requests + b.stats().requests, 0, "nothing was sent");

    let served = Call::json("/v1/chat/completions", body.clone()).header("x-request-id", "told").send(gateway.http()).await;
    let told = receipt(&gateway, "told").await;
    let (again, _) = explain(&["--admin", &address, "-d", &body, "-o", "json", &url]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["backends"][0]["pick"]["chosen"], told["pick"]["chosen"], "its prompt is cached there: {again}");
    assert_eq!((served.status.as_u16(), &again["backends"][0]["pick"]["why"]), (200, &json!("more of the prompt is cached there")));
    assert!(!again.to_string().contains("my-prompt"));
    let (picture, status) = explain(&["--admin", &address, "told"]);
    assert!(picture.starts_with("told  POST") && picture.contains("attempt 1 ") && status == Some(0), "{picture}");
    assert_eq!(explain(&["--admin", &address, "nobody"]).1, Some(1));

    let setup = Setup::new();
    let files = setup.aside("objects.yaml", &objects::documents(models(&[&a, &b])));
    let files = files.to_str().unwrap();
    let (text, status) = explain(&["-f", files, "-H", "x-team: red-header-value", "-d", &body, "http://any.test:8080/v1/x"]);
    assert!(text.contains("rule      HTTPRoute default/models/0") && status == Some(0), "{text}");
    assert!(text.contains("default/models/2  path /*, model = qwen: it matches too"), "{text}");
    assert!(text.contains("qwen-0") && !text.contains("red-header-value"), "{text}");
    let (text, status) = explain(&["-f", files, "-d", "{\"model\": \"none\"}", "http://any.test:8080/v2"]);
    assert!(text.contains("404: no rule matches") && status == Some(1), "{text}");
    let (text, status) = explain(&["-f", files, "http://any.test:9999/"]);
    assert!(text.contains("nothing listens at port 9999; there are 8080") && status == Some(1), "{text}");
}

#[tokio::test]
async fn explanations_are_guarded_and_bounded() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).serve().await;
    let document = |url: &str| json!({"url": url, "body": "{\"model\": \"qwen\"}"}).to_string();
    let post = |document: String| Call::json("/explain", document).host("127.0.0.1");
    let to = gateway.admin();
    assert_eq!(post(document("http://a.test:8080/v1")).send(to).await.status, 200);
    assert_eq!(post(document("http://a.test:8080/v1")).host("a.test").send(to).await.status, 421);
    assert_eq!(Call::get("/explain").host("127.0.0.1").send(to).await.status, 405);
    let plain = Call::post("/explain", document("http://a.test/")).host("127.0.0.1").header("content-type", "text/plain");
    assert_eq!(plain.send(to).await.status, 415);
    for wrong in ["{}".to_owned(), "[".to_owned(), document("a.test"), json!({"url": "http://a/", "method": "G T"}).to_string()] {
        assert_eq!(post(wrong.clone()).send(to).await.status, 400, "{wrong}");
    }
    let long = json!({"url": "http://a.test/", "body": "x".repeat(3 << 20)}).to_string();
    assert_eq!(post(long).send(to).await.status, 413);
}

#[tokio::test]
async fn the_next_request_that_meets_an_expression_is_traced_whole() {
    let [a, b] = [instant("a", "qwen").await, instant("b", "qwen").await];
    let gateway = Setup::with(models(&[&a, &b])).args(["--receipts-sample", "0"]).serve().await;
    let next = |expression: &str| {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Call::get(&format!("/receipts/next?expression={escaped}")).host("localhost").send(gateway.admin())
    };
    let wanted = next("request.method == 'POST' && request.headers['x-client'] == 'my-client'");
    let traffic = async {
        for turn in 0_u32.. {
            let call = |id: &str, client: &str| Call::chat("qwen", "hello").header("x-request-id", id).header("x-client", client);
            // The last of the others may be cut off, which is a reason for a receipt; the first has ended.
            for (id, client) in [(&*format!("other-{turn}"), "another"), ("wanted", "my-client")] {
                assert_eq!(call(id, client).send(gateway.http()).await.status, 200);
            }
        }
    };
    let told = tokio::select! { reply = wanted => reply, () = traffic => unreachable!("it never ends") };
    let told = told.json();
    assert_eq!((&told["request_id"], &told["kept"]), (&json!("wanted"), &json!("traced")), "{told}");
    assert_eq!(told["pick"]["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(told["rule"]["beaten"][0]["why"], "the header x-team is missing or has another value");
    assert!(!told.to_string().contains("my-client"));
    assert_eq!(admin(&gateway, "/receipts/other-0").await.status, 404);
    for wrong in ["request.nothing(", "nobody == 1"] {
        assert_eq!(next(wrong).await.status, 400, "{wrong}");
    }
    let unrouted = next("");
    let traffic = async {
        loop {
            assert_eq!(Call::get("/nowhere").send(gateway.http()).await.status, 404);
        }
    };
    let told = tokio::select! { reply = unrouted => reply, () = traffic => unreachable!("it never ends") };
    assert_eq!((&told.json()["kept"], &told.json()["flag"]), (&json!("traced"), &json!("NR")));
}

#[tokio::test]
async fn a_client_that_leaves_while_it_waits_has_a_receipt_with_the_endpoint_that_was_silent() {
    let sim = instant("a", "qwen").await;
    let gateway = Setup::with(models(&[&sim])).args(["--receipts-sample", "0"]).serve().await;
    sim.faults().set([FaultKind::Stall(None).into()]);
    let call = Call::chat("qwen", "hello").header("x-request-id", "impatient").send(gateway.http());
    let reached = wait::eventually("the engine has the request", || sim.stats().requests > 0);
    tokio::select! { _ = call => unreachable!("it is not answered"), () = reached => {} }
    let told = receipt(&gateway, "impatient").await;
    assert_eq!((&told["flag"], &told["pick"]["chosen"]), (&json!("DC"), &json!("qwen-0")), "{told}");
    assert_eq!((&told["attempts"][0]["result"], &told["attempts"][0]["flag"]), (&json!("no response"), &json!("DC")));
}

#[tokio::test]
async fn policies_are_named_by_their_fields_and_the_objects_that_set_them() {
    let sim = instant("a", "qwen").await;
    let mut list = vec![objects::gateway()];
    let rule = |more: Value| {
        let mut rule = json!({"backendRefs": [objects::to_pool("qwen")]});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([rule])
    };
    list.push(objects::route("plain", rule(json!({"matches": [objects::by_prefix("/plain")]}))));
    list.push(objects::route("own", rule(json!({"matches": [objects::by_prefix("/v1")], "timeouts": {"request": "30s"}}))));
    list.extend(pool_of("qwen", &[&sim]));
    let policy = |name: &str, kind: &str, target: &str, spec: Value| {
        let target = json!({"group": "gateway.networking.k8s.io", "kind": kind, "name": target});
        let mut spec = spec;
        spec["targetRefs"] = json!([target]);
        objects::object("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy", name, spec)
    };
    list.push(policy("all", "Gateway", "gw", json!({"retry": {"numRetries": 1}, "circuitBreaker": {"maxPendingRequests": 9}})));
    let own = json!({"mergeType": "StrategicMerge", "timeout": {"http": {"requestTimeout": "60s"}}, "retry": {"numRetries": 2}});
    list.push(policy("one", "HTTPRoute", "own", own));
    let gateway = Setup::with(list).args(["--receipts-sample", "1"]).serve().await;
    let routes = admin(&gateway, "/routes").await.json();
    let of = |at: usize| routes["routes"][at]["rules"][0]["policies"].clone();
    let (one, all) = ("BackendTrafficPolicy default/one", "BackendTrafficPolicy default/all");
    let merged = json!([
        format!("timeouts by {one} and HTTPRoute default/own"),
        format!("retry by {all} and {one}"),
        format!("circuitBreaker by {all}"),
    ]);
    assert_eq!(of(0), merged, "{routes}");
    assert_eq!(of(1), json!([format!("retry by {all}"), format!("circuitBreaker by {all}")]));
    assert_eq!(Call::chat("qwen", "hello").header("x-request-id", "whole").send(gateway.http()).await.status, 200);
    assert_eq!(receipt(&gateway, "whole").await["policies"], merged);
}

#[tokio::test]
async fn filters_sessions_and_backends_limits_are_named_with_the_objects_that_set_them() {
    let sim = instant("a", "qwen").await;
    let mut backend = objects::backend("a", &[sim.addr()]);
    let limits = r#"{"global": {"rules": [{"limit": {"requests": 9, "unit": "Hour"}}]}}"#;
    backend["metadata"]["annotations"] = json!({"pailou.dev/rate-limit": limits});
    let cors = json!({"type": "CORS", "cors": {"allowOrigins": ["https://a.test"]}});
    let rules = json!([{"backendRefs": [objects::to_backend("a")], "sessionPersistence": {}}, {
        "matches": [objects::by_prefix("/own")], "filters": [cors], "backendRefs": [objects::to_backend("a")],
    }]);
    let mut list = vec![objects::gateway(), backend, objects::route("web", rules)];
    let tracing = json!({"samplingFraction": {"numerator": 1}});
    let traffic = json!({"telemetry": {"tracing": tracing}, "faultInjection": {"delay": {"fixedDelay": "1ms"}}});
    list.push(objects::on_route("BackendTrafficPolicy", "web", traffic));
    let security = json!({"cors": {"allowOrigins": ["https://b.test"]}, "authorization": {"defaultAction": "Allow"}});
    list.push(objects::on_route("SecurityPolicy", "web", security));
    let gateway = Setup::with(list).args(["--receipts-sample", "1"]).serve().await;
    let routes = admin(&gateway, "/routes").await.json();
    let of = |at: usize, field: &str| routes["routes"][0]["rules"][at][field].clone();
    let (traffic, security) =
        ("BackendTrafficPolicy default/backendtrafficpolicy-web", "SecurityPolicy default/securitypolicy-web");
    let limits = "backend rateLimit by Backend default/a";
    assert_eq!(
        of(0, "policies"),
        json!([format!("telemetry by {traffic}"), "sessionPersistence by HTTPRoute default/web", limits])
    );
    let filters =
        json!([format!("faultInjection by {traffic}"), format!("cors by {security}"), format!("authorization by {security}"),]);
    assert_eq!(of(0, "filters"), filters, "{routes}");
    assert_eq!(of(1, "filters")[1], "cors", "its own");
    assert_eq!(Call::get("/").header("x-request-id", "whole").send(gateway.http()).await.status, 404);
    assert_eq!(receipt(&gateway, "whole").await["filters"], filters);
}
