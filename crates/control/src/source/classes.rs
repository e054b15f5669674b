//! GatewayClasses that another controller holds.
//!
//! Several controllers may answer to one `controllerName`, Envoy Gateway's say. Whoever wrote a class's status has it: the API
//! server keeps in `managedFields` who did. A class under our own name is ours, whoever wrote to it.

use std::collections::BTreeMap;

use pailou_config::{compile::CONTROLLER_NAME, resources::Object, store::Entry};

use super::live::Live;

/// The classes that are left alone, with the field manager that holds each.
pub(crate) type Held = BTreeMap<String, String>;

/// The field manager that holds a class of which we answer to the `controllerName`.
pub(crate) fn holder(entry: &Entry, live: &Live, controllers: &[String]) -> Option<String> {
    let Object::GatewayClass(class) = &entry.object else { return None };
    let name = &class.spec.controller_name;
    let is_shared = name != CONTROLLER_NAME && controllers.contains(name);
    live.other_writer.clone().filter(|_| is_shared)
}
