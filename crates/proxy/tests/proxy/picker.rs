//! Pools with an endpoint picker of their own, and pickers as they are met: those that hold their answer back, those that stream
//! bodies back, and those that fail.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_envoy_proto::{
    ext_proc::{processing_request::Request as Part, processing_response::Response as Answer},
    structs::strings,
};
use pailou_extproc::names::{ENDPOINT, SERVED, SUBSET};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use crate::support::{
    objects::nowhere,
    picked::{LIMIT, TO_POOL, engine, gateway, metadata, post},
    picker::{Talk, choosing, immediate, picker, setting, streamed, unchanged},
};

/// The reference picker (lwepp v1.6.0): the answer to the headers after the body, each piece answered without a word about it, and
/// all headers of the response echoed.
async fn reference(mut talk: Talk, endpoint: SocketAddr) {
    let (headers, _) = talk.headers().await;
    if headers.end_of_stream {
        talk.say(choosing(&endpoint.to_string()));
    }
    while let Some(message) = talk.next().await {
        match message.request.unwrap() {
            Part::RequestBody(piece) => {
                if piece.end_of_stream {
                    talk.say(Answer::RequestHeaders(setting(&[(ENDPOINT, &endpoint.to_string()), ("x-echo", "set")])));
                }
                talk.say(Answer::RequestBody(unchanged()));
            }
            Part::ResponseHeaders(headers) => {
                let served = strings(metadata(&message.metadata_context, "envoy.lb", SERVED)).unwrap().join(",");
                let echoed = headers.headers.unwrap().headers;
                let echoed = echoed.iter().map(|header| (header.key.clone(), String::from_utf8_lossy(header.bytes()).into_owned()));
                let all: Vec<_> = echoed.chain([("x-served".to_owned(), served)]).collect();
                let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                talk.say(Answer::ResponseHeaders(setting(&all)));
            }
            Part::ResponseBody(_) => talk.say(Answer::ResponseBody(unchanged())),
            _ => {}
        }
    }
    talk.close();
}

#[tokio::test]
async fn reference_picker_is_understood() {
    let (one, mut calls) = engine().await;
    let (two, _others) = engine().await;
    let at = picker(move |talk| reference(talk, one)).await;
    let gateway = gateway(&[one, two], at, "FailClose", TO_POOL);
    // Longer than one message.
    let body = format!(r#"{{"model":"m","prompt":"{}"}}"#, "x".repeat(150_000));
    for _ in 0..3 {
        let answer = post(&gateway, &body).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("one") && answer.contains("two"), "{answer}");
        assert!(answer.contains(&format!("x-served: {one}")), "{answer}");
        let call = calls.recv().await.unwrap();
        assert!(call.ends_with(&body) && call.contains("x-echo: set"), "{}", &call[..400]);
        assert_eq!(call.to_ascii_lowercase().matches("content-length").count(), 1);
    }
    let answer = gateway.ask("GET /v1/models HTTP/1.1\r\nhost: a.test").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-served"), "{answer}");
}

#[tokio::test]
async fn body_that_is_streamed_back_changed_is_what_the_engine_gets() {
    let (one, mut calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&one.to_string()));
        let (body, _) = talk.body().await;
        talk.say(Answer::RequestBody(streamed(body.slice(..5), false)));
        talk.say(Answer::RequestBody(streamed(Bytes::from_static(br#"el":"other"}"#), true)));
        while let Some(message) = talk.next().await {
            match message.request.unwrap() {
                Part::ResponseHeaders(_) => talk.say(Answer::ResponseHeaders(setting(&[("x-seen", "1")]))),
                Part::ResponseBody(piece) => {
                    let upper = String::from_utf8_lossy(&piece.body).to_uppercase();
                    talk.say(Answer::ResponseBody(streamed(upper, piece.end_of_stream)));
                }
                _ => {}
            }
        }
    })
    .await;
    let gateway = gateway(&[one], at, "FailClose", TO_POOL);
    let answer = post(&gateway, r#"{"model":"mine"}"#).await;
    assert!(answer.contains("x-seen: 1") && answer.contains("ONE") && answer.contains("TWO"), "{answer}");
    let call = calls.recv().await.unwrap();
    assert!(call.ends_with("\r\n\r\n{\"model\":\"other\"}"), "{call}");
    assert!(call.to_ascii_lowercase().contains("content-length: 17\r\n"), "{call}");
}

#[tokio::test]
async fn pieces_of_a_response_pass_as_they_come() {
    let (one, _calls) = engine().await;
    let at = picker(move |talk| reference(talk, one)).await;
    let gateway = gateway(&[one], at, "FailClose", TO_POOL);
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("one") {
        assert!(timeout(LIMIT, stream.read_buf(&mut read)).await.unwrap().unwrap() > 0);
    }
    assert!(!String::from_utf8_lossy(&read).contains("two"), "the first piece does not wait for the second");
}

#[tokio::test]
async fn picker_that_dies_after_its_answer_does_no_harm() {
    let (one, _calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.body().await;
        talk.say(choosing(&one.to_string()));
        talk.say(Answer::RequestBody(unchanged()));
        // The stream is reset in the middle of the response.
        while let Some(message) = talk.next().await {
            if matches!(message.request, Some(Part::ResponseHeaders(_))) {
                talk.say(Answer::ResponseHeaders(setting(&[])));
            } else {
                return;
            }
        }
    })
    .await;
    let gateway = gateway(&[one], at, "FailClose", TO_POOL);
    let answer = post(&gateway, r#"{"model":"m"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("one") && answer.ends_with("two\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn silent_picker_fails_as_its_mode_says() {
    let (one, mut calls) = engine().await;
    let refused = nowhere();
    let broken = picker(|talk| async move { talk.close() }).await;
    let stranger = picker(|mut talk| async move {
        talk.headers().await;
        talk.body().await;
        talk.say(choosing("127.0.0.1:1"));
        talk.say(Answer::RequestBody(unchanged()));
    })
    .await;
    for at in [refused, broken, stranger] {
        let body = r#"{"model":"m"}"#;
        let answer = post(&gateway(&[one], at, "FailOpen", TO_POOL), body).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(calls.recv().await.unwrap().ends_with(body));
        let answer = post(&gateway(&[one], at, "FailClose", TO_POOL), body).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("x-pailou-response-flag: EP"), "{answer}");
    }
}

#[tokio::test]
async fn endpoints_are_tried_in_the_pickers_order() {
    let (one, mut calls) = engine().await;
    let down = nowhere();
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&format!("{down},{one}")));
        talk.body().await;
        talk.say(Answer::RequestBody(unchanged()));
        talk.close();
    })
    .await;
    let gateway = gateway(&[one, down], at, "FailClose", TO_POOL);
    let answer = post(&gateway, r#"{"model":"m"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(calls.recv().await.unwrap().contains("127.0.0.1"));
}

#[tokio::test]
async fn subset_of_a_filter_is_told_and_a_clients_is_not() {
    let (one, _calls) = engine().await;
    let (told, mut subsets) = mpsc::unbounded_channel();
    let at = picker(move |mut talk| {
        let told = told.clone();
        async move {
            let (headers, message) = talk.headers().await;
            let named = headers.headers.unwrap().headers.iter().any(|header| header.key == SUBSET);
            let subset = message.metadata_context.map(|context| {
                let value = metadata(&Some(context.clone()), "envoy.lb.subset_hint", SUBSET).clone();
                strings(&value).unwrap().join("|")
            });
            told.send((named, subset)).unwrap();
            talk.say(choosing(&one.to_string()));
        }
    })
    .await;
    let rule = format!(
        "{{filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: {SUBSET}, value: '10.0.0.1, 10.0.0.2:8000'}}]}}}}], \
         {}",
        &TO_POOL[1..]
    );
    for (rule, expected) in [(rule.as_str(), Some("10.0.0.1|10.0.0.2:8000")), (TO_POOL, None)] {
        let gateway = gateway(&[one], at, "FailClose", rule);
        gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\n{SUBSET}: 6.6.6.6")).await;
        assert_eq!(subsets.recv().await.unwrap(), (false, expected.map(str::to_owned)));
    }
}

#[tokio::test]
async fn picker_may_answer_the_client() {
    let (one, mut calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(immediate(429, "come back later"));
        talk.close();
    })
    .await;
    let answer = post(&gateway(&[one], at, "FailOpen", TO_POOL), r#"{"model":"m"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.ends_with("come back later"), "{answer}");
    assert!(answer.contains("x-pailou-response-flag: SH"), "{answer}");
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn eviction_in_the_middle_of_a_response_breaks_it_off() {
    let (one, _calls) = engine().await;
    let at = picker(move |mut talk| async move {
        talk.headers().await;
        talk.say(choosing(&one.to_string()));
        talk.body().await;
        talk.say(Answer::RequestBody(unchanged()));
        while let Some(message) = talk.next().await {
            match message.request.unwrap() {
                Part::ResponseHeaders(_) => talk.say(Answer::ResponseHeaders(setting(&[]))),
                Part::ResponseBody(piece) if piece.body == "one" => talk.say(Answer::ResponseBody(unchanged())),
                _ => talk.say(immediate(429, "evicted")),
            }
        }
    })
    .await;
    let answer = post(&gateway(&[one], at, "FailClose", TO_POOL), r#"{"model":"m"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!answer.contains("two") && !answer.ends_with("0\r\n\r\n"), "the response must not look whole: {answer}");
}
