//! A processor that only watches: nothing waits for it.

use bytes::Bytes;
use pailou_envoy_proto::ext_proc::{
    ProcessingRequest, processing_request::Request as Part, processing_response::Response as Answer,
};
use tokio::sync::mpsc;

use super::OK;
use crate::support::{
    objects::nowhere,
    picker::{immediate, picker, setting},
    processor::{gateway, main_backend},
};

const WATCH: &str = "shadowMode: true, processingMode: {request: {body: Streamed}, response: {body: Streamed}}";
const POST: &str = "POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
const CHUNKED: &str =
    "POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";

/// The bodies that a server was shown, request and response, and whether each ended.
fn bodies(messages: &[ProcessingRequest]) -> [(Vec<u8>, bool); 2] {
    let mut bodies = [(Vec::new(), false), (Vec::new(), false)];
    for message in messages {
        let (place, body) = match message.request.as_ref().unwrap() {
            Part::RequestBody(body) => (0, body),
            Part::ResponseBody(body) => (1, body),
            _ => continue,
        };
        bodies[place].0.extend_from_slice(&body.body);
        bodies[place].1 = body.end_of_stream;
    }
    bodies
}

#[tokio::test]
async fn a_server_that_answers_nothing_sees_all_and_holds_nothing_up() {
    for request in [POST, CHUNKED] {
        let (main, mut calls) = main_backend(OK).await;
        let (told, mut seen) = mpsc::unbounded_channel();
        let at = picker(move |mut talk| {
            let told = told.clone();
            async move {
                let mut messages = Vec::new();
                while let Some(message) = talk.next().await {
                    messages.push(message);
                }
                told.send(messages).unwrap();
            }
        })
        .await;
        let answer = gateway(main, &[(at, WATCH)]).raw(request).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("content-length: 5\r\n"), "{answer}");
        let call = calls.recv().await.unwrap().to_ascii_lowercase();
        assert_eq!(call.contains("content-length: 5\r\n"), request == POST, "{call}");

        let messages = seen.recv().await.unwrap();
        assert!(messages.iter().all(|message| message.observability_mode), "{messages:?}");
        assert!(matches!(messages[0].request, Some(Part::RequestHeaders(_))));
        assert_eq!(messages.iter().filter(|it| matches!(it.request, Some(Part::ResponseHeaders(_)))).count(), 1);
        assert_eq!(bodies(&messages), [(b"hello".to_vec(), true), (b"hello".to_vec(), true)]);
    }
}

#[tokio::test]
async fn answers_count_for_nothing() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(setting(&[("x-user", "mallory")])));
        talk.say(immediate(403, "no"));
        while talk.next().await.is_some() {}
    })
    .await;
    let answer = gateway(main, &[(at, WATCH)]).raw(POST).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    assert!(!calls.recv().await.unwrap().contains("mallory"));
}

#[tokio::test]
async fn one_that_is_away_or_ends_the_stream_is_missed_by_nobody() {
    let (main, _calls) = main_backend(OK).await;
    let ends = picker(|mut talk| async move {
        talk.headers().await;
        talk.close();
    })
    .await;
    for at in [nowhere(), ends] {
        let answer = gateway(main, &[(at, WATCH)]).raw(CHUNKED).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    }
}

#[tokio::test]
async fn one_that_reads_nothing_is_let_go() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|talk| async move {
        let _talk = talk;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = gateway(main, &[(at, WATCH)]);
    let body = Bytes::from(vec![b'a'; 80 << 20]);
    let head = format!("POST /a HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = gateway.raw(&(head + std::str::from_utf8(&body).unwrap())).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(calls.recv().await.unwrap().ends_with(std::str::from_utf8(&body).unwrap()));
}
