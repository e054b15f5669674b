//! GatewayClasses: which Gateways are this gateway's to serve.

use std::collections::BTreeMap;

use crate::status::{ClassStatus, Severity, StatusBody, Statuses, SupportedFeature};
use pailou_api::{GatewayClass, ObjectKey, refs::GATEWAY_GROUP};

use super::{bundles, features::FEATURES, index::Index, parameters, settings::Settings};

/// The controller's name by GatewayClass, for the classes that are served.
pub(crate) type Classes<'a> = BTreeMap<&'a str, &'a str>;

/// Judges every GatewayClass, and gives those that are served.
pub(crate) fn classes<'a>(index: &Index<'a>, settings: &'a Settings, statuses: &mut Statuses) -> Classes<'a> {
    let mut served: Classes<'a> = settings.classes.iter().map(|name| (name.as_str(), settings.controller())).collect();
    for class in index.classes.iter() {
        let key = ObjectKey::new(GATEWAY_GROUP, "GatewayClass", "", &class.meta.name);
        if settings.controllers.contains(&class.spec.controller_name) {
            served.insert(&class.meta.name, &class.spec.controller_name);
            statuses.set(key, StatusBody::Class(accepted(index, class, settings)));
        } else {
            served.remove(class.meta.name.as_str());
            let message = format!(
                "controllerName {} is another controller's: Gateways of this class are left alone. Answered to are {}",
                class.spec.controller_name,
                settings.controllers.join(", ")
            );
            statuses.note(key, Severity::Warning, message);
        }
    }
    served
}

fn accepted(index: &Index<'_>, class: &GatewayClass, settings: &Settings) -> ClassStatus {
    let mut conditions = parameters::judge_class(index, class, settings.mode);
    conditions.extend(bundles::supported(&settings.bundles, class.meta.generation));
    ClassStatus { conditions, supported_features: FEATURES.iter().map(|name| SupportedFeature { name }).collect() }
}
