//! Any bytes as configuration: no panic, no unbounded work; every error can be shown; reading twice gives the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_api::parse::{MAX_ERRORS, parse};
use pailou_api::NamespaceName;

fuzz_target!(|input: &[u8]| {
    let namespace = NamespaceName::try_from("default").expect("a namespace");
    let parsed = parse(input, "input", &namespace);
    assert!(parsed.errors.len() <= MAX_ERRORS);
    for error in &parsed.errors {
        assert!(error.to_string().starts_with("input"));
    }
    assert_eq!(parsed.objects, parse(input, "input", &namespace).objects);
});
