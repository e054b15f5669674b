//! Filters: what rules and backendRefs do to requests and responses. One file each, pure functions over `http`'s types.

pub(crate) mod cors;
pub(crate) mod credential;
pub(crate) mod headers;
pub(crate) mod redirect;
pub(crate) mod rewrite;
