//! The typed form of each kind, by serde.

use std::net::IpAddr;

use k8s_openapi::api::{core::v1 as core_api, discovery::v1 as discovery};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::decode::Failures;
use super::error::Problem;
use super::tracked;
use super::unknown_field::UnknownField;
use crate::ack::{AckTrafficFilterSpec, InferenceTrafficPolicySpec};
use crate::ai_gateway::gateway_config::GatewayConfigSpec;
use crate::backend_tls_policy::BackendTlsPolicySpec;
use crate::core_v1::cluster_trust_bundle::ClusterTrustBundleSpec;
use crate::core_v1::config_map::ConfigMapData;
use crate::core_v1::endpoint_slice::EndpointSliceSpec;
use crate::core_v1::namespace::NamespaceSpec;
use crate::core_v1::pod::PodSpec;
use crate::core_v1::secret::SecretData;
use crate::core_v1::service::ServiceSpec;
use crate::envoy::backend::BackendSpec;
use crate::envoy::backend_traffic_policy::BackendTrafficPolicySpec;
use crate::envoy::client_traffic_policy::ClientTrafficPolicySpec;
use crate::envoy::envoy_proxy::EnvoyProxySpec;
use crate::envoy::http_route_filter::EnvoyHttpRouteFilterSpec;
use crate::envoy::recognised::{EnvoyExtensionPolicySpec, EnvoyPatchPolicySpec};
use crate::envoy::security_policy::SecurityPolicySpec;
use crate::gateway::GatewaySpec;
use crate::gateway_class::GatewayClassSpec;
use crate::grpc_route::GrpcRouteSpec;
use crate::http_route::HttpRouteSpec;
use crate::inference_model::{InferenceModelRewriteSpec, InferenceModelSpec, InferenceObjectiveSpec, ModelApi, OfModelApi};
use crate::inference_pool::{INFERENCE_GROUP, InferencePoolSpec, LLM_D_GROUP, PoolV1, PoolV1Alpha2};
use crate::l4_route::{TcpRouteSpec, TlsRouteSpec, UdpRouteSpec};
use crate::listener_set::ListenerSetSpec;
use crate::reference_grant::ReferenceGrantSpec;
use crate::{Kind, Meta, Object, Resource, Typed};

/// Decodes one field of an object; unknown fields below it are added to `ignored`.
pub(super) fn field<T: DeserializeOwned>(value: Value, root: &str, ignored: &mut Vec<UnknownField>) -> Result<T, Failures> {
    tracked::decode(value, root, ignored).map_err(|(at, error)| {
        let message = advice(&error.to_string(), is_confidential(&at));
        vec![(at, Problem::Value(message))]
    })
}

/// Whether what was found at a path may be a credential, as the value of a header and of an environment variable may.
fn is_confidential(path: &str) -> bool {
    const FIELDS: [&str; 12] = [
        "requestHeaderModifier",
        "responseHeaderModifier",
        "earlyRequestHeaders",
        "lateResponseHeaders",
        "header",
        "headers",
        "set",
        "add",
        "addIfAbsent",
        "env",
        "value",
        "credential",
    ];
    const WORDS: [&str; 3] = ["type", "kind", "name"];
    let mut fields = path.split('.').map(|field| field.split('[').next().unwrap_or(field));
    let is_word = fields.clone().next_back().is_some_and(|last| WORDS.contains(&last));
    !is_word && fields.any(|field| FIELDS.contains(&field))
}

/// A type error in the words of someone who writes YAML, with what to do where quotes are the cause.
fn advice(message: &str, is_confidential: bool) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    // The library names a type, and quotes the value after it.
    let is_quoted = is_confidential && found.starts_with("invalid ");
    let found = if is_quoted { found.split(['"', '`']).next().unwrap_or_default().trim_end() } else { found };
    let whole = matches!(expected, "i64" | "i32" | "u64" | "u32" | "u16" | "u8");
    let expected = match expected {
        _ if whole && expected.starts_with('u') => "a whole number of 0 or more",
        _ if whole => "a whole number",
        "string or map" => "a string",
        other => other,
    };
    let invalid = found.strip_prefix("invalid type: ");
    let is_scalar = |found: &str| ["integer", "boolean", "floating point"].iter().any(|kind| found.starts_with(kind));
    let hint = match invalid {
        Some(found) if expected == "a string" && is_scalar(found) => ": put the value in quotes",
        Some(found) if whole && found.starts_with("string") => ": remove the quotes",
        _ => "",
    };
    format!("{found}, expected {expected}{hint}")
}

/// Decodes an object of a known kind and version. `fields` is the whole object.
pub(super) fn object(
    kind: Kind,
    version: &str,
    meta: Meta,
    fields: Map<String, Value>,
    ignored: &mut Vec<UnknownField>,
) -> Result<Object, Failures> {
    let decoder = Decoder { meta, fields, ignored };
    match kind {
        Kind::GatewayClass => decoder.spec::<GatewayClassSpec>(),
        Kind::Gateway => decoder.spec::<GatewaySpec>(),
        Kind::ListenerSet => decoder.spec::<ListenerSetSpec>(),
        Kind::HttpRoute => decoder.spec::<HttpRouteSpec>(),
        Kind::GrpcRoute => decoder.spec::<GrpcRouteSpec>(),
        Kind::TlsRoute => decoder.spec::<TlsRouteSpec>(),
        Kind::TcpRoute => decoder.spec::<TcpRouteSpec>(),
        Kind::UdpRoute => decoder.spec::<UdpRouteSpec>(),
        Kind::ReferenceGrant => decoder.spec::<ReferenceGrantSpec>(),
        Kind::BackendTlsPolicy => decoder.spec::<BackendTlsPolicySpec>(),
        Kind::InferencePool if version == "v1" => decoder.spec_by::<PoolV1, _>(InferencePoolSpec::from),
        Kind::InferencePool => decoder.spec_by::<PoolV1Alpha2, _>(InferencePoolSpec::from),
        Kind::InferenceModel => decoder.spec::<InferenceModelSpec>(),
        Kind::InferenceObjective => decoder.of_model_api::<InferenceObjectiveSpec>(),
        Kind::InferenceModelRewrite => decoder.of_model_api::<InferenceModelRewriteSpec>(),
        Kind::Backend => decoder.spec::<BackendSpec>(),
        Kind::EnvoyHttpRouteFilter => decoder.spec::<EnvoyHttpRouteFilterSpec>(),
        Kind::ClientTrafficPolicy => decoder.spec::<ClientTrafficPolicySpec>(),
        Kind::BackendTrafficPolicy => decoder.spec::<BackendTrafficPolicySpec>(),
        Kind::SecurityPolicy => decoder.spec::<SecurityPolicySpec>(),
        Kind::EnvoyProxy => decoder.optional_spec::<EnvoyProxySpec>(),
        Kind::EnvoyExtensionPolicy => decoder.spec::<EnvoyExtensionPolicySpec>(),
        Kind::EnvoyPatchPolicy => decoder.spec::<EnvoyPatchPolicySpec>(),
        Kind::GatewayConfig => decoder.optional_spec::<GatewayConfigSpec>(),
        Kind::InferenceTrafficPolicy => decoder.optional_spec::<InferenceTrafficPolicySpec>(),
        Kind::AckTrafficFilter => decoder.optional_spec::<AckTrafficFilterSpec>(),
        Kind::Namespace => decoder.whole::<core_api::Namespace, _>(|_| NamespaceSpec),
        Kind::Pod => decoder.pod(),
        Kind::Service => decoder.whole::<core_api::Service, _>(|service| ServiceSpec::from(service.spec.unwrap_or_default())),
        Kind::Secret => decoder.secret(),
        Kind::ConfigMap => decoder.without_line_breaks("binaryData").whole::<core_api::ConfigMap, _>(ConfigMapData::from),
        Kind::EndpointSlice => decoder.whole::<discovery::EndpointSlice, _>(EndpointSliceSpec::from),
        Kind::ClusterTrustBundle => decoder.spec::<ClusterTrustBundleSpec>(),
    }
}

/// One object on its way from JSON to its type.
struct Decoder<'a> {
    meta: Meta,
    fields: Map<String, Value>,
    ignored: &'a mut Vec<UnknownField>,
}

/// The fields beside `spec` that objects have.
const KNOWN_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

impl Decoder<'_> {
    fn spec<S: DeserializeOwned>(self) -> Result<Object, Failures>
    where
        Resource<S>: Typed,
    {
        self.spec_by(|spec: S| spec)
    }

    /// Decodes `spec` by `F`, of which `finish` makes the object's own.
    fn spec_by<F: DeserializeOwned, S>(mut self, finish: impl FnOnce(F) -> S) -> Result<Object, Failures>
    where
        Resource<S>: Typed,
    {
        let spec = self.fields.remove("spec").ok_or_else(|| vec![("spec".to_owned(), Problem::Missing)])?;
        let unknown = self.fields.keys().filter(|key| !KNOWN_FIELDS.contains(&key.as_str()));
        self.ignored.extend(unknown.map(UnknownField::named));
        let spec = field(spec, "spec", self.ignored)?;
        Ok(Resource { meta: self.meta, spec: finish(spec) }.into_object())
    }

    fn optional_spec<S: DeserializeOwned>(mut self) -> Result<Object, Failures>
    where
        Resource<S>: Typed,
    {
        self.fields.entry("spec").or_insert_with(|| Value::Object(Map::new()));
        self.spec::<S>()
    }

    /// As [`spec`](Decoder::spec), of a kind that two groups have, with other pools by default.
    fn of_model_api<S: DeserializeOwned + OfModelApi>(mut self) -> Result<Object, Failures>
    where
        Resource<S>: Typed,
    {
        let group = self.fields.get("apiVersion").and_then(Value::as_str).and_then(|version| version.split('/').next());
        let api = if group == Some(LLM_D_GROUP) { ModelApi::LlmD } else { ModelApi::InferenceExtension };
        let pool = self.fields.get_mut("spec").and_then(|spec| spec.get_mut("poolRef")).and_then(Value::as_object_mut);
        if let Some(pool) = pool.filter(|_| api == ModelApi::LlmD) {
            pool.entry("group").or_insert_with(|| INFERENCE_GROUP.into());
        }
        self.spec_by(|mut spec: S| {
            spec.set_api(api);
            spec
        })
    }

    /// Decodes a core object by Kubernetes' own type and keeps what `project` takes of it.
    fn whole<T: DeserializeOwned, S>(mut self, project: impl Fn(T) -> S) -> Result<Object, Failures>
    where
        Resource<S>: Typed,
    {
        // Metadata has been read already.
        self.fields.remove("metadata");
        let object: T = field(Value::Object(self.fields), "", self.ignored)?;
        Ok(Resource { meta: self.meta, spec: project(object) }.into_object())
    }

    /// As [`whole`](Decoder::whole), with addresses that an API server would refuse.
    fn pod(self) -> Result<Object, Failures> {
        let status = self.fields.get("status");
        let first = status.and_then(|status| status.get("podIP")).map(|ip| ("status.podIP".to_owned(), ip));
        let listed = status.and_then(|status| status.get("podIPs")).and_then(Value::as_array);
        let listed = listed.into_iter().flatten().enumerate();
        let listed = listed.filter_map(|(place, entry)| Some((format!("status.podIPs[{place}].ip"), entry.get("ip")?)));
        let texts = first.into_iter().chain(listed).filter_map(|(path, ip)| Some((path, ip.as_str()?)));
        let wrong = texts.filter(|(_, text)| !text.is_empty() && text.parse::<IpAddr>().is_err());
        let wrong: Failures = wrong.map(|(path, text)| (path, Problem::Value(format!("{text:?} is no IP address")))).collect();
        if wrong.is_empty() { self.whole::<core_api::Pod, _>(PodSpec::from) } else { Err(wrong) }
    }

    /// Takes line breaks out of base64 in a map's values: `base64` makes them, and the API server's decoder skips them.
    fn without_line_breaks(mut self, field: &str) -> Self {
        let values = self.fields.get_mut(field).and_then(Value::as_object_mut);
        for value in values.into_iter().flat_map(Map::values_mut) {
            if let Value::String(text) = value {
                text.retain(|it| !matches!(it, '\r' | '\n'));
            }
        }
        self
    }

    /// As [`whole`](Decoder::whole), with errors that quote no value.
    fn secret(self) -> Result<Object, Failures> {
        self.without_line_breaks("data")
            .whole::<core_api::Secret, _>(SecretData::from)
            .map_err(|failures| failures.into_iter().map(|(path, _)| (path, Problem::SecretValue)).collect())
    }
}
