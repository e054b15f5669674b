//! ACK's own kinds. They are known, and not acted on: of each no more than its name is read, as an ACKTrafficFilter holds a key in clear.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::meta::Resource;

/// Group of ACK's own kinds.
pub const ACK_GROUP: &str = "inferenceextension.alibabacloud.com";

/// `inferenceextension.alibabacloud.com/v1alpha1` InferenceTrafficPolicy: how endpoints of a pool are chosen.
pub type InferenceTrafficPolicy = Resource<InferenceTrafficPolicySpec>;

/// `inferenceextension.alibabacloud.com/v1alpha1` ACKTrafficFilter: moderation of contents.
pub type AckTrafficFilter = Resource<AckTrafficFilterSpec>;

/// `spec` of an InferenceTrafficPolicy, unread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InferenceTrafficPolicySpec;

/// `spec` of an ACKTrafficFilter, unread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AckTrafficFilterSpec;

impl<'de> Deserialize<'de> for InferenceTrafficPolicySpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|_| Self)
    }
}

impl<'de> Deserialize<'de> for AckTrafficFilterSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(|_| Self)
    }
}
