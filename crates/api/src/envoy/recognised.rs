//! Kinds that are known, and acted on in part or not at all.

use serde::{Deserialize, Deserializer, de::Error as _};

use super::ext_proc::ExtProc;
use super::merge::{MergeType, joined_targets};
use crate::meta::Resource;
use crate::refs::{PolicyTargetReference, TargetSelector};
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` EnvoyPatchPolicy: patches of Envoy's own configuration.
pub type EnvoyPatchPolicy = Resource<EnvoyPatchPolicySpec>;

/// `gateway.envoyproxy.io/v1alpha1` EnvoyExtensionPolicy: external processors, and code loaded into Envoy.
pub type EnvoyExtensionPolicy = Resource<EnvoyExtensionPolicySpec>;

/// `spec` of an EnvoyPatchPolicy: only its target is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyPatchPolicySpec {
    /// The Gateway.
    pub target_ref: PolicyTargetReference,
    /// `JSONPatch`.
    #[serde(rename = "type", default)]
    pub kind: Option<Unsupported>,
    /// The patches.
    #[serde(default)]
    pub json_patches: Option<Unsupported>,
    /// Order among policies.
    #[serde(default)]
    pub priority: Option<Unsupported>,
}

unsupported_fields!(EnvoyPatchPolicySpec,
    "jsonPatches" => |spec| spec.json_patches.is_some(),
);

/// `spec` of an EnvoyExtensionPolicy: its targets, external processors, and whether requests may pass without each other extension.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyExtensionPolicySpec {
    /// One target (deprecated in favour of `targetRefs`).
    #[serde(default)]
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways, ListenerSets, routes and their sections.
    #[serde(default)]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Targets by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
    /// How a route's policy joins its Gateway's.
    #[serde(default)]
    pub merge_type: Option<MergeType>,
    /// WebAssembly.
    #[serde(default)]
    pub wasm: Vec<Extension>,
    /// External processors, at most 16.
    #[serde(default)]
    pub ext_proc: Vec<ExtProc>,
    /// Lua.
    #[serde(default)]
    pub lua: Vec<Extension>,
    /// Dynamic modules.
    #[serde(default)]
    pub dynamic_module: Vec<Extension>,
}

/// An extension that Envoy would run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extension {
    /// Whether requests pass where it cannot be run. Lua and dynamic modules have no such field.
    pub fail_open: bool,
    /// The image of its code, if it has one.
    pub image: Option<String>,
}

impl<'de> Deserialize<'de> for Extension {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let fail_open = match value.get("failOpen") {
            None | Some(serde_json::Value::Null) => false,
            Some(value) => value.as_bool().ok_or_else(|| D::Error::custom("failOpen: expected a boolean"))?,
        };
        let image = value["code"]["image"]["url"].as_str().map(str::to_owned);
        Ok(Self { fail_open, image })
    }
}

/// The image of ACK's plug-in that counts tokens, which the gateway does by itself.
const TELEMETRY_IMAGE: &str = "gen-ai-telemetry-wasmplugin";

impl Extension {
    /// Whether the gateway does by itself what the extension is for.
    pub fn is_built_in(&self) -> bool {
        let name = self.image.as_deref().and_then(|image| image.rsplit('/').next());
        name.is_some_and(|name| name.split([':', '@']).next() == Some(TELEMETRY_IMAGE))
    }
}

impl EnvoyExtensionPolicySpec {
    /// `targetRef` and `targetRefs` together, without repetitions.
    pub fn targets(&self) -> Vec<PolicyTargetReference> {
        joined_targets(self.target_ref.as_ref(), &self.target_refs)
    }

    /// Paths below `spec` of extensions that cannot be run, and without which no request may pass.
    pub fn guards(&self) -> Vec<String> {
        let may_fail_open = [("wasm", &self.wasm)];
        let must_run = [("lua", &self.lua), ("dynamicModule", &self.dynamic_module)];
        let closed = |(field, list): (&'static str, &Vec<Extension>), counts: fn(&Extension) -> bool| {
            let places = list.iter().enumerate().filter(|(_, it)| counts(it)).map(|(place, _)| format!("{field}[{place}]"));
            places.collect::<Vec<_>>()
        };
        let may_fail_open = may_fail_open.into_iter().flat_map(|it| closed(it, |it| !it.fail_open && !it.is_built_in()));
        may_fail_open.chain(must_run.into_iter().flat_map(|it| closed(it, |_| true))).collect()
    }
}

unsupported_fields!(EnvoyExtensionPolicySpec,
    "wasm (failOpen: requests pass without)" => |spec| spec.wasm.iter().any(|it| it.fail_open && !it.is_built_in()),
    "extProc[].backendSettings beside loadBalancer, healthCheck, tcpKeepalive, proxyProtocol, timeout.tcp, dns, http2" => |spec| {
        spec.ext_proc.iter().filter_map(|it| it.backend_settings.as_ref()).any(|it| it.is_unsupported())
    },
    "extProc[].processingMode: attributes that are not known here" => |spec| spec.ext_proc.iter().any(|it| it.has_unknown_attribute()),
);

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> EnvoyExtensionPolicySpec {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_must_run_guards_unless_it_may_fail_open() {
        let spec = spec(
            r#"{"wasm": [{"name": "a", "code": {"type": "Image"}}, {"name": "b", "failOpen": true}],
                "lua": [{"inline": "", "failOpen": true}], "dynamicModule": [{"name": "m"}],
                "extProc": [{"backendRefs": [{"name": "processor", "port": 9002}], "shadowMode": true}]}"#,
        );
        assert_eq!(spec.guards(), ["wasm[0]", "lua[0]", "dynamicModule[0]"]);
        assert_eq!(spec.unsupported(), ["wasm (failOpen: requests pass without)"]);
    }

    #[test]
    fn a_plug_in_that_counts_tokens_is_built_in() {
        let image = |url: &str| spec(&format!(r#"{{"wasm": [{{"name": "t", "code": {{"image": {{"url": "{url}"}}}}}}]}}"#));
        let known = image("registry.example/acs/gen-ai-telemetry-wasmplugin:g2ad0869-aliyun");
        assert_eq!((known.guards(), known.unsupported()), (Vec::new(), Vec::new()));
        assert_eq!(image("registry.example/other-wasmplugin:1").guards(), ["wasm[0]"]);
        assert!(serde_json::from_str::<EnvoyExtensionPolicySpec>(r#"{"wasm": [{"failOpen": "yes"}]}"#).is_err());
    }
}
