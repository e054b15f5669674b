//! Clients that ask for much and give little: each is held to a bound, and the others are served.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, fields, frame},
    recorder::{LIMIT, Recorder},
};
use crate::support::objects::{Gateway, backend, route};

const HEAD: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
/// REFUSED_STREAM (RFC 9113, 7).
const REFUSED: [u8; 4] = [0, 0, 0, 7];

/// A gateway that takes two streams at once over HTTP/2, with these clocks.
async fn gateway(clocks: &str) -> (Gateway, Recorder) {
    let recorder = Recorder::start().await;
    let rule = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}";
    let policy = format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: ClientTrafficPolicy\nmetadata: {{name: p}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: Gateway, name: gw}}]\n  timeout: {{http: {{{clocks}}}}}\n  http2: {{maxConcurrentStreams: 2}}\n"
    );
    let gateway = Gateway::serve(&[route(rule), backend("b", recorder.address, ""), policy].concat());
    (gateway, recorder)
}

async fn assert_others_are_served(gateway: &Gateway) {
    let answer = gateway.ask("GET /other HTTP/1.1\r\nhost: a").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Sends until the gateway has had enough; how much it took.
async fn until_refused(frames: &mut Frames, piece: &[u8], most: usize) -> usize {
    let mut sent = 0;
    while sent < most {
        // Not all of it may be taken once the gateway stops reading.
        match timeout(Duration::from_secs(2), frames.send(piece)).await {
            Ok(Ok(())) => sent += piece.len(),
            _ => break,
        }
    }
    sent
}

#[tokio::test]
async fn heads_that_drip_are_not_waited_for() {
    let (gateway, _recorder) = gateway("requestHeadersReceivedTimeout: 1s").await;
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let address = gateway.address;
        slow.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let (mut read, mut write) = stream.split();
            let dripping = async {
                let _ = write.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await;
                while write.write_all(b"y").await.is_ok() {
                    sleep(Duration::from_millis(50)).await;
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                () = dripping => {}
                _ = read.read_to_end(&mut answer) => {}
            }
        });
    }
    assert_others_are_served(&gateway).await;
    let ended = async { while slow.join_next().await.is_some() {} };
    timeout(LIMIT, ended).await.expect("all of them are let go");
    assert_others_are_served(&gateway).await;
}

#[tokio::test]
async fn bodies_that_stop_are_not_waited_for() {
    let (gateway, recorder) = gateway("streamIdleTimeout: 1s").await;
    let mut stopped = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let address = gateway.address;
        stopped.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nx").await.unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    assert_others_are_served(&gateway).await;
    while let Some(answer) = timeout(LIMIT, stopped.join_next()).await.expect("all of them are let go") {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    let (whole, in_part) = recorder.take("nothing but the other's").await;
    assert!(in_part && whole.iter().all(|request| request.target == "/other"), "{whole:?}");
}

#[tokio::test]
async fn streams_that_are_reset_as_soon_as_they_begin_end_the_connection() {
    let (gateway, recorder) = gateway("").await;
    let mut frames = Frames::connect(gateway.address).await;
    let block = fields(&HEAD);
    let mut flood = Vec::new();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        flood.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let _ = frames.send(&flood).await;
    let mut is_told = false;
    while let Some(frame) = frames.next().await {
        is_told |= frame.kind == GOAWAY;
        if is_told {
            break;
        }
    }
    drop(frames);
    let (whole, _) = recorder.take("the flood").await;
    assert!(whole.len() < 1000, "{} of 10,000 reached the backend", whole.len());
    assert_others_are_served(&gateway).await;
}

#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let (gateway, recorder) = gateway("").await;
    let mut frames = Frames::connect(gateway.address).await;
    frames.send(&frame(HEADERS, 0, 1, &fields(&HEAD))).await.unwrap();
    let piece = frame(CONTINUATION, 0, 1, &fields(&[("x", &"y".repeat(8 << 10))]));
    let most = 64 << 20;
    let sent = until_refused(&mut frames, &piece, most).await;
    assert!(sent < most, "it takes whatever comes");
    drop(frames);
    // Pieces that hold nothing are no better.
    let mut frames = Frames::connect(gateway.address).await;
    frames.send(&frame(HEADERS, 0, 1, &fields(&HEAD))).await.unwrap();
    let pieces = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    assert!(until_refused(&mut frames, &pieces, most).await < most, "it takes whatever comes");
    drop(frames);
    assert!(recorder.take("the flood").await.0.is_empty());
    assert_others_are_served(&gateway).await;
}

#[tokio::test]
async fn a_short_head_that_unfolds_into_a_long_one_is_refused() {
    let (gateway, recorder) = gateway("").await;
    let mut frames = Frames::connect(gateway.address).await;
    // One field of 3,000 bytes goes into the table (RFC 7541, 6.2.1), and is named a thousand times (6.1): index 62.
    let mut block = fields(&HEAD);
    let field = fields(&[("x", &"y".repeat(3000))]);
    block.push(0x40);
    block.extend_from_slice(&field[1..]);
    block.extend([0x80 | 62].repeat(1000));
    let _ = frames.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    assert_ne!(frames.status_of(1).await, Some(200));
    drop(frames);
    assert!(recorder.take("3 MB of fields").await.0.is_empty());
    assert_others_are_served(&gateway).await;
}

#[tokio::test]
async fn frames_that_ask_for_answers_are_not_queued_without_end() {
    let (gateway, _recorder) = gateway("").await;
    for piece in [frame(PING, 0, 0, &[0; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut frames = Frames::connect(gateway.address).await;
        let most = 256 << 20;
        // None of the answers is read, so at some time no more is taken.
        let sent = until_refused(&mut frames, &piece.repeat(1000), most).await;
        assert!(sent < most, "it takes whatever comes");
        assert_others_are_served(&gateway).await;
    }
}

#[tokio::test]
async fn more_streams_than_are_allowed_are_refused() {
    let (gateway, _recorder) = gateway("").await;
    let mut frames = Frames::connect(gateway.address).await;
    // Each has a body that does not come.
    for stream in [1, 3, 5] {
        frames.send(&frame(HEADERS, END_HEADERS, stream, &fields(&HEAD))).await.unwrap();
    }
    let refused = loop {
        let frame = frames.next().await.expect("the connection goes on");
        if frame.kind == RST_STREAM {
            break frame;
        }
    };
    assert_eq!((refused.stream, &refused.payload[..]), (5, &REFUSED[..]));
    frames.send(&frame(DATA, END_STREAM, 1, b"x")).await.unwrap();
    assert_eq!(frames.status_of(1).await, Some(200));
}

#[tokio::test]
async fn bodies_that_are_held_have_a_bound_together() {
    let recorder = Recorder::start().await;
    // The process holds 64 MiB.
    let gateway = super::requests::gateway(recorder.address, true);
    let (size, count) = (8 << 20, 10);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..count {
        let address = gateway.address;
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n");
            let (mut read, mut write) = stream.split();
            // The last byte does not come, so that all of them are held at the same time.
            let sending = async {
                let _ = write.write_all(head.as_bytes()).await;
                let _ = write.write_all(&vec![b' '; size - 1]).await;
                std::future::pending::<()>().await;
            };
            let mut answer = Vec::new();
            tokio::select! {
                () = sending => {}
                _ = read.read_to_end(&mut answer) => {}
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    for _ in 0..2 {
        let refused = timeout(LIMIT, clients.join_next()).await.expect("they cannot all be held").unwrap().unwrap();
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("x-pailou-response-flag: OM"), "{refused}");
    }
    // Those that are still held give up, and there is room again.
    clients.shutdown().await;
    let served = async {
        loop {
            let answer = gateway.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0").await;
            if answer.starts_with("HTTP/1.1 200 ") {
                return;
            }
        }
    };
    timeout(LIMIT, served).await.expect("there is room");
    super::faults::assert_nothing_is_left(&gateway, "bodies that were given up").await;
}
