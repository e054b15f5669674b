//! The compiler, from YAML to snapshot and conditions. All in one program: each more would be linked anew, with everything in it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

mod compile;
mod incremental;
mod policy_precedence;
mod precedence;
mod reach;
mod scale;
mod undecodable;
