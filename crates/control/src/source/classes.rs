//! GatewayClasses that another controller holds.
//!
//! Several controllers may answer to one `controllerName`, for instance Envoy Gateway's. The writer of a class's status holds
//! it: the API server records it in `managedFields`. A class under our own name is ours, whichever controller wrote to it.

use std::collections::BTreeMap;

use pailou_api::Object;
use pailou_compile::{CONTROLLER_NAME, store::Entry};

use super::status_cache::CachedStatus;

/// The classes that are left alone, by name.
pub(crate) type Held = BTreeMap<String, Holder>;

/// Holder of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The class's `controllerName`.
    pub(crate) controller: String,
    /// The field manager that wrote its status.
    pub(crate) manager: String,
}

/// Another controller that holds a class whose `controllerName` we answer to.
pub(crate) fn holder(entry: &Entry, live: &CachedStatus, controllers: &[String]) -> Option<Holder> {
    let Object::GatewayClass(class) = &entry.object else { return None };
    let name = &class.spec.controller_name;
    let is_shared = name != CONTROLLER_NAME && controllers.contains(name);
    let manager = live.other_writer.clone().filter(|_| is_shared)?;
    Some(Holder { controller: name.clone(), manager })
}
