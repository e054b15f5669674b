//! Processors that fail, are late, or leave.

use pailou_envoy_proto::ext_proc::{
    CommonResponse, HeaderMutation, HeadersResponse, ProcessingResponse, processing_response::Response as Answer,
};

use super::{BOTH, OK, mutation};
use crate::support::{
    objects::nowhere,
    picker::{Talk, immediate, picker, unchanged},
    processor::{gateway, go_on, main_backend, piece, response_headers},
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test";
const POST: &str = "POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";

/// The status of an answer.
fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// Says nothing until the stream ends.
async fn silent(mut talk: Talk) {
    while talk.next().await.is_some() {}
}

#[tokio::test]
async fn a_processor_that_fails_closes_unless_it_may_fail_open() {
    for (more, expected) in [("", "500"), (", failOpen: true", "200"), (", statusOnError: 503", "503")] {
        let (main, _calls) = main_backend(OK).await;
        let broken = picker(|mut talk| async move {
            talk.headers().await;
            talk.end("13");
        })
        .await;
        for at in [broken, nowhere()] {
            let answer = gateway(main, &[(at, &format!("{BOTH}{more}"))]).ask(GET).await;
            assert_eq!(status(&answer), expected, "{answer}");
        }
    }
}

#[tokio::test]
async fn a_processor_that_is_late_is_504_unless_it_may_fail_open() {
    for (more, expected) in [("", "504"), (", statusOnError: 503", "504"), (", failOpen: true", "200")] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(silent).await;
        let answer = gateway(main, &[(at, &format!("{BOTH}, messageTimeout: 50ms{more}"))]).ask(GET).await;
        assert_eq!(status(&answer), expected, "{answer}");
    }
}

#[tokio::test]
async fn more_time_is_not_granted() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        let longer = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        talk.send(&ProcessingResponse { override_message_timeout: longer, ..ProcessingResponse::default() });
        silent(talk).await;
    })
    .await;
    let answer = gateway(main, &[(at, &format!("{BOTH}, messageTimeout: 50ms"))]).ask(GET).await;
    assert_eq!(status(&answer), "504", "{answer}");
}

#[tokio::test]
async fn a_stream_that_is_closed_lets_the_rest_pass() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        talk.close();
    })
    .await;
    let mode = "processingMode: {request: {body: Streamed}, response: {body: Streamed}}";
    let answer = gateway(main, &[(at, mode)]).raw(POST).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("hello"), "{answer}");
    assert!(calls.recv().await.unwrap().contains("hello"));
}

#[tokio::test]
async fn a_stream_that_breaks_in_the_middle_of_a_body_fails_the_request() {
    for (mode, more, expected) in [
        ("Streamed", "", "500"),
        ("Streamed", ", failOpen: true", "200"),
        ("Buffered", "", "500"),
        ("Buffered", ", failOpen: true", "200"),
        ("FullDuplexStreamed", "", "500"),
    ] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(|mut talk| async move {
            talk.headers().await;
            talk.say(Answer::RequestHeaders(go_on()));
            piece(&mut talk).await;
            talk.end("14");
        })
        .await;
        let fields = format!("processingMode: {{request: {{body: {mode}}}}}{more}");
        let answer = gateway(main, &[(at, &fields)]).raw(POST).await;
        assert_eq!(status(&answer), expected, "{mode}{more}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_a_closed_stream_has_taken_along_fails_the_request() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        piece(&mut talk).await;
        talk.close();
    })
    .await;
    let answer = gateway(main, &[(at, "processingMode: {request: {body: FullDuplexStreamed}}")]).raw(POST).await;
    assert_eq!(status(&answer), "500", "{answer}");
}

#[tokio::test]
async fn a_processor_that_is_late_with_a_piece_is_504() {
    for mode in ["Streamed", "Buffered", "BufferedPartial"] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(|mut talk| async move {
            talk.headers().await;
            talk.say(Answer::RequestHeaders(go_on()));
            silent(talk).await;
        })
        .await;
        let fields = format!("processingMode: {{request: {{body: {mode}}}}}, messageTimeout: 100ms");
        let answer = gateway(main, &[(at, &fields)]).raw(POST).await;
        assert_eq!(status(&answer), "504", "{mode}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_to_what_was_not_sent_fails_the_request() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestBody(unchanged()));
        silent(talk).await;
    })
    .await;
    assert_eq!(status(&gateway(main, &[(at, BOTH)]).ask(GET).await), "500");
}

#[tokio::test]
async fn a_header_that_is_not_valid_fails_the_request_even_where_it_may_fail_open() {
    for wrong in [mutation(&[("x-a", "1\n2")], &[]), mutation(&[("x a", "1")], &[]), mutation(&[(":path", "a b")], &[])] {
        let (main, mut calls) = main_backend(OK).await;
        let at = picker(move |mut talk| {
            let wrong = wrong.clone();
            async move {
                talk.headers().await;
                talk.say(Answer::RequestHeaders(wrong));
                silent(talk).await;
            }
        })
        .await;
        let answer = gateway(main, &[(at, &format!("{BOTH}, failOpen: true"))]).ask(GET).await;
        assert_eq!(status(&answer), "500", "{answer}");
        assert!(calls.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_processor_that_fails_with_the_response_fails_the_response() {
    for (more, expected) in [("", "500"), (", failOpen: true", "200")] {
        let (main, _calls) = main_backend(OK).await;
        let at = picker(|mut talk| async move {
            talk.headers().await;
            talk.say(Answer::RequestHeaders(go_on()));
            response_headers(&mut talk).await;
            talk.end("13");
        })
        .await;
        let answer = gateway(main, &[(at, &format!("{BOTH}{more}"))]).ask(GET).await;
        assert_eq!(status(&answer), expected, "{answer}");
        assert_eq!(answer.contains("hello"), expected == "200", "{answer}");
    }
}

#[tokio::test]
async fn a_processor_is_through_once_it_has_answered_the_client() {
    let (main, _calls) = main_backend(OK).await;
    let first = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        response_headers(&mut talk).await;
        let mutation = HeaderMutation { remove_headers: vec!["x-none".to_owned()], ..HeaderMutation::default() };
        let response = CommonResponse { header_mutation: Some(mutation), ..CommonResponse::default() };
        talk.say(Answer::ResponseHeaders(HeadersResponse { response: Some(response) }));
        talk.close();
    })
    .await;
    let second = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(immediate(401, "who"));
        assert!(talk.next().await.is_none(), "its own answer is not shown to it");
        talk.close();
    })
    .await;
    let answer = gateway(main, &[(first, BOTH), (second, BOTH)]).ask(GET).await;
    assert_eq!(status(&answer), "401", "{answer}");
}

#[tokio::test]
async fn connections_are_not_upgraded_past_a_processor_that_gets_bodies() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(silent).await;
    let gateway = gateway(main, &[(at, "processingMode: {request: {body: Streamed}}")]);
    let answer = gateway.raw("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n").await;
    assert_eq!(status(&answer), "501", "{answer}");
}
