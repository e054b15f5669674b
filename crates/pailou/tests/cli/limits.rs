//! `pailou limits`, and what a whole run prints: no secret is in it.

use std::fs;

use crate::{
    dir::TestDir,
    pailou,
    process::{Client, Running, free_address, wait_until},
    run,
};

/// Credentials of the test, none of which may show anywhere.
const SECRETS: [&str; 6] =
    ["swordfish-key", "wrong-key", "open-sesame", "W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "YWxpY2U6cGFzc3dvcmQ=", "provider-token"];

fn objects(port: u16, engine: u16) -> String {
    format!(
        "\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gateway}}
spec: {{gatewayClassName: pailou, listeners: [{{name: http, protocol: HTTP, port: {port}}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: keys}}
spec:
  parentRefs: [{{name: gateway}}]
  rules:
  - filters: [{{type: ExtensionRef, extensionRef: {{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: provider}}}}]
    backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: engine}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: passwords}}
spec:
  parentRefs: [{{name: gateway}}]
  hostnames: [passwords.test]
  rules: [{{backendRefs: [{{group: gateway.envoyproxy.io, kind: Backend, name: engine}}]}}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {{name: engine}}
spec: {{endpoints: [{{ip: {{address: 127.0.0.1, port: {engine}}}}}]}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {{name: provider}}
spec: {{credentialInjection: {{credential: {{valueRef: {{name: provider}}}}}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: keys}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: keys}}]
  apiKeyAuth:
    credentialRefs: [{{name: keys}}]
    extractFrom: [{{headers: [x-api-key]}}, {{params: [key]}}, {{cookies: [key]}}]
    forwardClientIDHeader: x-client-id
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {{name: passwords}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: passwords}}]
  basicAuth: {{users: {{name: users}}}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {{name: budget}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: HTTPRoute, name: keys}}]
  rateLimit:
    global:
      rules:
      - clientSelectors: [{{headers: [{{name: x-client-id, type: Distinct}}]}}]
        limit: {{requests: 1000, unit: Year}}
      - clientSelectors: [{{headers: [{{name: x-api-key, type: Distinct}}]}}]
        limit: {{requests: 1, unit: Year}}
        shadowMode: true
---
apiVersion: v1
kind: Secret
metadata: {{name: keys}}
stringData: {{alice: swordfish-key, bob: '{{\"key\":\"open-sesame\",\"metadata\":{{\"team\":\"red\"}}}}'}}
---
apiVersion: v1
kind: Secret
metadata: {{name: users}}
stringData: {{.htpasswd: 'alice:{{SHA}}W6ph5Mm5Pz8GgiULbPgzG37mj9g='}}
---
apiVersion: v1
kind: Secret
metadata: {{name: provider}}
stringData: {{credential: Bearer provider-token}}
"
    )
}

#[test]
fn counters_are_shown_as_a_table_and_nothing_that_is_printed_holds_a_secret() {
    let sim = Running::start(pailou().args(["sim", "--instant", "--listen", "127.0.0.1:0"]));
    let engine: u16 = sim.wait_for("http://").trim().rsplit(':').next().unwrap().parse().unwrap();
    let (dir, gateway, admin) = (TestDir::new(), free_address(), free_address().to_string());
    fs::write(dir.path().join("objects.yaml"), objects(gateway.port(), engine)).unwrap();
    let serve = ["serve", "--log", "trace", "--response-flags", "--workers", "1", "--admin", &admin, "-f", "objects.yaml"];
    let running = Running::start(pailou().args(serve).current_dir(dir.path()));
    let ask = |address: std::net::SocketAddr, path: &str, headers: &[(&str, &str)]| {
        let response = Client::connect(address).ok()?.get_with(path, headers).ok()?;
        Some((response.status, format!("{response:?}")))
    };
    let admin_address = admin.parse().unwrap();
    wait_until("the gateway is ready", || ask(admin_address, "/readyz", &[]).filter(|(status, _)| *status == 200));
    let mut printed = Vec::new();
    for (path, headers, expected) in [
        ("/v1/models", &[("x-api-key", "swordfish-key")][..], 200),
        ("/v1/models", &[("x-api-key", "swordfish-key")], 200),
        ("/v1/models?key=open-sesame", &[], 200),
        ("/v1/models", &[("cookie", "key=open-sesame")], 200),
        ("/v1/models?key=wrong-key", &[], 401),
        ("/v1/models", &[("x-api-key", "wrong-key")], 401),
        ("/v1/models", &[("host", "passwords.test"), ("authorization", "Basic YWxpY2U6cGFzc3dvcmQ=")], 200),
        ("/v1/models", &[("host", "passwords.test"), ("authorization", "Basic d3Jvbmcta2V5OndyZXQ=")], 401),
    ] {
        let (status, response) = ask(gateway, path, headers).unwrap();
        assert_eq!(status, expected, "{path} {headers:?}: {response}");
        printed.push(response);
    }
    let table = run(dir.path(), &["limits", "--admin", &admin], "");
    let rows: Vec<Vec<&str>> = table.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let row = |client: &str| rows.iter().find(|row| row.get(5) == Some(&client)).cloned().unwrap_or_default();
    assert_eq!(
        [row("alice")[0], row("alice")[2], row("alice")[3], row("alice")[6]],
        ["2", "1000", "365d", "default/budget/rule/0"],
        "{table:?}"
    );
    assert_eq!(row("bob")[0], "2");
    let shadow = rows.iter().find(|row| row.last() == Some(&"(shadow)")).unwrap();
    assert_eq!([shadow[0], shadow[2]], ["2", "1"], "{table:?}");
    let one = run(dir.path(), &["limits", "--admin", &admin, "--client", "bob", "-o", "json"], "");
    assert!(one.stdout.contains("\"bob\"") && !one.stdout.contains("\"alice\""), "{one:?}");
    assert_eq!(run(dir.path(), &["limits", "--admin", &free_address().to_string()], "").status, 2);

    for path in ["/", "/metrics", "/status", "/limits", "/limits?client=swordfish"] {
        printed.push(ask(admin_address, path, &[("host", "localhost")]).unwrap().1);
    }
    for arguments in [
        &["check", "-f", "objects.yaml", "-o", "json"][..],
        &["check", "-f", "objects.yaml"],
        &["keys", "list", "-f", "objects.yaml"],
    ] {
        printed.push(format!("{:?}", run(dir.path(), arguments, "")));
    }
    running.signal("TERM");
    let mut running = running;
    running.end();
    printed.extend([table.stdout, one.stdout, running.stderr()]);
    assert!(running.stderr().contains("\"path\":\"/v1/models\""), "the access log is there");
    for secret in SECRETS {
        for text in &printed {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}
