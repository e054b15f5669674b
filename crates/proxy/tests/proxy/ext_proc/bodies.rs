//! Bodies on their way past a processor, in each mode and direction.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use pailou_envoy_proto::ext_proc::{
    BodyMutation, BodyResponse, CommonResponse, TrailersResponse, body_mutation::Mutation, processing_request::Request as Part,
    processing_response::Response as Answer,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::OK;
use crate::support::{
    objects::nowhere,
    picker::{Talk, immediate, picker, streamed, unchanged},
    processor::{changed, gateway, gateway_for, gateway_with, go_on, main_backend, piece, response_headers, unchunked},
};

const LIMIT: Duration = Duration::from_secs(10);
const POST: &str = "POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
                      3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";

fn cleared() -> BodyResponse {
    let mutation = Some(BodyMutation { mutation: Some(Mutation::ClearBody(true)) });
    BodyResponse { response: Some(CommonResponse { body_mutation: mutation, ..CommonResponse::default() }) }
}

/// Splits an answer into its head and its body, which comes in chunks.
fn head_and_body(answer: &str) -> (String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), unchunked(body))
}

#[tokio::test]
async fn a_request_is_processed_as_one() {
    for (answer, expected) in
        [(unchanged(), Some("hello")), (changed("longer than it was"), Some("longer than it was")), (cleared(), None)]
    {
        let (main, mut calls) = main_backend(OK).await;
        let at = picker(move |mut talk| {
            let answer = answer.clone();
            async move {
                assert!(!talk.headers().await.0.end_of_stream);
                talk.say(Answer::RequestHeaders(go_on()));
                assert_eq!(piece(&mut talk).await, (Bytes::from("hello"), true));
                talk.say(Answer::RequestBody(answer));
                talk.close();
            }
        })
        .await;
        let gateway = gateway(main, &[(at, "processingMode: {request: {body: Buffered}}")]);
        assert!(gateway.raw(POST).await.starts_with("HTTP/1.1 200 "));
        let call = calls.recv().await.unwrap();
        let (head, body) = call.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, expected.unwrap_or_default());
        assert!(expected.is_none() || head.contains(&format!("content-length: {}", body.len())), "{head}");
    }
}

#[tokio::test]
async fn a_request_is_processed_in_pieces() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        loop {
            let (body, last) = piece(&mut talk).await;
            talk.say(Answer::RequestBody(match &*body {
                b"one" => changed("1"),
                b"two" => cleared(),
                _ => unchanged(),
            }));
            if last {
                return talk.close();
            }
        }
    })
    .await;
    let gateway = gateway(main, &[(at, "processingMode: {request: {body: Streamed}}, messageTimeout: 5s")]);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}3\r\none\r\n").as_bytes()).await.unwrap();
    client.write_all(b"3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let call = calls.recv().await.unwrap();
    let (head, body) = head_and_body(&call);
    assert!(!head.contains("content-length"), "{head}");
    // Bytes that come together may be one piece.
    assert!(["1three", "onetwothree", "1twothree"].contains(&&*body), "{body}");
}

#[tokio::test]
async fn a_request_that_was_read_for_its_model_is_processed_in_pieces_too() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        let (body, last) = piece(&mut talk).await;
        assert!(last && body.starts_with(b"{\"model\""));
        talk.say(Answer::RequestBody(changed("{\"model\": \"m\", \"n\": 1}")));
        talk.close();
    })
    .await;
    let more = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: route}\nspec:\n  parentRefs: [{name: gw}]\n  \
                rules: [{matches: [{headers: [{name: X-Gateway-Model-Name, value: m}]}], backendRefs: [{group: gateway.envoyproxy.io, \
                kind: Backend, name: main}]}]\n";
    let gateway = gateway_for(more, main, &[(at, "processingMode: {request: {body: Streamed}}")]);
    let body = "{\"model\": \"m\"}";
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json";
    let answer = gateway.raw(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let call = calls.recv().await.unwrap();
    assert!(call.ends_with("\r\n\r\n{\"model\": \"m\", \"n\": 1}") && call.contains("content-length: 22\r\n"), "{call}");
}

#[tokio::test]
async fn a_response_is_processed_as_one() {
    for answer in [unchanged(), changed("another"), cleared()] {
        let expected = match &answer.response.as_ref().unwrap().body_mutation {
            None => "onetwo",
            Some(BodyMutation { mutation: Some(Mutation::Body(_)) }) => "another",
            Some(_) => "",
        };
        let (main, _calls) = main_backend(EVENTS).await;
        let at = picker(move |mut talk| {
            let answer = answer.clone();
            async move {
                response_headers(&mut talk).await;
                talk.say(Answer::ResponseHeaders(go_on()));
                assert_eq!(piece(&mut talk).await, (Bytes::from("onetwo"), true));
                talk.say(Answer::ResponseBody(answer));
                talk.close();
            }
        })
        .await;
        let gateway = gateway(main, &[(at, "processingMode: {response: {body: Buffered}}")]);
        let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
        assert!(answer.contains(&format!("content-length: {}\r\n", expected.len())), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{expected}")), "{answer}");
    }
}

#[tokio::test]
async fn every_piece_of_a_stream_goes_on_once_it_is_answered() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let main = listener.local_addr().unwrap();
    let at = picker(|mut talk| async move {
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        loop {
            let (body, last) = piece(&mut talk).await;
            talk.say(Answer::ResponseBody(if body.is_empty() { unchanged() } else { changed("data: 1\n\n") }));
            if last {
                return talk.close();
            }
        }
    })
    .await;
    let gateway = gateway(main, &[(at, "processingMode: {response: {body: Streamed}}, messageTimeout: 5s")]);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n").await.unwrap();
    let (mut engine, _) = listener.accept().await.unwrap();
    let _ = engine.read(&mut [0; 4096]).await.unwrap();
    engine.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    for count in 1..=2 {
        // The next event comes only after the one before has reached the client.
        engine.write_all(b"9\r\ndata: 0\n\n\r\n").await.unwrap();
        while String::from_utf8_lossy(&read).matches("data: 1\n\n").count() < count {
            assert!(timeout(LIMIT, client.read_buf(&mut read)).await.unwrap().unwrap() > 0);
        }
    }
    engine.write_all(b"0\r\n\r\n").await.unwrap();
    timeout(LIMIT, client.read_to_end(&mut read)).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&read).ends_with("0\r\n\r\n"));
}

#[tokio::test]
async fn an_answer_in_the_middle_of_a_stream_breaks_it() {
    let (main, _calls) = main_backend(EVENTS).await;
    let at = picker(|mut talk| async move {
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        piece(&mut talk).await;
        talk.say(immediate(403, "no"));
        talk.close();
    })
    .await;
    let gateway = gateway(main, &[(at, "processingMode: {response: {body: Streamed}}")]);
    let answer = gateway.ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(!answer.contains("one") && !answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_in_the_middle_of_a_request_takes_the_backends_place() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        piece(&mut talk).await;
        talk.say(immediate(403, "not that"));
        talk.close();
    })
    .await;
    let gateway = gateway(main, &[(at, "processingMode: {request: {body: Streamed}}")]);
    let answer = gateway.raw(POST).await;
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("not that"), "{answer}");
}

/// Bodies of at most 4 bytes are read.
const SMALL: &str = "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {name: small}\nspec:\n  targetRefs: \
                     [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  connection: {bufferLimit: 4}\n";

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let (main, mut calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        talk.say(Answer::RequestHeaders(go_on()));
        talk.next().await;
    })
    .await;
    let gateway = gateway_with(main, &[(at, "processingMode: {request: {body: Buffered}}")], SMALL);
    let answer = gateway.raw(POST).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && calls.try_recv().is_err(), "{answer}");
}

#[tokio::test]
async fn the_rest_of_a_body_beyond_the_limit_goes_on_without_the_processor() {
    let (main, mut calls) = main_backend(OK).await;
    let (told, mut got) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            talk.headers().await;
            talk.say(Answer::RequestHeaders(go_on()));
            told.send(piece(&mut talk).await).unwrap();
            talk.say(Answer::RequestBody(changed("H")));
            talk.close();
        }
    })
    .await;
    let fields = "processingMode: {request: {body: BufferedPartial}}, messageTimeout: 5s";
    let gateway = gateway_with(main, &[(at, fields)], SMALL);
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(b"POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhello").await.unwrap();
    assert_eq!(timeout(LIMIT, got.recv()).await.unwrap().unwrap(), (Bytes::from("hello"), false));
    client.write_all(b"world").await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(head_and_body(&calls.recv().await.unwrap()).1, "Hworld");
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_500() {
    let (main, _calls) = main_backend(OK).await;
    let at = picker(|mut talk| async move {
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        talk.next().await;
    })
    .await;
    let fields = "processingMode: {response: {body: Buffered}}";
    let answer = gateway_with(main, &[(at, fields)], SMALL).ask("GET / HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("hello"), "{answer}");
}

#[tokio::test]
async fn bodies_go_both_ways_with_trailers_over_http2() {
    let (main, mut calls) = main_backend(EVENTS).await;
    let at = picker(|mut talk| async move {
        talk.headers().await;
        // All of the body is read before anything is answered.
        let mut body = Vec::new();
        loop {
            match talk.next().await.unwrap().request.unwrap() {
                Part::RequestBody(piece) => body.extend_from_slice(&piece.body),
                Part::RequestTrailers(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(body, b"hello");
        talk.say(Answer::RequestHeaders(go_on()));
        talk.say(Answer::RequestBody(streamed("good", false)));
        talk.say(Answer::RequestBody(streamed("bye", false)));
        talk.say(Answer::RequestTrailers(TrailersResponse::default()));
        response_headers(&mut talk).await;
        talk.say(Answer::ResponseHeaders(go_on()));
        while !piece(&mut talk).await.1 {}
        talk.say(Answer::ResponseBody(streamed("th", false)));
        talk.say(Answer::ResponseBody(streamed("ree", true)));
        talk.close();
    })
    .await;
    let mode = "processingMode: {request: {body: FullDuplexStreamed}, response: {body: FullDuplexStreamed}}";
    let gateway = gateway(main, &[(at, mode)]);
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a.test/").body(()).unwrap();
    let (response, mut send) = client.send_request(request, false).unwrap();
    send.send_data(Bytes::from("hello"), false).unwrap();
    send.send_trailers(HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("7"))]))
        .unwrap();
    let response = timeout(LIMIT, response).await.unwrap().unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut read = Vec::new();
    while let Some(data) = timeout(LIMIT, body.data()).await.unwrap() {
        read.extend_from_slice(&data.unwrap());
    }
    assert_eq!(read, b"three");
    assert_eq!(head_and_body(&calls.recv().await.unwrap()).1, "goodbye");
}

#[tokio::test]
async fn the_clients_leaving_ends_the_stream() {
    for (answers, request) in [
        (false, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        (true, "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhe"),
    ] {
        let (told, mut over) = mpsc::unbounded_channel();
        let (begun, mut begins) = mpsc::unbounded_channel();
        let at = picker(move |mut talk| {
            let (told, begun) = (told.clone(), begun.clone());
            async move {
                talk.headers().await;
                if answers {
                    talk.say(Answer::RequestHeaders(go_on()));
                }
                begun.send(()).unwrap();
                while talk.next().await.is_some() {}
                told.send(()).unwrap();
            }
        })
        .await;
        let fields = "processingMode: {request: {body: Streamed}}, messageTimeout: 1m";
        let gateway = gateway(nowhere(), &[(at, fields)]);
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        timeout(LIMIT, begins.recv()).await.expect("the processor is asked").unwrap();
        drop(client);
        timeout(LIMIT, over.recv()).await.expect("the stream ends with the request").unwrap();
    }
}

/// Answers every piece of both bodies, or sends it back.
async fn answering(mut talk: Talk, is_duplex: bool) {
    let back = |body: Bytes, last| if is_duplex { streamed(body, last) } else { unchanged() };
    while let Some(message) = talk.next().await {
        talk.say(match message.request.unwrap() {
            Part::RequestHeaders(_) => Answer::RequestHeaders(go_on()),
            Part::RequestBody(piece) => Answer::RequestBody(back(piece.body, piece.end_of_stream)),
            Part::RequestTrailers(_) => Answer::RequestTrailers(TrailersResponse::default()),
            Part::ResponseHeaders(_) => Answer::ResponseHeaders(go_on()),
            Part::ResponseBody(piece) => Answer::ResponseBody(back(piece.body, piece.end_of_stream)),
            Part::ResponseTrailers(_) => Answer::ResponseTrailers(TrailersResponse::default()),
        });
    }
}

#[tokio::test]
async fn bodies_longer_than_all_buffers_pass_in_both_directions_at_once() {
    const LENGTH: usize = 16 << 20;
    for mode in ["Streamed", "FullDuplexStreamed"] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let main = listener.local_addr().unwrap();
        let at = picker(move |talk| answering(talk, mode != "Streamed")).await;
        let fields = format!("processingMode: {{request: {{body: {mode}}}, response: {{body: {mode}}}}}, messageTimeout: 20s");
        let gateway = gateway(main, &[(at, &fields)]);
        // The backend sends back what it gets while it comes.
        let echo = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let (mut read, mut write) = stream.into_split();
            write.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let (mut read, mut write) = TcpStream::connect(gateway.address).await.unwrap().into_split();
        let sending = tokio::spawn(async move {
            let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: {LENGTH}\r\n\r\n");
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&vec![b'z'; LENGTH]).await.unwrap();
            write
        });
        let mut answer = Vec::new();
        timeout(6 * LIMIT, read.read_to_end(&mut answer)).await.expect("the response comes whole").unwrap();
        drop(sending.await.unwrap());
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"0\r\n\r\n"), "{mode}");
        assert_eq!(answer.iter().filter(|&&byte| byte == b'z').count(), LENGTH, "{mode}");
        echo.abort();
    }
}
