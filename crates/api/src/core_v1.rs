//! Core Kubernetes kinds, reduced to what a gateway needs of them.

pub mod cluster_trust_bundle;
pub mod config_map;
pub mod endpoint_slice;
pub mod namespace;
pub mod pod;
pub mod secret;
pub mod service;
