//! Any bytes: the scan accepts what `serde_json` accepts, finds what it finds, however they come, and a splice changes the model alone.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pailou_ai::{ScanError, Scanner, scan, splice};
use serde_json::Value;

fuzz_target!(|body: &[u8]| -> Corpus {
    let mut scanner = Scanner::default();
    for there in (0..body.len()).take(64).chain([body.len() / 2]) {
        scanner.read(&body[..there]);
    }
    assert_eq!(scanner.finish(body), scan(body));
    let found = match (scan(body), serde_json::from_slice(body)) {
        (Ok(found), Ok(Value::Object(expected))) => {
            let string = |name: &str| expected.get(name).and_then(Value::as_str);
            assert_eq!(found.model.as_deref(), string("model"));
            assert_eq!(found.cache_salt.as_deref(), string("cache_salt"));
            assert_eq!(found.stream, expected.get("stream") == Some(&Value::Bool(true)));
            found
        }
        (Err(ScanError::RepeatedModel), _) => return Corpus::Keep,
        // A number within rounding of the largest double: the one known disagreement.
        (Ok(_), Err(e)) if e.to_string().contains("out of range") => return Corpus::Reject,
        (found, expected) => {
            assert!(found.is_err() && !matches!(expected, Ok(Value::Object(_))), "{found:?} {expected:?}");
            return Corpus::Keep;
        }
    };
    let whole = splice(&body.to_vec().into(), found.model_edits("new\n")).to_bytes();
    let changed = scan(&whole).expect("a spliced body is a body");
    // One that was no string becomes one, so a body without a model may gain it.
    assert!(found.model.is_none() || changed.model.is_some());
    assert!(changed.model.is_none_or(|model| model == "new\n"));
    assert_eq!(changed.max_tokens, found.max_tokens);
    Corpus::Keep
});
