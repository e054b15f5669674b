//! Identity of a rule's counters by its content: another version of Pailou counts on, and rules that change places keep their counters.

use pailou_api::envoy::rate_limit::{
    ClientSelector, RateLimitCostSpecifier, RateLimitMetadata, RateLimitRule, RateLimitValueMatch,
};
use pailou_limits::{StableId, WindowKind};
use pailou_snapshot::Name;

/// The identity of a policy's rule. What a rule does not set is no part of it, so that fields to come change none.
pub(super) fn of(policy: &Name, spec: &RateLimitRule, kind: WindowKind) -> u64 {
    let reach = match kind {
        WindowKind::Epoch => "global",
        WindowKind::First => "local",
    };
    let mut id = Parts(StableId::default().with(&policy.namespace).with(&policy.name).with(reach));
    spec.client_selectors.iter().for_each(|selector| id.selector(selector));
    id.set("requests", &spec.limit.requests.to_string());
    id.set("unit", &format!("{:?}", spec.limit.unit));
    id.metadata("from", spec.limit.from_metadata.as_ref());
    if let Some(cost) = &spec.cost {
        id.cost("request", cost.request.as_ref());
        id.cost("response", cost.response.as_ref());
    }
    id.flag("shared", spec.shared.unwrap_or(false));
    id.flag("shadow", spec.shadow_mode.unwrap_or(false));
    id.0.finish()
}

/// Parts, each under a name. Names of enumerators are those of the fields' values.
struct Parts(StableId);

impl Parts {
    fn set(&mut self, name: &str, value: &str) {
        self.0.add(name);
        self.0.add(value);
    }

    fn flag(&mut self, name: &str, is_set: bool) {
        if is_set {
            self.set(name, "true");
        }
    }

    fn selector(&mut self, spec: &ClientSelector) {
        self.0.add("selector");
        spec.headers.iter().for_each(|it| self.value("header", it));
        for method in &spec.methods {
            self.set("method", method.value.as_str());
            self.flag("invert", method.invert);
        }
        if let Some(path) = &spec.path {
            self.set(&format!("path {:?}", path.kind), &path.value);
            self.flag("invert", path.invert);
        }
        if let Some(source) = &spec.source_cidr {
            self.set(&format!("source {:?}", source.kind), &source.value);
            self.flag("invert", source.invert);
        }
        spec.query_params.iter().for_each(|it| self.value("query", it));
    }

    fn value(&mut self, of: &str, spec: &RateLimitValueMatch) {
        self.set(&format!("{of} {:?}", spec.kind), &spec.name);
        if let Some(value) = &spec.value {
            self.set("value", value);
        }
        self.flag("invert", spec.invert);
    }

    fn cost(&mut self, of: &str, spec: Option<&RateLimitCostSpecifier>) {
        let Some(spec) = spec else { return };
        self.set(of, &spec.number.map_or_else(String::new, |number| number.to_string()));
        self.metadata("metadata", spec.metadata.as_ref());
    }

    fn metadata(&mut self, name: &str, spec: Option<&RateLimitMetadata>) {
        let Some(spec) = spec else { return };
        self.set(name, &spec.namespace);
        self.0.add(&spec.key);
    }
}
