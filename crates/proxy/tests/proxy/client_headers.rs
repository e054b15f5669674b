//! ClientTrafficPolicy `headers`: what a listener makes of its clients' headers.

use crate::support::{
    ear::Ear,
    objects::{Gateway, backend, route},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";

fn serve(ear: &Ear, headers: &str) -> Gateway {
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  headers: {headers}\n"
    );
    Gateway::serve(&[route(TO_EAR), backend("ear", ear.address, ""), policy].concat())
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a.test\r\n{headers}")
}

#[tokio::test]
async fn names_with_underscores_pass_or_go_or_are_refused() {
    let ear = Ear::start().await;
    let sent = get("x_team: red\r\nx-plain: 1");
    serve(&ear, "{withUnderscoresAction: Allow}").ask(&sent).await;
    assert!(ear.next().await.contains("x_team: red"));
    serve(&ear, "{withUnderscoresAction: DropHeader}").ask(&sent).await;
    let head = ear.next().await;
    assert!(!head.contains("x_team") && head.contains("x-plain: 1"), "{head}");
    let refusing = serve(&ear, "{withUnderscoresAction: RejectRequest}");
    let answer = refusing.ask(&sent).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("underscore"), "{answer}");
    refusing.ask(&get("x-plain: 1")).await;
    assert!(ear.next().await.contains("x-plain: 1"));
}

#[tokio::test]
async fn a_request_id_is_kept_or_made_as_the_listener_wants() {
    let ear = Ear::start().await;
    for (action, kept, made) in
        [("PreserveOrGenerate", true, true), ("Preserve", true, false), ("Generate", false, true), ("Disable", false, false)]
    {
        let gateway = serve(&ear, &format!("{{requestID: {action}}}"));
        let answer = gateway.ask(&get("x-request-id: mine-7")).await;
        let head = ear.next().await;
        assert_eq!(head.contains("x-request-id: mine-7"), kept, "{action}: {head}");
        assert_eq!(head.contains("x-request-id: "), kept || made, "{action}: {head}");
        assert_eq!(answer.contains("x-request-id: mine-7"), kept, "{action}: {answer}");
        let answer = gateway.ask(&get("x-other: 1")).await;
        let head = ear.next().await;
        assert_eq!(head.contains("x-request-id: "), made, "{action}: {head}");
        assert_eq!(answer.contains("x-request-id: "), made, "{action}: {answer}");
    }
}

#[tokio::test]
async fn a_header_is_added_where_there_is_none_and_removed_by_a_condition_on_its_name() {
    let ear = Ear::start().await;
    let early = "earlyRequestHeaders: {addIfAbsent: [{name: X-Tier, value: free}, {name: X-Seen, value: \"%REQ(x-plain)%\"}], removeOnMatch: \
                 [{type: Prefix, value: X-Internal-}, {type: RegularExpression, value: \"x-debug-[0-9]+\"}]}";
    let late = "lateResponseHeaders: {addIfAbsent: [{name: X-Served-By, value: gw}], removeOnMatch: [{value: X-Request-Id}]}";
    let gateway = serve(&ear, &format!("{{{early}, {late}}}"));
    let answer = gateway.ask(&get("x-plain: 1\r\nx-internal-a: 1\r\nx-internal-b: 1\r\nx-debug-1: 1\r\nx-debug-a: kept")).await;
    let head = ear.next().await;
    for (line, is_there) in
        [("x-tier: free", true), ("x-seen: 1", true), ("x-internal-", false), ("x-debug-1", false), ("x-debug-a: kept", true)]
    {
        assert_eq!(head.contains(line), is_there, "{line}: {head}");
    }
    assert!(answer.contains("x-served-by: gw") && !answer.contains("x-request-id"), "{answer}");
    gateway.ask(&get("x-tier: paid\r\nx-seen: before")).await;
    let head = ear.next().await;
    assert!(head.contains("x-tier: paid") && head.contains("x-seen: before") && !head.contains("free"), "{head}");
}
