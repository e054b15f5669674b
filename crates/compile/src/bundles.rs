//! Known versions of Gateway API's CustomResourceDefinitions.

use std::collections::BTreeMap;

use crate::status::Condition;

/// The newest minor version of Gateway API v1 whose definitions are known.
const NEWEST_MINOR: u32 = 7;

/// `SupportedVersion` of a GatewayClass, from the bundle of each definition. The gateway serves definitions of other versions
/// as far as it knows their kinds. `None` without definitions.
pub(super) fn supported(bundles: &BTreeMap<String, Option<String>>, generation: i64) -> Option<Condition> {
    let mut strange: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (definition, bundle) in bundles {
        let bundle = bundle.as_deref().unwrap_or("no version");
        if !is_known(bundle) {
            strange.entry(bundle).or_default().push(definition);
        }
    }
    if strange.is_empty() {
        return (!bundles.is_empty()).then(|| Condition::fine(KIND, generation));
    }
    let strange: Vec<_> = strange.iter().map(|(bundle, definitions)| format!("{bundle} ({})", definitions.join(", "))).collect();
    let message = format!(
        "CustomResourceDefinitions of Gateway API in versions that are not known: {}. Supported are v1.0 to v1.{NEWEST_MINOR}; what is \
         known of these kinds is served",
        strange.join("; ")
    );
    Some(Condition::fails(KIND, "UnsupportedVersion", message, generation))
}

const KIND: &str = "SupportedVersion";

/// Whether a bundle is one of v1 that is not newer than what is known.
fn is_known(bundle: &str) -> bool {
    let minor = bundle.strip_prefix("v1.").and_then(|rest| rest.split('.').next());
    minor.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor <= NEWEST_MINOR)
}
