//! A condition, whatever its text, is read or refused, and evaluated on the stack that a worker has; it says the same twice.

#![no_main]

use std::thread;

use libfuzzer_sys::fuzz_target;
use pailou_auth::{Attribute, Attributes, Condition};

/// Stack of a thread, in bytes. Sanitizers need more for each call.
const STACK: usize = 2 << 20;

/// A request, in which one value is the fuzzer's.
struct Request(String);

impl Attributes for Request {
    fn attribute(&self, name: &str) -> Option<Attribute> {
        match name {
            "request.method" => Some(Attribute::Text("POST".to_owned())),
            "request.path" | "request.url_path" => Some(Attribute::Text(format!("/{}", self.0))),
            "request.size" => Some(Attribute::Number(self.0.len() as u64)),
            "source.port" => Some(Attribute::Number(u64::MAX)),
            "connection.mtls" => Some(Attribute::Bool(true)),
            _ => None,
        }
    }

    fn headers(&self) -> Vec<(String, String)> {
        vec![("x".to_owned(), self.0.clone()), ("host".to_owned(), "a.test".to_owned())]
    }

    fn metadata(&self) -> serde_json::Value {
        serde_json::json!({"a": {"b": [1, null, true, {"c": self.0}]}, "n": 1e300})
    }
}

fuzz_target!(|input: (String, String)| {
    let (text, value) = input;
    let judge = move || {
        let Ok(condition) = Condition::parse(&text) else { return };
        let request = Request(value);
        assert_eq!(condition.holds(&request), condition.holds(&request), "{text}");
        let again = Condition::parse(&text).expect("it was read");
        assert_eq!(condition.holds(&request), again.holds(&request), "{text}");
    };
    let thread = thread::Builder::new().stack_size(STACK).spawn(judge).expect("a thread");
    thread.join().expect("a judgement");
});
