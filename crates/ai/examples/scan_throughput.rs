//! How fast the scan reads chat bodies, beside `serde_json`: `cargo run --release -p pailou-ai --example scan_throughput`.
//!
//! Each figure is the best of five runs of a fifth of a second, in GB (10⁹ bytes) per second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use serde_json::{Value, json};

fn main() -> Result<(), serde_json::Error> {
    println!("{:<24}{:>10}{:>10}{:>12}{:>10}", "body", "bytes", "scan", "IgnoredAny", "Value");
    for (text, sentence) in [
        ("English", "The gate stands where the street begins, and all who enter pass beneath it. "),
        ("code, much escaped", "fn main() {\n\tprintln!(\"{}\", \"a\\b\");\n}\n\n"),
        ("Chinese", "牌樓立於街口，來往行人皆由其下經過。"),
    ] {
        for size in [200, 32 << 10, 1 << 20] {
            let body = chat(sentence, size)?;
            let scan = rate(&body, |body| pailou_ai::scan(body).is_ok_and(|scan| scan.model.is_some()));
            let ignored = rate(&body, |body| serde_json::from_slice::<IgnoredAny>(body).is_ok());
            let value = rate(&body, |body| serde_json::from_slice::<Value>(body).is_ok());
            println!("{text:<24}{:>10}{scan:>10.2}{ignored:>12.2}{value:>10.2}", body.len());
        }
    }
    Ok(())
}

/// A chat body of about `size` bytes, in turns of up to 4 KiB.
fn chat(sentence: &str, size: usize) -> Result<Vec<u8>, serde_json::Error> {
    let mut messages = Vec::new();
    let mut left = size.saturating_sub(100);
    while left > 0 {
        let turn = left.min(4 << 10);
        let text: String = sentence.chars().cycle().take(turn * sentence.chars().count() / sentence.len()).collect();
        messages.push(json!({"role": "user", "content": text}));
        left -= turn;
    }
    serde_json::to_vec(&json!({"messages": messages, "model": "qwen", "stream": true, "temperature": 0.7, "max_tokens": 512}))
}

fn rate(body: &[u8], read: impl Fn(&[u8]) -> bool) -> f64 {
    let run = || {
        let (start, mut rounds) = (Instant::now(), 0u32);
        while start.elapsed() < Duration::from_millis(200) {
            for _ in 0..(1 << 20) / body.len() + 1 {
                assert!(black_box(read(black_box(body))));
                rounds += 1;
            }
        }
        f64::from(rounds) * body.len() as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| run()).fold(0.0, f64::max)
}
