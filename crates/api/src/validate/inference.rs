//! The inference extension's kinds.

use super::Check;
use crate::inference_model::{InferenceModelRewriteSpec, InferenceModelSpec};
use crate::inference_pool::{InferencePoolSpec, InferencePoolVersion};

pub(super) fn pool(check: &mut Check, pool: &InferencePoolSpec) {
    if pool.version == InferencePoolVersion::V1Alpha2 {
        // There the selector may be empty; the one port and the picker are there by type.
        return;
    }
    check.count("selector.matchLabels", pool.selector.len(), 1..=64);
    check.count("targetPorts", pool.target_ports.len(), 1..=8);
    check.unique("targetPorts", &pool.target_ports, |port| Some(*port));
    if let Some(picker) = &pool.endpoint_picker
        && picker.kind == "Service"
        && picker.port.is_none()
    {
        check.fail_at("endpointPickerRef.port", format!("required, as {} is a Service: set port.number", picker.name));
    }
}

pub(super) fn model(check: &mut Check, model: &InferenceModelSpec) {
    check.length("modelName", &model.model_name, 1..=256);
    check.count("targetModels", model.target_models.len(), 0..=10);
    let weighted = model.target_models.iter().filter(|target| target.weight.is_some()).count();
    if weighted != 0 && weighted != model.target_models.len() {
        check.fail_at("targetModels", "have weights on some items only: set a weight on all of them, or on none");
    }
    check.each("targetModels", &model.target_models, |check, target| {
        check.length("name", &target.name, 1..=253);
        if let Some(weight) = target.weight {
            check.range("weight", weight, 1..=1_000_000);
        }
    });
}

pub(super) fn rewrite(check: &mut Check, rewrite: &InferenceModelRewriteSpec) {
    check.count("rules", rewrite.rules.len(), 1..=1_000);
    check.each("rules", &rewrite.rules, |check, rule| {
        check.count("targets", rule.targets.len(), 1..=1_000);
        check.each("targets", &rule.targets, |check, target| {
            check.length("modelRewrite", &target.model_rewrite, 1..=256);
            if let Some(weight) = target.weight {
                check.range("weight", weight, 1..=1_000_000);
            }
        });
    });
}
