//! KV events, read as a picker reads them.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_kv_events::{
    Index, Ingest, Prompt, Publication, PublisherId, ReplayMessage, ZmtpEvent, ZmtpReader, ZmtpSocket, ask_for_replay,
    open_connection, subscribe_to_all,
};
use pailou_sim::{Config, EventEncoding, KvEvents, Sim};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, TEST_TIMEOUT, start};

/// A connection to one of the publisher's sockets.
struct Connection {
    stream: TcpStream,
    reader: ZmtpReader,
}

impl Connection {
    async fn open(address: SocketAddr, socket: ZmtpSocket, first: Bytes) -> Self {
        let mut connection =
            Self { stream: TcpStream::connect(address).await.expect("the socket listens"), reader: ZmtpReader::default() };
        connection.stream.write_all(&open_connection(socket)).await.expect("a connection");
        assert_eq!(connection.next().await, ZmtpEvent::Ready);
        connection.stream.write_all(&first).await.expect("a connection");
        connection
    }

    async fn next(&mut self) -> ZmtpEvent {
        loop {
            if let Some(event) = self.reader.next_event().expect("ZMTP") {
                return event;
            }
            let read = tokio::time::timeout(TEST_TIMEOUT, self.stream.read_buf(self.reader.buffer()));
            assert_ne!(read.await.expect("a message comes").expect("a connection"), 0, "the publisher has closed the connection");
        }
    }
}

/// A picker's view of one engine.
struct Known {
    index: Index,
    publisher: PublisherId,
    ingest: Ingest,
    next: u64,
}

impl Known {
    fn new() -> Self {
        let mut index = Index::new(7, 10_000);
        let publisher = index.add_publisher().expect("room");
        Self { index, publisher, ingest: Ingest::default(), next: 0 }
    }

    fn apply(&mut self, batch: &Publication) {
        assert_eq!(batch.number, self.next);
        self.next += 1;
        self.ingest.apply(&mut self.index, self.publisher, &batch.payload);
        let counters = self.ingest.counters();
        assert_eq!((counters.malformed_batches, counters.malformed_events, counters.unknown_events), (0, 0, 0));
    }

    /// Reads all that the engine has published.
    async fn replay(&mut self, sim: &Sim) {
        let address = sim.kv_events_replay_addr().expect("a ROUTER socket");
        let mut connection = Connection::open(address, ZmtpSocket::Dealer, ask_for_replay(self.next)).await;
        loop {
            let ZmtpEvent::Message(frames) = connection.next().await else { panic!("no message") };
            match ReplayMessage::new(&frames).expect("a message of a replay") {
                ReplayMessage::Batch(batch) => self.apply(&batch),
                ReplayMessage::End => return,
            }
        }
    }

    fn cached(&self, prompt: &Prompt<'_>) -> u32 {
        self.index.cached_prefixes(prompt).first().map_or(0, |prefix| prefix.total())
    }
}

async fn publishing(encoding: EventEncoding) -> Sim {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let events = KvEvents { listen: any, replay_listen: Some(any), encoding, topic: "kv@pod@qwen".to_owned() };
    start(Config { kv_events: Some(events), adapters: vec!["tuned".to_owned()], ..Config::new("one", ["qwen"]).instant() }).await
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("token ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn chat(text: &str) -> Value {
    let tools = json!([{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]);
    let messages = json!([{"role": "system", "content": "Answer. ".repeat(40)}, {"role": "user", "content": text}]);
    json!({"model": "qwen", "messages": messages, "tools": tools, "max_tokens": 2})
}

/// The engine's own figure for a repeated prompt is what events and tokens come to.
async fn check(sim: &Sim, known: &mut Known, path: &str, mut body: Value, adapter: Option<&str>, salt: Option<&str>) {
    let mut client = Client::connect(sim.addr()).await;
    let mut tokenized = body.clone();
    tokenized["add_generation_prompt"] = true.into();
    let tokens = ids(&client.json("/tokenize", &tokenized).await.1["tokens"]);
    let prompt = |adapter, salt| Prompt { tokens: &tokens, adapter, cache_salt: salt, images: &[] };
    let own = prompt(adapter.map(str::as_bytes), salt.map(str::as_bytes));
    if let Some(salt) = salt {
        body["cache_salt"] = salt.into();
    }
    assert_eq!(known.cached(&own), 0);
    let first = client.json(path, &body).await.1;
    assert_eq!(first["usage"]["prompt_tokens"], tokens.len());
    known.replay(sim).await;
    let expected = tokens.len() as u32 / 16 * 16;
    assert_eq!(known.cached(&own), expected, "{path}");
    assert_eq!(known.cached(&prompt(Some(b"other"), salt.map(str::as_bytes))), 0);
    assert_eq!(known.cached(&prompt(adapter.map(str::as_bytes), Some(b"other"))), 0);
    let again = client.json(path, &body).await.1;
    // The engine computes the last token in any case.
    assert_eq!(again["usage"]["prompt_tokens_details"]["cached_tokens"], (tokens.len() as u32 - 1) / 16 * 16);
    let rendered = client.json(&format!("{path}/render"), &body).await.1;
    let rendered = if rendered.is_array() { rendered[0].clone() } else { rendered };
    assert_eq!((ids(&rendered["token_ids"]), &rendered["cache_salt"]), (tokens, &body["cache_salt"]));
}

#[tokio::test]
async fn events_name_the_tokens_that_tokenize_gives() {
    for encoding in [EventEncoding::Map, EventEncoding::Array] {
        let sim = publishing(encoding).await;
        let mut known = Known::new();
        let text = json!({"model": "qwen", "prompt": "The gate 牌樓 stands. ".repeat(30), "max_tokens": 1});
        check(&sim, &mut known, "/v1/completions", text.clone(), None, None).await;
        check(&sim, &mut known, "/v1/completions", text.clone(), None, Some("tenant")).await;
        let tuned = json!({"model": "tuned", "prompt": text["prompt"], "max_tokens": 1});
        check(&sim, &mut known, "/v1/completions", tuned, Some("tuned"), None).await;
        check(&sim, &mut known, "/v1/chat/completions", chat("Weather in Paris?"), None, None).await;
    }
}

#[tokio::test]
async fn a_subscriber_gets_what_comes_and_a_reset_empties_the_cache() {
    let sim = publishing(EventEncoding::Map).await;
    let mut known = Known::new();
    let address = sim.kv_events_addr().expect("a PUB socket");
    let mut live = Connection::open(address, ZmtpSocket::Subscriber, subscribe_to_all()).await;
    known.replay(&sim).await;
    let mut client = Client::connect(sim.addr()).await;
    let body = chat("Weather?");
    let tokens = ids(&client.json("/tokenize", &body).await.1["tokens"]);
    let prompt = Prompt { tokens: &tokens, ..Prompt::default() };
    client.json("/v1/chat/completions", &body).await;
    assert_eq!(client.json("/reset_prefix_cache", &json!({})).await.0, 200);
    let mut most = 0;
    while known.cached(&prompt) > 0 || most == 0 {
        let ZmtpEvent::Message(frames) = live.next().await else { panic!("no message") };
        known.apply(&Publication::new(&frames).expect("a batch"));
        most = most.max(known.cached(&prompt));
    }
    assert_eq!(most, tokens.len() as u32 / 16 * 16);
}
