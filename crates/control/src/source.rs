//! The objects of a cluster, from watches of the API server, compiled whenever they change.
//!
//! A task of its own watches every kind (`watch`), decodes objects by the parser of files and sends changes to one collector
//! (`collect`). The collector holds the objects (`object_cache`), lets a burst of changes pass and reports the result to the
//! compilation (`compile`) and to the feed, which does not wait for that. Watches of kinds whose CustomResourceDefinition is
//! absent begin once it is there (`crds`). The controller watches only Pods that InferencePools select (`pods`).
//!
//! A GatewayClass is *held* while another controller has written its status: the collector keeps it out of the store, so that
//! the controller touches nothing under it (`classes`).

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
