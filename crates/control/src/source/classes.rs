//! GatewayClasses that another controller holds.
//!
//! Several controllers may answer to one `controllerName`, Envoy Gateway's say. Whoever wrote a class's status has it: the API
//! server keeps in `managedFields` who did. A class under our own name is ours, whoever wrote to it.

use std::collections::BTreeMap;

use pailou_api::Object;
use pailou_compile::{CONTROLLER_NAME, store::Entry};

use super::status_cache::CachedStatus;

/// The classes that are left alone, by name.
pub(crate) type Held = BTreeMap<String, Holder>;

/// Who holds a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The class's `controllerName`.
    pub(crate) controller: String,
    /// The field manager that wrote its status.
    pub(crate) manager: String,
}

/// Who holds a class of which we answer to the `controllerName`.
pub(crate) fn holder(entry: &Entry, live: &CachedStatus, controllers: &[String]) -> Option<Holder> {
    let Object::GatewayClass(class) = &entry.object else { return None };
    let name = &class.spec.controller_name;
    let is_shared = name != CONTROLLER_NAME && controllers.contains(name);
    let manager = live.other_writer.clone().filter(|_| is_shared)?;
    Some(Holder { controller: name.clone(), manager })
}
