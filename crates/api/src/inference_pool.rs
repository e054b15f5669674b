//! InferencePool: replicas of a model server.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::meta::Resource;
use super::names::{GroupName, KindName, ObjectName};
use super::port::PortNumber;
use super::refs::{core_group, service_kind};

/// The group of InferencePool v1.
pub const INFERENCE_GROUP: &str = "inference.networking.k8s.io";

/// The group of InferencePool v1alpha2 and InferenceModel, and the older one of InferenceObjective and InferenceModelRewrite.
pub const INFERENCE_X_GROUP: &str = "inference.networking.x-k8s.io";

/// The newer group of InferenceObjective and InferenceModelRewrite, which left the inference extension with its v1.6.
pub const LLM_D_GROUP: &str = "llm-d.ai";

/// InferencePool, v1 of `inference.networking.k8s.io` or v1alpha2 of `inference.networking.x-k8s.io`.
pub type InferencePool = Resource<InferencePoolSpec>;

/// `spec` of an InferencePool, the same for both versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferencePoolSpec {
    /// In which of the two APIs it was written.
    pub version: InferencePoolVersion,
    /// Labels of the pool's pods, in its own namespace.
    pub selector: BTreeMap<String, String>,
    /// Every one of these ports of every pod is an endpoint of its own; 1 to 8.
    pub target_ports: Vec<PortNumber>,
    /// Application protocol of the endpoints.
    pub app_protocol: PoolProtocol,
    /// Picker of endpoints; absent: the gateway itself.
    pub endpoint_picker: Option<EndpointPickerRef>,
}

/// The API that an InferencePool was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InferencePoolVersion {
    /// `inference.networking.k8s.io/v1`.
    V1,
    /// `inference.networking.x-k8s.io/v1alpha2`.
    V1Alpha2,
}

impl InferencePoolVersion {
    /// The API group.
    pub fn group(self) -> &'static str {
        match self {
            InferencePoolVersion::V1 => INFERENCE_GROUP,
            InferencePoolVersion::V1Alpha2 => INFERENCE_X_GROUP,
        }
    }
}

/// Application protocol of a pool's endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum PoolProtocol {
    /// HTTP/1.1.
    #[default]
    #[serde(rename = "http")]
    Http,
    /// HTTP/2 in cleartext by prior knowledge.
    #[serde(rename = "kubernetes.io/h2c")]
    H2c,
}

/// A service that picks endpoints by the endpoint picker protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EndpointPickerRef {
    /// Group; the core group by default.
    pub group: GroupName,
    /// Kind; `Service` by default.
    pub kind: KindName,
    /// Name, in the pool's namespace.
    pub name: ObjectName,
    /// Port; 9002 by default in v1alpha2, always there in v1 when the kind is Service.
    pub port: Option<PortNumber>,
    /// Treatment of requests when the picker does not answer; `FailClose` by default.
    pub failure_mode: FailureMode,
}

/// Treatment of requests when an endpoint picker does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum FailureMode {
    /// The gateway picks.
    FailOpen,
    /// The request fails.
    #[default]
    FailClose,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolV1 {
    selector: PoolSelector,
    target_ports: Vec<TargetPort>,
    #[serde(default)]
    app_protocol: PoolProtocol,
    #[serde(default)]
    endpoint_picker_ref: Option<PickerV1>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PoolSelector {
    match_labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TargetPort {
    number: PortNumber,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PickerV1 {
    #[serde(default = "core_group")]
    group: GroupName,
    #[serde(default = "service_kind")]
    kind: KindName,
    name: ObjectName,
    #[serde(default)]
    port: Option<TargetPort>,
    #[serde(default)]
    failure_mode: FailureMode,
}

impl From<PoolV1> for InferencePoolSpec {
    fn from(pool: PoolV1) -> InferencePoolSpec {
        InferencePoolSpec {
            version: InferencePoolVersion::V1,
            selector: pool.selector.match_labels,
            target_ports: pool.target_ports.into_iter().map(|port| port.number).collect(),
            app_protocol: pool.app_protocol,
            endpoint_picker: pool.endpoint_picker_ref.map(|picker| EndpointPickerRef {
                group: picker.group,
                kind: picker.kind,
                name: picker.name,
                port: picker.port.map(|port| port.number),
                failure_mode: picker.failure_mode,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PoolV1Alpha2 {
    selector: BTreeMap<String, String>,
    target_port_number: PortNumber,
    extension_ref: PickerV1Alpha2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PickerV1Alpha2 {
    #[serde(default = "core_group")]
    group: GroupName,
    #[serde(default = "service_kind")]
    kind: KindName,
    name: ObjectName,
    #[serde(default = "picker_port")]
    port_number: PortNumber,
    #[serde(default)]
    failure_mode: FailureMode,
}

fn picker_port() -> PortNumber {
    PortNumber::try_from(9002).expect("9002 is a port")
}

impl From<PoolV1Alpha2> for InferencePoolSpec {
    fn from(pool: PoolV1Alpha2) -> InferencePoolSpec {
        let picker = pool.extension_ref;
        InferencePoolSpec {
            version: InferencePoolVersion::V1Alpha2,
            selector: pool.selector,
            target_ports: vec![pool.target_port_number],
            app_protocol: PoolProtocol::Http,
            endpoint_picker: Some(EndpointPickerRef {
                group: picker.group,
                kind: picker.kind,
                name: picker.name,
                port: Some(picker.port_number),
                failure_mode: picker.failure_mode,
            }),
        }
    }
}
