//! What is measured: kinds of requests and how they come.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

/// Server-sent events in one streamed answer, the last one being `[DONE]`.
pub(crate) const CHUNKS: u32 = 200;

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Prompts of 200 bytes, 32 connections.
    #[value(name = "200b")]
    #[serde(rename = "200b")]
    Small,
    /// Prompts of 32 KiB, 32 connections.
    #[value(name = "32k")]
    #[serde(rename = "32k")]
    Medium,
    /// Prompts of 1 MiB, 32 connections.
    #[value(name = "1m")]
    #[serde(rename = "1m")]
    Large,
    /// 16 streams of 200 server-sent events.
    #[value(name = "sse-16")]
    #[serde(rename = "sse-16")]
    FewStreams,
    /// 256 streams of 200 server-sent events.
    #[value(name = "sse-256")]
    #[serde(rename = "sse-256")]
    ManyStreams,
}

impl Workload {
    /// As it is called in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "200 B prompts, 32 connections",
            Self::Medium => "32 KiB prompts, 32 connections",
            Self::Large => "1 MiB prompts, 32 connections",
            Self::FewStreams => "SSE, 200 chunks, 16 streams",
            Self::ManyStreams => "SSE, 200 chunks, 256 streams",
        }
    }

    /// Bytes of a request's body.
    pub(crate) fn body_bytes(self) -> usize {
        match self {
            Self::Small | Self::FewStreams | Self::ManyStreams => 200,
            Self::Medium => 32 << 10,
            Self::Large => 1 << 20,
        }
    }

    /// Connections, each with one request at a time.
    pub(crate) fn connections(self) -> u32 {
        match self {
            Self::Small | Self::Medium | Self::Large => 32,
            Self::FewStreams => 16,
            Self::ManyStreams => 256,
        }
    }

    /// Whether answers are streams.
    pub(crate) fn streams(self) -> bool {
        matches!(self, Self::FewStreams | Self::ManyStreams)
    }

    /// Time between a stream's chunks.
    pub(crate) fn cadence(self) -> Duration {
        match self {
            Self::FewStreams => Duration::from_millis(5),
            _ => Duration::from_millis(10),
        }
    }

    /// Requests per second over all connections in the paced phase; streams have the pace of their chunks.
    pub(crate) fn rate(self) -> Option<u32> {
        match self {
            Self::Small => Some(8000),
            Self::Medium => Some(4000),
            Self::Large => Some(200),
            Self::FewStreams | Self::ManyStreams => None,
        }
    }

    /// The bytes of a request.
    pub(crate) fn request(self) -> Vec<u8> {
        let stream = if self.streams() { r#","stream":true"# } else { "" };
        // The model comes after the prompt in some clients and before it in most.
        let start = r#"{"model":"qwen","messages":[{"role":"user","content":""#;
        let end = format!(r#""}}],"max_tokens":200{stream}}}"#);
        let words = b"the gate over a street ".iter().cycle().take(self.body_bytes().saturating_sub(start.len() + end.len()));
        let body = [start.as_bytes(), &words.copied().collect::<Vec<u8>>(), end.as_bytes()].concat();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: pailou-bench\r\nAccept: */*\r\n\
             Authorization: Bearer none\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), &body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_of_the_length_that_is_said() {
        for workload in Workload::value_variants() {
            let request = workload.request();
            let end = request.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(request.len() - end, workload.body_bytes());
            let body: serde_json::Value = serde_json::from_slice(&request[end..]).unwrap();
            assert_eq!(body["model"], "qwen");
            assert_eq!(body["stream"].as_bool().unwrap_or(false), workload.streams());
        }
    }
}
