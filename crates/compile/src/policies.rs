//! Policies: what they target, what they set, what becomes of them.

mod admission_control;
pub(crate) mod ancestors;
pub(crate) mod backend;
pub(crate) mod client;
mod connection;
pub(crate) mod cors;
mod deprecated;
pub(crate) mod effective;
pub(crate) mod ext_proc;
pub(crate) mod extensions;
pub(crate) mod health;
pub(crate) mod http_filters;
pub(crate) mod origins;
pub(crate) mod overlap;
pub(crate) mod policy_targets;
pub(crate) mod report;
pub(crate) mod security;
pub(crate) mod server_settings;
pub(crate) mod targets;
mod tcp_keepalive;
pub(crate) mod traffic;
pub(crate) mod unenforced;
pub(crate) mod values;
