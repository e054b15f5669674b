//! The objects of a cluster, followed by watching the API server, and compiled whenever they change.
//!
//! Every kind is watched by a task of its own (`watch`), which reads objects by the same parser as files are read by and sends
//! what it finds to one collector (`collect`). The collector holds the store, lets a burst of changes pass and tells what is known:
//! to the compilation (`compile`), and to the feed, which does not wait for that.
//! Kinds whose CustomResourceDefinition is absent are waited for (`crds`). Pods are watched where InferencePools select them
//! (`pods`).
//!
//! A GatewayClass is *held* while another controller has written its status: it is kept out of the store, so that nothing under it
//! is touched (`classes`).

pub(crate) mod bundles;
pub(crate) mod change;
pub(crate) mod classes;
pub(crate) mod collect;
pub(crate) mod compile;
pub(crate) mod crds;
pub(crate) mod decoded;
pub(crate) mod object_cache;
pub(crate) mod optional;
pub(crate) mod pods;
pub(crate) mod prune_fields;
pub(crate) mod raw;
pub(crate) mod scopes;
pub(crate) mod status_cache;
pub(crate) mod watch;
