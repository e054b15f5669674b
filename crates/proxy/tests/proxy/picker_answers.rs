//! Further answers of an endpoint picker, and answers that it leaves out.

use std::future::pending;

use pailou_envoy_proto::ext_proc::{
    BodyMutation, BodySendMode, CommonResponse, HeaderSendMode, HeadersResponse, ProcessingMode, ResponseStatus,
    body_mutation::Mutation, processing_request::Request as Part, processing_response::Response as Answer,
};
use tokio::{sync::mpsc, time::timeout};

use crate::support::{
    picked::{LIMIT, TO_POOL, engine, gateway, gateway_with, post},
    picker::{choosing, picker, setting, streamed, unchanged},
};

const BODY: &str = r#"{"model":"m"}"#;

#[tokio::test]
async fn headers_may_be_answered_with_another_body() {
    let (one, mut calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        let Answer::RequestHeaders(HeadersResponse { response: Some(choice) }) = choosing(&one.to_string()) else { unreachable!() };
        let body = Some(BodyMutation { mutation: Some(Mutation::Body("replaced".into())) });
        let status = ResponseStatus::ContinueAndReplace as i32;
        let response = CommonResponse { status, body_mutation: body, ..choice };
        talk.say(Answer::RequestHeaders(HeadersResponse { response: Some(response) }));
        talk.close();
    })
    .await;
    let answer = post(&gateway(&[one], at, "FailClose", TO_POOL), BODY).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let call = calls.recv().await.unwrap();
    assert!(call.ends_with("\r\n\r\nreplaced") && call.to_ascii_lowercase().contains("content-length: 8\r\n"), "{call}");
}

#[tokio::test]
async fn picker_that_wants_nothing_of_the_response_is_told_nothing() {
    let (one, _calls) = engine().await;
    let (told, mut heard) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            talk.headers().await;
            let mode = ProcessingMode {
                response_header_mode: HeaderSendMode::Skip as i32,
                response_body_mode: BodySendMode::None as i32,
                ..ProcessingMode::default()
            };
            talk.say_with(choosing(&one.to_string()), mode);
            let (body, _) = talk.body().await;
            talk.say(Answer::RequestBody(streamed(body, true)));
            told.send(talk.next().await.is_none()).unwrap();
        }
    })
    .await;
    let answer = post(&gateway(&[one], at, "FailClose", TO_POOL), BODY).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("two"), "{answer}");
    assert!(timeout(LIMIT, heard.recv()).await.unwrap().unwrap(), "nothing follows");
}

#[tokio::test]
async fn picker_that_wants_no_more_than_the_responses_headers_gets_no_more() {
    let (one, _calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        let mode = ProcessingMode { response_body_mode: BodySendMode::None as i32, ..ProcessingMode::default() };
        talk.say_with(choosing(&one.to_string()), mode);
        talk.body().await;
        talk.say(Answer::RequestBody(unchanged()));
        while let Some(message) = talk.next().await {
            let Some(Part::ResponseHeaders(_)) = message.request else { panic!("{message:?}") };
            talk.say(Answer::ResponseHeaders(setting(&[("x-seen", "1")])));
        }
    })
    .await;
    let answer = post(&gateway(&[one], at, "FailClose", TO_POOL), BODY).await;
    assert!(answer.contains("x-seen: 1") && answer.contains("one") && answer.ends_with("two\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn mirrors_carry_the_body_as_the_client_sent_it() {
    let (one, mut calls) = engine().await;
    let (mirror, mut copies) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&one.to_string()));
        talk.body().await;
        talk.say(Answer::RequestBody(streamed("changed", true)));
        talk.close();
    })
    .await;
    let backend = "{group: gateway.envoyproxy.io, kind: Backend, name: copies}";
    let filter = format!("filters: [{{type: RequestMirror, requestMirror: {{backendRef: {backend}}}}}]");
    let more = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {{name: copies}}\nspec: {{endpoints: [{{ip: {{address: \
         {}, port: {}}}}}]}}\n",
        mirror.ip(),
        mirror.port()
    );
    let rule = format!("{{{filter}, {}", &TO_POOL[1..]);
    let gateway = gateway_with(&[one], at, "FailClose", &rule, &more);
    let answer = post(&gateway, BODY).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(calls.recv().await.unwrap().ends_with("\r\n\r\nchanged"));
    let copy = timeout(LIMIT, copies.recv()).await.unwrap().unwrap();
    assert!(copy.ends_with(BODY), "{copy}");
}

#[tokio::test]
async fn silent_picker_costs_no_more_than_the_requests_time() {
    let (one, _calls) = engine().await;
    let at = picker(move |talk| async move {
        let _talk = talk;
        pending::<()>().await;
    })
    .await;
    let rule = format!("{{timeouts: {{request: 300ms}}, {}", &TO_POOL[1..]);
    let answer = post(&gateway(&[one], at, "FailOpen", &rule), BODY).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("x-pailou-response-flag: UT"), "{answer}");
}
