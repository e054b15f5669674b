//! The mock engine: reads requests only as far as needed to skip them and gives fixed answers.

use std::{cell::Cell, io, net::Ipv4Addr, rc::Rc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    http::{Receiver, Start},
    workload::CHUNKS,
};

/// The endpoints' addresses; they share a port.
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// Ports tried before giving up on one that is free on every address.
const ATTEMPTS: usize = 16;

const COMPLETION: &str = r#"{"id":"chatcmpl-0","object":"chat.completion","created":1700000000,"model":"qwen","choices":[{"index":0,"message":{"role":"assistant","content":"It leads into the street."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"total_tokens":46,"completion_tokens":6}}"#;
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
const EVENT: &str = r#"data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"qwen","choices":[{"index":0,"delta":{"content":" street"},"logprobs":null,"finish_reason":null}]}"#;
const METRICS: &str = "\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name=\"qwen\"} 4
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name=\"qwen\"} 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name=\"qwen\"} 0.25
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"10000\"} 1
";

/// What the engine answers to every request that is not for its metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// A completion at once.
    Completion,
    /// A stream with so much time between its chunks.
    Stream(Duration),
}

/// A running engine with two endpoints.
pub(crate) struct Engine {
    port: u16,
    answer: Rc<Cell<Answer>>,
    _listeners: JoinSet<()>,
}

impl Engine {
    /// Starts on a port that is free on both addresses; must be called within a `LocalSet`.
    pub(crate) async fn start() -> io::Result<Self> {
        let (port, listeners) = bind().await?;
        let answer = Rc::new(Cell::new(Answer::Completion));
        let script = Rc::new(Script::new());
        let mut tasks = JoinSet::new();
        for listener in listeners {
            tasks.spawn_local(accept(listener, script.clone(), answer.clone()));
        }
        Ok(Self { port, answer, _listeners: tasks })
    }

    /// The port of both endpoints.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// An endpoint's address.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        (ADDRESSES[0], self.port).into()
    }

    /// Sets what is answered from now on.
    pub(crate) fn set_answer(&self, answer: Answer) {
        self.answer.set(answer);
    }
}

async fn bind() -> io::Result<(u16, [TcpListener; 2])> {
    let mut attempt = 1;
    loop {
        let first = TcpListener::bind((ADDRESSES[0], 0)).await?;
        let port = first.local_addr()?.port();
        match TcpListener::bind((ADDRESSES[1], port)).await {
            Ok(second) => return Ok((port, [first, second])),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}

async fn accept(listener: TcpListener, script: Rc<Script>, answer: Rc<Cell<Answer>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn_local(serve(stream, script.clone(), answer.clone()));
                }
            }
            // A gateway that closes a connection, even in the middle of an answer, is no concern of the engine's.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, script: Rc<Script>, answer: Rc<Cell<Answer>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut receiver = Receiver::new();
    while let Some(head) = receiver.head(&mut stream).await? {
        receiver.skip(&mut stream, head.framing, |_| {}).await?;
        match (head.start, answer.get()) {
            (Start::Request { metrics: true }, _) => stream.write_all(&script.metrics).await?,
            (_, Answer::Completion) => stream.write_all(&script.completion).await?,
            (_, Answer::Stream(cadence)) => script.stream(&mut stream, cadence).await?,
        }
    }
    Ok(())
}

/// Answers, ready to send.
struct Script {
    completion: Vec<u8>,
    metrics: Vec<u8>,
    event: Vec<u8>,
    last_event: Vec<u8>,
}

impl Script {
    fn new() -> Self {
        Self {
            completion: message("application/json", COMPLETION),
            metrics: message("text/plain; version=0.0.4", METRICS),
            event: chunk(EVENT),
            last_event: [&chunk("data: [DONE]")[..], b"0\r\n\r\n"].concat(),
        }
    }

    /// The head and the first chunk at once, in writes of their own as engines do; then a chunk at each tick.
    async fn stream(&self, stream: &mut TcpStream, cadence: Duration) -> io::Result<()> {
        stream.write_all(STREAM_HEAD).await?;
        stream.write_all(&self.event).await?;
        let mut ticks = tokio::time::interval_at(Instant::now() + cadence, cadence);
        // A late chunk must not be followed by a burst: chunks that travel together cost less.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 2..CHUNKS {
            ticks.tick().await;
            stream.write_all(&self.event).await?;
        }
        ticks.tick().await;
        stream.write_all(&self.last_event).await
    }
}

fn message(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

fn chunk(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2).into()
}
