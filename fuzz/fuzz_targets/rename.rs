//! Lengths of chunks and a response: however it is cut, the model's name is changed in it where a reader of the document finds it, and
//! nothing else.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pailou_ai::ModelRename;
use serde_json::Value;

const FROM: &str = "m";
const TO: &str = "public";

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>)| {
    let (events, lengths, body) = input;
    let body = Bytes::from(body);
    let whole = ModelRename::new(FROM, TO, events).feed(&body, true);
    assert_eq!(cut(events, &lengths, &body), whole);
    if !body.windows(3).any(|part| part == b"\"m\"") {
        assert_eq!(whole, body);
    }
    // Escapes within names are no names that models have.
    if events || body.contains(&b'\\') {
        return;
    }
    if let Ok(value) = serde_json::from_slice(&body) {
        let renamed: Value = serde_json::from_slice(&whole).expect("it is a document still");
        assert_eq!(renamed, expected(value));
    }
});

fn cut(events: bool, lengths: &[u8], body: &Bytes) -> Vec<u8> {
    let (mut rename, mut rest, mut out) = (ModelRename::new(FROM, TO, events), body.clone(), Vec::new());
    for length in lengths {
        let chunk = rest.split_to(usize::from(*length).min(rest.len()));
        out.extend(rename.feed(&chunk, false));
    }
    out.extend(rename.feed(&rest, true));
    out
}

/// The same, by a reader that builds the document.
fn expected(mut value: Value) -> Value {
    for path in ["/model", "/response/model", "/message/model"] {
        let parent = value.pointer(path.trim_end_matches("/model")).is_some_and(Value::is_object);
        if let Some(model) = value.pointer_mut(path).filter(|model| parent && **model == FROM) {
            *model = TO.into();
        }
    }
    value
}
