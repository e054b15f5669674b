//! HTTP/1.1 as this proxy and as hyper read it.

#![expect(clippy::unwrap_used, reason = "a test")]

mod made_up;
mod requests;
mod responses;
