//! External processors: headers, immediate answers, failures, and what a processor may not do.

mod bodies;
mod failures;
mod shadow;

use bytes::Bytes;
use pailou_envoy_proto::{
    core::{HeaderValue, HeaderValueOption},
    ext_proc::{
        BodySendMode, CommonResponse, HeaderMutation, HeadersResponse, ProcessingMode, ProcessingResponse,
        processing_response::Response as Answer,
    },
    structs,
};
use tokio::sync::mpsc;

use crate::support::{
    objects::{backend, nowhere, route},
    picker::{immediate, picker, setting},
    processor::{changed, gateway, gateway_for, gateway_with, go_on, header, main_backend, piece, replaced, response_headers},
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
const BOTH: &str = "processingMode: {request: {}, response: {}}";

fn mutation(set: &[(&str, &str)], removed: &[&str]) -> HeadersResponse {
    let option = |(name, value): &(&str, &str)| HeaderValueOption {
        header: Some(HeaderValue::new(*name, (*value).to_owned())),
        ..HeaderValueOption::default()
    };
    let mutation = HeaderMutation {
        set_headers: set.iter().map(option).collect(),
        remove_headers: removed.iter().map(|name| (*name).to_owned()).collect(),
    };
    HeadersResponse { response: Some(CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() }) }
}

#[tokio::test]
async fn headers_of_both_directions_are_sent_and_changed() {
    let (main, mut calls) = main_backend(OK).await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            let (headers, message) = talk.headers().await;
            told.send((headers, message)).unwrap();
            talk.say(Answer::RequestHeaders(mutation(&[("x-user", "ann"), (":path", "/new?b=1")], &["x-secret"])));
            let (headers, message) = response_headers(&mut talk).await;
            told.send((headers, message)).unwrap();
            talk.say(Answer::ResponseHeaders(mutation(&[("x-checked", "yes"), (":status", "203")], &["content-type"])));
            assert!(talk.next().await.is_none());
        }
    })
    .await;
    let gateway = gateway(main, &[(at, BOTH)]);
    let answer = gateway.ask("GET /old?a=1 HTTP/1.1\r\nhost: a.test\r\nx-secret: s\r\nx-user: mallory").await;
    assert!(answer.starts_with("HTTP/1.1 203 ") && answer.contains("x-checked: yes\r\n"), "{answer}");
    assert!(!answer.contains("content-type") && answer.contains("content-length: 5\r\n") && answer.ends_with("hello"), "{answer}");
    let call = calls.recv().await.unwrap().to_ascii_lowercase();
    assert!(call.starts_with("get /new?b=1 http/1.1\r\n") && call.contains("x-user: ann\r\n"), "{call}");
    assert!(!call.contains("x-secret") && !call.contains("mallory"), "{call}");

    let (request, first) = seen.recv().await.unwrap();
    let value = |name| header(&request, name);
    assert_eq!(value(":method").unwrap(), "GET");
    assert_eq!(value(":path").unwrap(), "/old?a=1");
    assert_eq!((value(":authority").unwrap(), value(":scheme").unwrap()), ("a.test".to_owned(), "http".to_owned()));
    assert_eq!((value("host"), value("x-secret").unwrap(), request.end_of_stream), (None, "s".to_owned(), true));
    assert!(first.protocol_config.is_some() && first.attributes.is_empty());
    let (response, _) = seen.recv().await.unwrap();
    assert_eq!((header(&response, ":status").unwrap(), response.end_of_stream), ("200".to_owned(), false));
}

#[tokio::test]
async fn a_direction_that_is_not_named_is_not_sent() {
    for (fields, is_response) in [("processingMode: {request: {}}", false), ("processingMode: {response: {}}", true)] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(move |mut talk| async move {
            match is_response {
                true => {
                    response_headers(&mut talk).await;
                    talk.say(Answer::ResponseHeaders(setting(&[("x-seen", "1")])));
                }
                false => {
                    talk.headers().await;
                    talk.say(Answer::RequestHeaders(go_on()));
                }
            }
            assert!(talk.next().await.is_none());
        })
        .await;
        let answer = gateway(main, &[(at, fields)]).ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-seen: 1") == is_response, "{answer}");
    }
}

#[tokio::test]
async fn what_routes_the_request_and_envoys_own_headers_are_not_a_processors_to_change() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        let forbidden = [
            ("host", "evil.test"),
            (":authority", "evil.test"),
            (":scheme", "ftp"),
            (":method", "DELETE"),
            ("x-envoy-retry-on", "5xx"),
            ("content-length", "77"),
            ("transfer-encoding", "chunked"),
            ("connection", "upgrade"),
        ];
        talk.say(Answer::RequestHeaders(mutation(&forbidden, &["host", ":path"])));
        talk.close();
    })
    .await;
    let answer = gateway(main, &[(at, "processingMode: {request: {}}")]).ask("GET /a HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let call = calls.recv().await.unwrap().to_ascii_lowercase();
    assert!(call.starts_with("get /a http/1.1\r\n") && call.contains("host: a.test\r\n"), "{call}");
    let forbidden = ["evil.test", "x-envoy", "content-length", "transfer-encoding", "connection"];
    assert!(forbidden.iter().all(|word| !call.contains(word)), "{call}");
}

#[tokio::test]
async fn a_processor_answers_the_client_itself() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(immediate(418, "no tea"));
        talk.close();
    })
    .await;
    let gateway = gateway(main, &[(at, BOTH)]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 418 ") && answer.ends_with("no tea"), "{answer}");
    assert!(answer.contains("x-pailou-response-flag: XP\r\n"), "{answer}");
    let answer = gateway.ask("POST /a.B/C HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("grpc-message: no tea"), "{answer}");
    assert!(calls.try_recv().is_err(), "no backend is asked");
}

#[tokio::test]
async fn an_answer_of_the_processors_own_takes_the_place_of_the_backends() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        response_headers(&mut talk).await;
        talk.say(immediate(451, "withheld"));
        talk.close();
    })
    .await;
    let gateway = gateway(main, &[(at, BOTH)]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 451 ") && answer.ends_with("withheld") && !answer.contains("hello"), "{answer}");
    assert!(gateway.log.line("451").await.contains("XP"));
}

#[tokio::test]
async fn several_processors_see_requests_in_order_and_responses_in_reverse() {
    let (main, mut calls) = main_backend(OK).await;
    let mut addresses = Vec::new();
    for name in ["one", "two"] {
        let at = picker(move |mut talk| async move {
            let (headers, _) = talk.headers().await;
            let before = header(&headers, "x-order").unwrap_or_default();
            talk.say(Answer::RequestHeaders(setting(&[("x-order", &format!("{before}{name}"))])));
            let (headers, _) = response_headers(&mut talk).await;
            let before = header(&headers, "x-order").unwrap_or_default();
            talk.say(Answer::ResponseHeaders(setting(&[("x-order", &format!("{before}{name}"))])));
            talk.close();
        })
        .await;
        addresses.push(at);
    }
    let gateway = gateway(main, &[(addresses[0], BOTH), (addresses[1], BOTH)]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.contains("x-order: twoone\r\n"), "{answer}");
    assert!(calls.recv().await.unwrap().contains("x-order: onetwo\r\n"));
}

#[tokio::test]
async fn a_response_of_the_gateways_own_passes_the_processors_too() {
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        let (headers, _) = response_headers(&mut talk).await;
        assert_eq!(header(&headers, ":status").unwrap(), "503");
        talk.say(Answer::ResponseHeaders(setting(&[("x-seen", "1")])));
        talk.close();
    })
    .await;
    let gateway = gateway(nowhere(), &[(at, BOTH)]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("x-seen: 1\r\n"), "{answer}");
}

#[tokio::test]
async fn attributes_go_with_the_first_message_of_a_direction() {
    let (main, _calls) = main_backend(OK).await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            told.send(talk.headers().await.1).unwrap();
            talk.say(Answer::RequestHeaders(go_on()));
            told.send(response_headers(&mut talk).await.1).unwrap();
            talk.say(Answer::ResponseHeaders(go_on()));
            talk.close();
        }
    })
    .await;
    let mode = "processingMode: {request: {attributes: [request.path, request.method, source.address, source.port, connection.mtls, xds.route_name, \
                upstream.address]}, response: {attributes: [response.code, request.host]}}";
    let gateway = gateway(main, &[(at, mode)]);
    gateway.ask("GET /a?b=1 HTTP/1.1\r\nhost: a.test").await;
    let fields =
        |message: pailou_envoy_proto::ext_proc::ProcessingRequest| message.attributes["envoy.filters.http.ext_proc"].fields.clone();
    let request = fields(seen.recv().await.unwrap());
    assert_eq!(request["request.path"], structs::string("/a?b=1"));
    assert_eq!(request["request.method"], structs::string("GET"));
    assert_eq!(request["xds.route_name"], structs::string("default/route/0"));
    assert!(structs::strings(&request["source.address"]).unwrap()[0].starts_with("127."));
    assert_eq!(request["connection.mtls"].kind, Some(structs::Kind::BoolValue(false)));
    let number = |value: &structs::Value| matches!(value.kind, Some(structs::Kind::NumberValue(number)) if number > 0.0);
    assert!(number(&request["source.port"]) && !request.contains_key("upstream.address"));
    let response = fields(seen.recv().await.unwrap());
    assert_eq!(response["response.code"].kind, Some(structs::Kind::NumberValue(200.0)));
    assert_eq!(response["request.host"], structs::string("a.test"));
}

#[tokio::test]
async fn metadata_goes_from_the_processor_that_may_write_it_to_the_one_that_may_read_it() {
    let (main, _calls) = main_backend(OK).await;
    let writer = picker(|mut talk| async move {
        talk.headers().await;
        let namespace = |name: &str| {
            (
                name.to_owned(),
                structs::Value { kind: Some(structs::Kind::StructValue(structs::structure("key", structs::string(name)))) },
            )
        };
        let written = structs::Struct { fields: [namespace("shared"), namespace("secret")].into() };
        let answer = Some(Answer::RequestHeaders(go_on()));
        talk.send(&ProcessingResponse { response: answer, dynamic_metadata: Some(written), ..ProcessingResponse::default() });
        talk.close();
    })
    .await;
    let (told, mut seen) = mpsc::unbounded_channel();
    let reader = picker(move |mut talk| {
        let told = told.clone();
        async move {
            told.send(talk.headers().await.1.metadata_context).unwrap();
            talk.say(Answer::RequestHeaders(go_on()));
            talk.close();
        }
    })
    .await;
    let write = "processingMode: {request: {}}, metadata: {writableNamespaces: [shared]}";
    let read = "processingMode: {request: {}}, metadata: {accessibleNamespaces: [shared, secret]}";
    let gateway = gateway(main, &[(writer, write), (reader, read)]);
    assert!(gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await.starts_with("HTTP/1.1 200 "));
    let metadata = seen.recv().await.unwrap().unwrap().filter_metadata;
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["shared"]);
    assert_eq!(metadata["shared"].fields["key"], structs::string("shared"));
}

#[tokio::test]
async fn a_processor_chooses_other_parts_only_if_it_may() {
    for (allowed, expected) in [(true, "HELLO"), (false, "hello")] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(move |mut talk| async move {
            talk.headers().await;
            let mode = ProcessingMode { response_body_mode: BodySendMode::Buffered as i32, ..ProcessingMode::default() };
            talk.say_with(Answer::RequestHeaders(go_on()), mode);
            response_headers(&mut talk).await;
            talk.say(Answer::ResponseHeaders(go_on()));
            if allowed {
                assert_eq!(piece(&mut talk).await, (Bytes::from("hello"), true));
                talk.say(Answer::ResponseBody(changed("HELLO")));
            }
            assert!(talk.next().await.is_none());
        })
        .await;
        let fields = format!("processingMode: {{request: {{}}, response: {{}}, allowModeOverride: {allowed}}}");
        let answer = gateway(main, &[(at, &fields)]).ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(answer.ends_with(expected), "{answer}");
    }
}

#[tokio::test]
async fn a_message_is_replaced_as_a_whole() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(replaced("asked otherwise")));
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(replaced("answered otherwise")));
        assert!(talk.next().await.is_none());
    })
    .await;
    let gateway = gateway(main, &[(at, "processingMode: {request: {body: Streamed}, response: {body: Streamed}}")]);
    let answer = gateway.raw("POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody").await;
    assert!(answer.contains("content-length: 18\r\n") && answer.ends_with("\r\n\r\nanswered otherwise"), "{answer}");
    let call = calls.recv().await.unwrap();
    assert!(call.contains("content-length: 15\r\n") && call.ends_with("\r\n\r\nasked otherwise"), "{call}");
}

#[tokio::test]
async fn a_processor_has_the_route_chosen_anew() {
    for (clear, expected) in [(true, "other"), (false, "hello")] {
        let (main, _calls) = main_backend(OK).await;
        let other = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nother";
        let (second, mut calls) = main_backend(other).await;
        let at = picker(move |mut talk| async move {
            talk.headers().await;
            let mut answer = mutation(&[("x-tenant", "b")], &[]);
            answer.response.as_mut().unwrap().clear_route_cache = clear;
            talk.say(Answer::RequestHeaders(answer));
            let (headers, _) = response_headers(&mut talk).await;
            assert_eq!(header(&headers, ":status").unwrap(), "200");
            talk.say(Answer::ResponseHeaders(go_on()));
            talk.close();
        })
        .await;
        // The other route takes everything; this one is more specific, and refuses a method by filters of its own.
        let more = format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: tenant}}\nspec:\n  parentRefs: [{{name: gw}}]\n  \
             rules: [{{matches: [{{headers: [{{name: x-tenant, value: b}}]}}], filters: [{{type: RequestHeaderModifier, \
             requestHeaderModifier: {{set: [{{name: x-by, value: tenant}}]}}}}], backendRefs: [{{group: gateway.envoyproxy.io, kind: \
             Backend, name: second}}]}}]\n{}",
            backend("second", second, "")
        );
        let gateway = gateway_with(main, &[(at, BOTH)], &more);
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(expected), "{answer}");
        assert_eq!(calls.try_recv().is_ok_and(|call| call.contains("x-by: tenant\r\n")), clear);
    }
}

#[tokio::test]
async fn a_processor_says_who_may_know_of_the_models_behind_it() {
    const ROUTE: &str = "{matches: [{headers: [{name: X-Gateway-Model-Name, value: qwen}]}], \
                         backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: main}]}";
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        let (headers, _) = talk.headers().await;
        assert_eq!(header(&headers, ":path").unwrap(), "/v1/models");
        match header(&headers, "x-user").as_deref() {
            Some("ann") => talk.say(Answer::RequestHeaders(go_on())),
            _ => talk.say(immediate(403, "not for you")),
        }
        while talk.next().await.is_some() {}
    })
    .await;
    for (fields, user, expected) in [
        ("processingMode: {request: {}}", "ann", "qwen"),
        ("processingMode: {request: {}}", "bob", "not for you"),
        ("processingMode: {response: {}}", "bob", "qwen"),
        ("processingMode: {request: {}}, shadowMode: true", "bob", "qwen"),
    ] {
        let gateway = gateway_for(&route(ROUTE), main, &[(at, fields)]);
        let answer = gateway.ask(&format!("GET /v1/models HTTP/1.1\r\nhost: a.test\r\nx-user: {user}")).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), expected == "qwen", "{fields} {user}: {answer}");
        assert!(answer.contains(expected), "{fields} {user}: {answer}");
    }
}
