//! Workloads: prompts with shared beginnings, and their arrivals.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// Bytes of a token, of the engines' tokenizer and of pickers that estimate.
const TOKEN_BYTES: usize = 4;

/// A load on the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SocketWorkload {
    /// 200 tokens, nothing shared; engines answer at once.
    #[value(name = "200")]
    Short,
    /// 7,200 tokens, 6,000 of them of one of 40 beginnings; engines answer at once.
    #[value(name = "7k")]
    Medium,
    /// 100,000 tokens, 95,000 of them of one of 10 beginnings; engines answer at once.
    #[value(name = "100k")]
    Long,
    /// As 7k, on engines that take their time.
    Shared,
}

/// Properties of a workload.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) title: &'static str,
    /// Different beginnings, and tokens of each.
    pub(super) groups: u32,
    pub(super) shared_tokens: usize,
    /// Tokens of what follows, different in each request.
    pub(super) own_tokens: usize,
    /// Tokens that an engine generates.
    pub(super) output_tokens: u32,
    /// Requests a second, in turn.
    pub(super) rates: &'static [f64],
    /// Whether engines answer at once: what is added is seen then.
    pub(super) instant: bool,
    /// Blocks of 16 tokens in an engine's cache.
    pub(super) blocks: u32,
}

impl SocketWorkload {
    /// Its properties.
    pub(super) fn shape(self) -> Shape {
        let medium = Shape {
            title: "7,200 tokens, 6,000 shared, engines that answer at once",
            groups: 40,
            shared_tokens: 6_000,
            own_tokens: 1_200,
            output_tokens: 8,
            rates: &[100.0],
            instant: true,
            blocks: 8_192,
        };
        match self {
            Self::Short => Shape {
                title: "200 tokens, nothing shared, engines that answer at once",
                shared_tokens: 0,
                own_tokens: 200,
                rates: &[400.0],
                ..medium
            },
            Self::Medium => medium,
            Self::Long => Shape {
                title: "100,000 tokens, 95,000 shared, engines that answer at once",
                groups: 10,
                shared_tokens: 95_000,
                own_tokens: 5_000,
                rates: &[30.0],
                blocks: 65_536,
                ..medium
            },
            Self::Shared => Shape {
                title: "7,200 tokens, 6,000 shared, engines that take their time",
                output_tokens: 64,
                rates: &[4.0, 8.0, 12.0],
                instant: false,
                ..medium
            },
        }
    }

    /// As it is called on the command line.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

impl Serialize for SocketWorkload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

/// Requests to send, the same for every setup.
pub(super) struct Arrivals {
    random: fastrand::Rng,
    rate: f64,
    shape: Shape,
    beginnings: Vec<String>,
    /// Time of the next request, from the start.
    next: Duration,
}

impl Arrivals {
    /// Poisson arrivals at this rate.
    pub(super) fn new(shape: &Shape, rate: f64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let beginnings = (0..shape.groups).map(|_| text(&mut random, shape.shared_tokens)).collect();
        Self { random, rate, shape: shape.clone(), beginnings, next: Duration::ZERO }
    }

    /// Time and bytes of the next request.
    pub(super) fn take(&mut self) -> (Duration, Vec<u8>) {
        self.next += Duration::from_secs_f64(-(1.0 - self.random.f64()).ln() / self.rate);
        let own = text(&mut self.random, self.shape.own_tokens);
        let beginning = self.random.choice(&self.beginnings).map_or("", String::as_str);
        (self.next, request(beginning, &own, self.shape.output_tokens))
    }
}

/// Random letters and spaces, of this many tokens.
fn text(random: &mut fastrand::Rng, tokens: usize) -> String {
    let letter = |at: usize| if at % TOKEN_BYTES == TOKEN_BYTES - 1 { ' ' } else { random.lowercase() };
    (0..tokens * TOKEN_BYTES).map(letter).collect()
}

/// A streamed chat completion, as HTTP/1.1 has it.
fn request(beginning: &str, own: &str, output_tokens: u32) -> Vec<u8> {
    let system = if beginning.is_empty() { String::new() } else { format!(r#"{{"role":"system","content":"{beginning}"}},"#) };
    let body = format!(
        r#"{{"model":"qwen","messages":[{system}{{"role":"user","content":"{own}"}}],"max_tokens":{output_tokens},"stream":true}}"#
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: bench.example.com\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_the_same_for_everyone_and_share_beginnings() {
        let shape = Shape { groups: 2, ..SocketWorkload::Medium.shape() };
        let taken = || {
            let mut arrivals = Arrivals::new(&shape, 10.0, 7);
            (0..50).map(|_| arrivals.take()).collect::<Vec<_>>()
        };
        assert_eq!(taken(), taken());
        let requests = taken();
        assert!(requests.is_sorted_by_key(|(at, _)| *at) && requests[49].0 > Duration::from_secs(1));
        let mut beginnings: Vec<&[u8]> = requests.iter().map(|(_, bytes)| &bytes[..10_000]).collect();
        beginnings.sort_unstable();
        beginnings.dedup();
        assert_eq!(beginnings.len(), 2);
        let body = &requests[0].1[requests[0].1.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4..];
        let body: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(body["messages"][0]["content"].as_str().unwrap().len(), 24_000);
    }
}
