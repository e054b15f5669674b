//! The proxy over real sockets. All in one program: each more would be linked anew, with everything in it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

mod admission_control;
mod asserted_headers;
mod authentication;
mod authorization;
mod backend_tls;
mod bandwidth_limit;
mod client_certificates;
mod client_connections;
mod client_headers;
mod codings;
mod cors;
mod credentials;
mod denied_models;
mod duplex;
mod ext_auth;
mod ext_proc;
mod forward;
mod handshakes;
mod hostile;
mod http_filters;
mod idle;
mod kept_connections;
mod limits;
mod listeners;
mod local_urls;
mod mirrors;
mod model_names;
mod models;
mod oidc;
mod oidc_cookies;
mod oidc_exchanges;
mod paths;
mod picker;
mod picker_answers;
mod picker_room;
mod proxy_protocol;
mod rate_limit_service;
mod rate_limits;
mod recompute_route;
mod remote_jwks;
mod request_ids;
mod request_path;
mod retries;
mod retry_backends;
mod rewrites;
mod semantics;
mod sessions;
mod templates;
mod unreadable;
mod upstream_settings;
mod usage_chunks;
mod wire;
