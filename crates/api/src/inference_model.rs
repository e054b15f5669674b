//! InferenceModel, InferenceObjective and InferenceModelRewrite: what a pool's requests are for.

use serde::Deserialize;

use super::inference_pool::{INFERENCE_X_GROUP, LLM_D_GROUP};
use super::meta::Resource;
use super::names::{GroupName, KindName, ObjectName};
use super::refs::kind;

/// `inference.networking.x-k8s.io/v1alpha2` InferenceModel.
pub type InferenceModel = Resource<InferenceModelSpec>;

/// InferenceObjective, v1alpha2 of `llm-d.ai` or of `inference.networking.x-k8s.io`.
pub type InferenceObjective = Resource<InferenceObjectiveSpec>;

/// InferenceModelRewrite, v1alpha2 of `llm-d.ai` or of `inference.networking.x-k8s.io`.
pub type InferenceModelRewrite = Resource<InferenceModelRewriteSpec>;

/// The API that an InferenceObjective or InferenceModelRewrite was written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelApi {
    /// `llm-d.ai`.
    LlmD,
    /// `inference.networking.x-k8s.io`.
    #[default]
    InferenceExtension,
}

impl ModelApi {
    /// The API group.
    pub fn group(self) -> &'static str {
        match self {
            ModelApi::LlmD => LLM_D_GROUP,
            ModelApi::InferenceExtension => INFERENCE_X_GROUP,
        }
    }
}

/// Specs of kinds that both APIs have.
pub trait OfModelApi {
    /// Notes the API.
    fn set_api(&mut self, api: ModelApi);
}

impl OfModelApi for InferenceObjectiveSpec {
    fn set_api(&mut self, api: ModelApi) {
        self.api = api;
    }
}

impl OfModelApi for InferenceModelRewriteSpec {
    fn set_api(&mut self, api: ModelApi) {
        self.api = api;
    }
}

/// The pool that an object speaks about, in its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct PoolRef {
    /// `inference.networking.x-k8s.io` by default, in `llm-d.ai` `inference.networking.k8s.io`.
    #[serde(default = "inference_group")]
    pub group: GroupName,
    /// `InferencePool` by default.
    #[serde(default = "pool_kind")]
    pub kind: KindName,
    /// Name.
    pub name: ObjectName,
}

fn inference_group() -> GroupName {
    GroupName::try_from(INFERENCE_X_GROUP).expect("the constant is a valid group")
}

fn pool_kind() -> KindName {
    kind("InferencePool")
}

/// `spec` of an InferenceModel.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelSpec {
    /// The model's name in requests, at most 256 characters, unique in its pool.
    pub model_name: String,
    /// How much its requests matter; `Standard` when absent.
    #[serde(default)]
    pub criticality: Option<Criticality>,
    /// The names the pool's servers know it by, at most 10; empty means `modelName`.
    #[serde(default)]
    pub target_models: Vec<TargetModel>,
    /// The pool.
    pub pool_ref: PoolRef,
}

/// How much a model's requests matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Criticality {
    /// Refused first when the pool is saturated.
    #[serde(alias = "Schedulable")]
    Sheddable,
    /// Neither of the others.
    #[default]
    Standard,
    /// Never refused because the pool is saturated.
    Critical,
}

/// A model as its servers know it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetModel {
    /// At most 253 characters.
    pub name: String,
    /// Share among its siblings, 1 to 1,000,000; set on all or on none.
    #[serde(default)]
    pub weight: Option<u32>,
}

/// `spec` of an InferenceObjective.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceObjectiveSpec {
    /// In which of the two APIs it was written.
    #[serde(skip)]
    pub api: ModelApi,
    /// Higher goes first; 0 when absent, negative means sheddable.
    #[serde(default)]
    pub priority: Option<i32>,
    /// The pool.
    pub pool_ref: PoolRef,
}

/// `spec` of an InferenceModelRewrite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceModelRewriteSpec {
    /// In which of the two APIs it was written.
    #[serde(skip)]
    pub api: ModelApi,
    /// The pool.
    pub pool_ref: PoolRef,
    /// The first that matches applies; exact ones before generic ones.
    pub rules: Vec<ModelRewriteRule>,
}

/// One rewriting rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelRewriteRule {
    /// Any of them; empty matches every model.
    #[serde(default)]
    pub matches: Vec<ModelRewriteMatch>,
    /// Weighted new names.
    #[serde(default)]
    pub targets: Vec<ModelRewriteTarget>,
}

/// A condition on a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelRewriteMatch {
    /// Any model when absent.
    #[serde(default)]
    pub model: Option<ModelMatch>,
}

/// A condition on the model's name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ModelMatch {
    /// `Exact`, the only one.
    #[serde(rename = "type", default)]
    pub kind: ModelMatchType,
    /// The name.
    pub value: String,
}

/// How a model's name is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ModelMatchType {
    /// Equal.
    #[default]
    Exact,
}

/// A new name for the model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelRewriteTarget {
    /// Share among its siblings; 1 when absent.
    #[serde(default)]
    pub weight: Option<u32>,
    /// The name the pool's servers know it by.
    pub model_rewrite: String,
}
