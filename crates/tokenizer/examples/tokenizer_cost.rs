//! Cost of a long conversation's tokens: `tokenizer_cost DIRECTORY TEXT` renders and tokenizes messages of 2,000 bytes of the text, with the model's
//! files in the directory: the first time, again, and with one turn more.
//!
//! 431 kB of this repository's Markdown, ChatML, a vocabulary of 32,000 with Qwen's expressions, one of two busy cores: 104,234 tokens in 119 ms the
//! first time, a turn later 1.2 ms, again 0.8 ms; the files are read in 0.14 s.

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use pailou_tokenizer::{ModelFiles, ModelTokenizer};

const MESSAGE_BYTES: usize = 2000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, text] = arguments.as_slice() else { panic!("tokenizer_cost DIRECTORY TEXT") };
    let files = ModelFiles::read(Path::new(directory)).expect("a model's files");
    let (model, took) = timed(|| ModelTokenizer::new(&files).expect("files that are understood"));
    println!("files read in {took:.0?}");
    let text = fs::read_to_string(text).expect("a text");
    let mut messages = vec![String::new()];
    for character in text.chars() {
        if messages.last().is_some_and(|message| message.len() >= MESSAGE_BYTES) {
            messages.push(String::new());
        }
        messages.last_mut().expect("one").push(character);
    }
    let question = |count: usize| {
        let role = |place: usize| if place.is_multiple_of(2) { "user" } else { "assistant" };
        let messages = messages[..count].iter().enumerate();
        let messages: Vec<_> = messages.map(|(place, text)| serde_json::json!({"role": role(place), "content": text})).collect();
        serde_json::json!({"messages": messages}).to_string().into_bytes()
    };
    let [before, all] = [messages.len() - 2, messages.len()].map(question);
    for (what, question) in [("first", &before), ("again", &before), ("a turn later", &all), ("again", &all)] {
        let (tokens, took) = timed(|| model.tokens(question).expect("a chat").len());
        let rate = tokens as f64 / took.as_secs_f64() / 1e6;
        println!("{what}: {tokens} tokens of {} kB in {took:.2?}, {rate:.1} million tokens/s", question.len() / 1000);
    }
    println!("{} kB remembered", model.remembered_bytes() / 1000);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let value = work();
    (value, begun.elapsed())
}
