//! Kinds that are known and not acted on.

use serde::Deserialize;

use super::merge::joined_targets;
use crate::meta::Resource;
use crate::refs::{PolicyTargetReference, TargetSelector};
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` EnvoyPatchPolicy: patches of Envoy's own configuration.
pub type EnvoyPatchPolicy = Resource<EnvoyPatchPolicySpec>;

/// `gateway.envoyproxy.io/v1alpha1` EnvoyExtensionPolicy: code loaded into Envoy.
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

/// `spec` of an EnvoyExtensionPolicy: only its targets are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
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
    pub merge_type: Option<Unsupported>,
    /// WebAssembly.
    #[serde(default)]
    pub wasm: Option<Unsupported>,
    /// External processing.
    #[serde(default)]
    pub ext_proc: Option<Unsupported>,
    /// Lua.
    #[serde(default)]
    pub lua: Option<Unsupported>,
    /// Dynamic modules.
    #[serde(default)]
    pub dynamic_module: Option<Unsupported>,
}

impl EnvoyExtensionPolicySpec {
    /// `targetRef` and `targetRefs` together, without repetitions.
    pub fn targets(&self) -> Vec<PolicyTargetReference> {
        joined_targets(self.target_ref.as_ref(), &self.target_refs)
    }
}

unsupported_fields!(EnvoyExtensionPolicySpec,
    "mergeType" => |spec| spec.merge_type.is_some(),
    "wasm" => |spec| spec.wasm.is_some(),
    "extProc" => |spec| spec.ext_proc.is_some(),
    "lua" => |spec| spec.lua.is_some(),
    "dynamicModule" => |spec| spec.dynamic_module.is_some(),
);
