//! Answers of the engine, ready to send.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::{Instant, MissedTickBehavior},
};

use crate::workload::CHUNKS;

/// The body of a whole answer.
pub(super) const COMPLETION: &str = r#"{"id":"chatcmpl-0","object":"chat.completion","created":1700000000,"model":"qwen","choices":[{"index":0,"message":{"role":"assistant","content":"It leads into the street."},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"total_tokens":46,"completion_tokens":6}}"#;
/// The engine's metrics.
pub(super) const METRICS: &str = "\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name=\"qwen\"} 4
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model_name=\"qwen\"} 0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{model_name=\"qwen\"} 0.25
# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"10000\"} 1
";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
/// Texts of events, in turn: equal events would be easier to read than those of a model are.
const WORDS: [&str; 6] = ["It", " leads", " into", " the", " street", "."];

/// HTTP/1.1 answers.
pub(super) struct Script {
    pub(super) completion: Vec<u8>,
    pub(super) metrics: Vec<u8>,
    events: [Vec<u8>; WORDS.len()],
    last_event: Vec<u8>,
}

impl Script {
    pub(super) fn new() -> Self {
        Self {
            completion: message("application/json", COMPLETION),
            metrics: message("text/plain; version=0.0.4", METRICS),
            events: WORDS.map(|word| chunk(&event(word))),
            last_event: [&chunk("data: [DONE]")[..], b"0\r\n\r\n"].concat(),
        }
    }

    /// The beginning of a stream, and a chunk at each tick from then on.
    pub(super) async fn stream(&self, stream: &mut (impl AsyncWrite + Unpin), cadence: Duration) -> io::Result<()> {
        self.begin(stream).await?;
        let mut ticks = tokio::time::interval_at(Instant::now() + cadence, cadence);
        // A late chunk must not be followed by a burst: chunks that travel together cost less.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for event in self.events.iter().cycle().skip(1).take(CHUNKS as usize - 2) {
            ticks.tick().await;
            stream.write_all(event).await?;
        }
        ticks.tick().await;
        stream.write_all(&self.last_event).await
    }

    /// The head and the first chunk at once, in writes of their own as engines do.
    pub(super) async fn begin(&self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        stream.write_all(STREAM_HEAD).await?;
        stream.write_all(&self.events[0]).await
    }
}

fn message(content_type: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into()
}

fn event(word: &str) -> String {
    format!(
        r#"data: {{"id":"chatcmpl-0","object":"chat.completion.chunk","created":1700000000,"model":"qwen","choices":[{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}]}}"#
    )
}

fn chunk(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\n\n\r\n", event.len() + 2).into()
}
