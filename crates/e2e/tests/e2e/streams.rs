//! Streams on their way to the client: at once, cancellable, bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pailou_e2e::client::{CHAT, Call, Connection};
use pailou_e2e::gateway::{Gateway, Setup};
use pailou_e2e::wire::{Server, Wire};
use pailou_e2e::{objects, wait};
use pailou_sim::engine::CostModel;
use pailou_sim::{Config, FaultKind};
use tokio::sync::mpsc;

use crate::support::{engine, everything_to, pool_of};

/// A gateway before one server.
async fn before(server: &Server) -> Gateway {
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    Setup::with([objects::gateway(), route, objects::backend("b", &[server.address])]).serve().await
}

/// A server that sends chunks on command, and reports when its peer has gone.
async fn dictated(content_type: &'static str) -> (Server, mpsc::UnboundedSender<Vec<u8>>, mpsc::UnboundedReceiver<Instant>) {
    let (say, told) = mpsc::unbounded_channel::<Vec<u8>>();
    let (gone, closed) = mpsc::unbounded_channel();
    let told = Arc::new(tokio::sync::Mutex::new(told));
    let server = Server::start(move |mut wire| {
        let (told, gone) = (told.clone(), gone.clone());
        async move {
            wire.request().await?;
            wire.write(format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n")).await?;
            let mut told = told.lock().await;
            loop {
                tokio::select! {
                    data = told.recv() => match data {
                        Some(data) => wire.chunk(data).await?,
                        None => return wire.write("0\r\n\r\n").await,
                    },
                    () = wire.closed() => {
                        let _ = gone.send(Instant::now());
                        return Ok(());
                    }
                }
            }
        }
    })
    .await;
    (server, say, closed)
}

#[tokio::test]
async fn every_chunk_arrives_before_the_next_is_sent() {
    for content_type in ["text/event-stream", "application/octet-stream"] {
        let (server, say, _closed) = dictated(content_type).await;
        let gateway = before(&server).await;
        let mut stream = Call::chat_stream("m", "hello", 5).open(gateway.http()).await;
        for length in [1, 7, 100, 1000, 4096, 8192, 16_384, 20_000, 65_536, 1] {
            let mut chunk =
                format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n", "x".repeat(length)).into_bytes();
            say.send(chunk.clone()).unwrap();
            while !chunk.is_empty() {
                let piece = stream.next().await.unwrap().unwrap();
                assert_eq!(piece, chunk[..piece.len()]);
                chunk.drain(..piece.len());
            }
        }
        drop(say);
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn the_head_arrives_before_the_first_chunk() {
    let (server, say, _closed) = dictated("text/event-stream").await;
    let gateway = before(&server).await;
    let mut stream = Call::chat_stream("m", "hello", 5).open(gateway.http()).await;
    assert_eq!(stream.status, 200);
    say.send(b": ping\n\n".to_vec()).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), ": ping\n\n");
}

/// How long word of a client's leaving took; reported, and bounded far above what it should be, for busy machines.
fn soon(what: &str, left: Instant, heard: Instant) {
    let took = heard.saturating_duration_since(left);
    println!("{what}: the engine heard after {took:?}");
    assert!(took < Duration::from_secs(5), "{what}: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_mid_stream_is_heard_by_the_engine() {
    let (server, say, mut closed) = dictated("text/event-stream").await;
    let gateway = before(&server).await;
    let mut stream = Call::chat_stream("m", "hello", 5).open(gateway.http()).await;
    say.send(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_vec()).unwrap();
    stream.next().await.unwrap().unwrap();
    let left = Instant::now();
    drop(stream);
    soon("HTTP/1.1", left, wait::within("the engine hears", closed.recv()).await.unwrap());
    let line = gateway.logged("the request", |line| line["path"] == CHAT).await;
    assert_eq!((&line["status"], &line["flag"]), (&200.into(), &"DC".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_client_that_leaves_one_stream_is_heard_by_the_engine() {
    let (server, say, mut closed) = dictated("text/event-stream").await;
    let gateway = before(&server).await;
    let connection = Connection::http2(gateway.http()).await.unwrap();
    let mut stream = connection.open(Call::chat_stream("m", "hello", 5)).await.unwrap();
    say.send(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_vec()).unwrap();
    stream.next().await.unwrap().unwrap();
    let left = Instant::now();
    drop(stream);
    soon("HTTP/2", left, wait::within("the engine hears", closed.recv()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_before_the_answer_is_heard_by_the_engine() {
    let (gone, mut closed) = mpsc::unbounded_channel();
    let (asked, mut request) = mpsc::unbounded_channel();
    let server = Server::start(move |mut wire| {
        let (gone, asked) = (gone.clone(), asked.clone());
        async move {
            wire.request().await?;
            let _ = asked.send(());
            wire.closed().await;
            let _ = gone.send(Instant::now());
            Ok(())
        }
    })
    .await;
    let gateway = before(&server).await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write("POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        .await
        .unwrap();
    wait::within("the engine is asked", request.recv()).await.unwrap();
    let left = Instant::now();
    drop(wire);
    soon("no answer yet", left, wait::within("the engine hears", closed.recv()).await.unwrap());
}

#[tokio::test]
async fn a_cancelled_stream_frees_the_engine() {
    let cost = CostModel { step_us: 20_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["qwen"]) }).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let mut stream = Call::chat_stream("qwen", "hello", 5000).open(gateway.http()).await;
    stream.next().await.unwrap().unwrap();
    drop(stream);
    wait::eventually("the engine drops the request", || sim.stats().aborts == 1 && sim.stats().running == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stalls_holds_the_engine_back() {
    const CHUNK: usize = 64 << 10;
    const CHUNKS: usize = 2048;
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let server = Server::start(move |mut wire| {
        let count = count.clone();
        async move {
            wire.request().await?;
            wire.begin_events().await?;
            let chunk = vec![b'x'; CHUNK];
            for _ in 0..CHUNKS {
                wire.chunk(&chunk).await?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            wire.write("0\r\n\r\n").await
        }
    })
    .await;
    let gateway = before(&server).await;
    let before = gateway.memory();
    let mut wire = Wire::connect_narrow(gateway.http(), 16 << 10).await;
    wire.write("GET /v1/stream HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    wire.head().await;
    let mut last = usize::MAX;
    let still = async {
        while last != written.load(Ordering::Relaxed) {
            last = written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    wait::within("the engine is held back", still).await;
    let grown = gateway.memory().saturating_sub(before) >> 20;
    println!("stalled after {} MiB; memory grew by {grown} MiB", (last * CHUNK) >> 20);
    assert!(last < CHUNKS / 2, "the kernel's buffers hold less than {last} chunks");
    assert!(grown < 16, "memory grew by {grown} MiB");
    let mut read = 0;
    while read < CHUNK * CHUNKS {
        let some = wait::within("the rest arrives", wire.some()).await.unwrap();
        assert!(!some.is_empty(), "ended after {read} bytes");
        read += some.len();
    }
}

#[tokio::test]
async fn an_answer_during_the_upload_is_heard_at_once() {
    let sim = engine(Config { max_body_bytes: 64 << 20, ..Config::new("a", ["qwen"]).instant() }).await;
    let route = objects::route("r", everything_to(objects::to_backend("b")));
    let gateway = Setup::with([objects::gateway(), route, objects::backend("b", &[sim.addr()])]).serve().await;
    for status in [429, 413] {
        sim.faults().set([FaultKind::EarlyStatus(status).into()]);
        let mut wire = Wire::connect(gateway.http()).await;
        wire.write("POST /files HTTP/1.1\r\nhost: a\r\ncontent-length: 50000000\r\n\r\n").await.unwrap();
        wire.write(vec![b'x'; 10_000]).await.unwrap();
        let head = wire.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_refuses_a_long_prompt_unread_is_heard() {
    let sim = engine(Config { max_body_bytes: 64 << 20, ..Config::new("a", ["qwen"]).instant() }).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    for status in [429, 413] {
        for _ in 0..5 {
            sim.faults().set([pailou_sim::Fault::new(FaultKind::EarlyStatus(status)).path("/v1/")]);
            let reply = Call::chat("qwen", &"x".repeat(8 << 20)).send(gateway.http()).await;
            assert_eq!((reply.status.as_u16(), reply.server()), (status, "a"), "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn an_upload_is_passed_on_as_it_comes() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let server = Server::start(move |mut wire| {
        let tell = tell.clone();
        async move {
            wire.head().await;
            for index in 0..5 {
                wire.until(&format!("piece {index}")).await;
                let _ = tell.send(index);
            }
            wire.answer(200, "{}").await
        }
    })
    .await;
    let gateway = before(&server).await;
    let mut wire = Wire::connect(gateway.http()).await;
    wire.write("POST /files HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    for index in 0..5 {
        wire.chunk(format!("piece {index}")).await.unwrap();
        assert_eq!(wait::within("the piece arrives", told.recv()).await, Some(index));
    }
    wire.write("0\r\n\r\n").await.unwrap();
    assert!(wire.head().await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_streams_share_one_http2_connection() {
    let cost = CostModel { step_us: 3_000.0, ..CostModel::instant() };
    let sim = engine(Config { cost, ..Config::new("a", ["qwen"]) }).await;
    let mut list = vec![objects::gateway(), objects::route("r", everything_to(objects::to_pool("qwen")))];
    list.extend(pool_of("qwen", &[&sim]));
    let gateway = Setup::with(list).serve().await;
    let mut connection = Connection::http2(gateway.http()).await.unwrap();
    let mut streams = tokio::task::JoinSet::new();
    for index in 0..80 {
        let mut shared = connection.share();
        streams.spawn(async move { shared.send(Call::chat_stream("qwen", &format!("question {index}"), 20)).await });
    }
    while let Some(reply) = wait::within("the streams end", streams.join_next()).await {
        let reply = reply.unwrap().unwrap();
        assert!(reply.status == 200 && reply.text().ends_with("data: [DONE]\n\n"), "{}", reply.text());
    }
    assert_eq!(connection.send(Call::get("/v1/models")).await.unwrap().status, 200);
}
