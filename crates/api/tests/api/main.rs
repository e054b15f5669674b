//! Decoding and validation, from YAML and JSON to objects and errors.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod parse;
