//! HTTP/1.1 as this proxy and as hyper read it.

mod made_up;
mod requests;
mod responses;
