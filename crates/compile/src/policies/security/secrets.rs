//! Secrets and ConfigMaps that a SecurityPolicy refers to.

use std::sync::Arc;

use pailou_api::{
    ConfigMap, Kind, Secret,
    envoy::ENVOY_GROUP,
    references::Reference,
    refs::{LocalObjectKeyReference, LocalObjectReference, SecretObjectReference},
};
use pailou_snapshot::HiddenText;

use crate::{
    grants::Referrer,
    index::Index,
    status::Problem,
    wrong_kind::{self, Named},
};

use super::super::values::invalid;

/// Lookups for a policy of a namespace.
pub(super) struct Secrets<'t, 'a> {
    index: &'t Index<'a>,
    namespace: &'t str,
}

impl<'t, 'a> Secrets<'t, 'a> {
    pub(super) fn new(index: &'t Index<'a>, namespace: &'t str) -> Self {
        Self { index, namespace }
    }

    pub(super) fn index(&self) -> &'t Index<'a> {
        self.index
    }

    /// Namespace of the policy.
    pub(super) fn namespace(&self) -> &'t str {
        self.namespace
    }

    /// The Secret that a field refers to.
    ///
    /// # Errors
    /// It is missing, of another kind, or in a namespace that does not grant the reference.
    pub(super) fn find(&self, field: &str, to: &SecretObjectReference) -> Result<&'a Arc<Secret>, Problem> {
        let wrong = |message: String| invalid(&format!("{field}: {message}"));
        let Some(found) = Reference::secret(self.referrer(), to) else {
            let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
            return Err(wrong(wrong_kind::message(named, &[Kind::Secret])));
        };
        let secret = self.index.secret(found).map_err(|problem| wrong(problem.message))?;
        secret.ok_or_else(|| wrong(format!("there is no Secret {} in namespace {}", to.name, found.to.namespace)))
    }

    /// The text under a key of a ConfigMap or Secret that a field refers to.
    ///
    /// # Errors
    /// The object or the key is missing, or the value is no text.
    pub(super) fn text(&self, field: &str, to: &LocalObjectKeyReference) -> Result<HiddenText, Problem> {
        let wrong = |message: String| invalid(&format!("{field}: {message}"));
        let missing = |problem: Problem| wrong(problem.message);
        let Some(found) = Reference::local_key(self.referrer(), to) else {
            let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
            return Err(wrong(wrong_kind::message(named, &[Kind::ConfigMap, Kind::Secret])));
        };
        let is_secret = found.kind == Kind::Secret;
        let bytes = if is_secret {
            let secret = self.index.secret(found).map_err(missing)?;
            secret.map(|it| it.spec.data.get(&to.key).map(|value| value.expose()))
        } else {
            self.index.config_map(found).map_err(missing)?.map(|it| it.spec.bytes(&to.key))
        };
        let bytes = bytes.ok_or_else(|| wrong(format!("there is no {} {} in namespace {}", to.kind, to.name, self.namespace)))?;
        let bytes = bytes.ok_or_else(|| wrong(format!("{} {} has no key {}", to.kind, to.name, to.key)))?;
        let text =
            std::str::from_utf8(bytes).map_err(|_| wrong(format!("key {} of {} {} is no text", to.key, to.kind, to.name)))?;
        Ok(HiddenText::new(text))
    }

    /// The ConfigMap that a field refers to.
    ///
    /// # Errors
    /// It is missing or of another kind.
    pub(super) fn config_map(&self, field: &str, to: &LocalObjectReference) -> Result<&'a ConfigMap, Problem> {
        let wrong = |message: String| invalid(&format!("{field}: {message}"));
        let Some(found) = Reference::local(self.referrer(), to, Kind::ConfigMap) else {
            let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
            return Err(wrong(wrong_kind::message(named, &[Kind::ConfigMap])));
        };
        let map = self.index.config_map(found).map_err(|problem| wrong(problem.message))?;
        map.ok_or_else(|| wrong(format!("there is no ConfigMap {} in namespace {}", to.name, self.namespace)))
    }

    fn referrer(&self) -> Referrer<'t> {
        Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace: self.namespace }
    }
}
