//! Models that a client may not use (SecurityPolicy annotation `pailou.dev/denied-model`).

use serde_json::{Value, json};

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, model_route},
};

const KEYS: &str = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: keys, namespace: default}\nstringData: {alice: one, bob: two, carol: \
                    three}\n";

/// A route to two models, of which alice may use `qwen`, bob both, and carol none.
async fn serve(annotation: &str) -> (Gateway, Ear) {
    let route = model_route("ear", ["qwen", "secret-model"]);
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: policy{annotation}}}\nspec:\n  targetRefs: \
         [{{group: gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  apiKeyAuth: {{credentialRefs: [{{name: keys}}], \
         forwardClientIDHeader: x-client, extractFrom: [{{headers: [x-api-key]}}]}}\n  cors: {{allowOrigins: ['https://app.test']}}\n  \
         authorization: {{rules: [{{action: Allow, principal: \
         {{headers: [{{name: x-client, values: [alice]}}, {{name: x-ai-eg-model, values: [qwen]}}]}}}}, {{action: Allow, principal: {{headers: \
         [{{name: x-client, values: [bob]}}]}}}}]}}\n"
    );
    let ear = Ear::start().await;
    (Gateway::serve(&[&route, &backend("ear", ear.address, ""), KEYS, &policy].concat()), ear)
}

fn annotated(value: &str) -> String {
    format!(", annotations: {{pailou.dev/denied-model: {value}}}")
}

/// Status, head and body of an answer.
fn parts(answer: &str) -> (u16, String, Value) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn call(gateway: &Gateway, path: &str, key: &str, model: &str) -> (u16, String, Value) {
    let body = json!({"model": model, "max_tokens": 1, "messages": []}).to_string();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a.test\r\nx-api-key: {key}\r\norigin: https://app.test\r\nconnection: close\r\ncontent-type: application/json"
    );
    parts(&gateway.raw(&format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}")).await)
}

async fn get(gateway: &Gateway, path: &str, key: &str) -> (u16, String, Value) {
    parts(&gateway.ask(&format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-api-key: {key}")).await)
}

/// The names of an answer's header fields, and what they say but for the request's own.
fn fields(head: &str, model: &str) -> Vec<String> {
    let is_own = |line: &&str| !["x-request-id", "date", "content-length"].iter().any(|name| line.starts_with(name));
    head.lines().filter(is_own).map(|line| line.replace(model, "MODEL")).collect()
}

#[tokio::test]
async fn a_model_that_is_hidden_looks_like_one_that_does_not_exist() {
    let (gateway, ear) = serve(&annotated("NotFound")).await;
    for (path, of) in [
        (
            "/v1/chat/completions",
            (|model| {
                let message = format!("The model `{model}` does not exist or you do not have access to it.");
                json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "model_not_found"}})
            }) as fn(&str) -> Value,
        ),
        ("/v1/messages", |model| {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            json!({"type": "error", "error": {"type": "not_found_error", "message": message}})
        }),
    ] {
        let (hidden, unknown) = (call(&gateway, path, "one", "secret-model").await, call(&gateway, path, "one", "no-model").await);
        assert_eq!((hidden.0, &hidden.2), (404, &of("secret-model")), "{path}");
        assert_eq!((unknown.0, &unknown.2), (404, &of("no-model")), "{path}");
        assert_eq!(fields(&hidden.1, "secret-model"), fields(&unknown.1, "no-model"), "{path}");
    }
    gateway.log.line("authorization denies the model").await;
    // Nor at a path that is no model API's, where a body names one all the same.
    let (hidden, unknown) = (call(&gateway, "/foo", "one", "secret-model").await, call(&gateway, "/foo", "one", "no-model").await);
    assert_eq!((hidden.0, unknown.0), (404, 404));
    assert_eq!(fields(&hidden.1, "secret-model"), fields(&unknown.1, "no-model"));
    assert_eq!(hidden.2.to_string().replace("secret-model", "no-model"), unknown.2.to_string());
    let (status, ..) = call(&gateway, "/v1/chat/completions", "two", "secret-model").await;
    assert_eq!(status, 200);
    ear.next().await;
    // A client without a key learns that first.
    assert_eq!(call(&gateway, "/v1/chat/completions", "four", "secret-model").await.0, 401);
}

#[tokio::test]
async fn lists_do_not_tell_of_hidden_models() {
    let (gateway, _ear) = serve(&annotated("NotFound")).await;
    let (hidden, unknown) =
        (get(&gateway, "/v1/models/secret-model", "one").await, get(&gateway, "/v1/models/no-model", "one").await);
    assert_eq!((hidden.0, &hidden.2["error"]["code"]), (404, &json!("model_not_found")));
    assert_eq!(fields(&hidden.1, "secret-model"), fields(&unknown.1, "no-model"));
    assert_eq!(hidden.2.to_string().replace("secret-model", "no-model"), unknown.2.to_string());
    // Whoever may use none sees an empty list, and no name in any answer.
    let (status, head, list) = get(&gateway, "/v1/models", "three").await;
    assert_eq!((status, &list), (200, &json!({"object": "list", "data": []})), "{head}");
    for path in ["/v1/models/qwen", "/v1/models/other"] {
        assert_eq!(get(&gateway, path, "three").await.0, 404, "{path}");
    }
    let (_, _, list) = get(&gateway, "/v1/models", "one").await;
    assert!(list.to_string().contains("qwen") && !list.to_string().contains("secret-model"), "{list}");
}

#[tokio::test]
async fn a_model_that_is_forbidden_is_named_to_whoever_asks_for_it() {
    let (gateway, _ear) = serve(&annotated("Forbidden")).await;
    let message = "You do not have access to the model `secret-model`.";
    let openai = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "model_not_found"}});
    let (status, _, error) = call(&gateway, "/v1/chat/completions", "one", "secret-model").await;
    assert_eq!((status, &error), (403, &openai));
    let (status, _, error) = call(&gateway, "/v1/messages", "one", "secret-model").await;
    assert_eq!((status, &error), (403, &json!({"type": "error", "error": {"type": "permission_error", "message": message}})));
    let (status, _, error) = get(&gateway, "/v1/models/secret-model", "one").await;
    assert_eq!((status, &error), (403, &openai));
    assert_eq!(get(&gateway, "/v1/models/no-model", "one").await.0, 404);
    let (status, head, error) = get(&gateway, "/v1/models", "three").await;
    assert!(status == 403 && !error.to_string().contains("secret-model"), "{head} {error}");
}

#[tokio::test]
async fn without_an_answer_of_its_own_a_denied_model_is_not_named() {
    let (gateway, _ear) = serve("").await;
    let (status, _, error) = call(&gateway, "/v1/chat/completions", "one", "secret-model").await;
    assert_eq!((status, &error["error"]["message"]), (403, &json!("RBAC: access denied")));
    let (gateway, _ear) = serve(&annotated("Teapot")).await;
    assert_eq!(call(&gateway, "/v1/chat/completions", "two", "qwen").await.0, 500, "a wrong answer closes the routes");
}
