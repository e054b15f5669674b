//! Secrets and ConfigMaps that a SecurityPolicy refers to.

use std::sync::Arc;

use pailou_api::{
    ConfigMap, Kind, Secret,
    envoy::ENVOY_GROUP,
    references::Reference,
    refs::{LocalObjectReference, SecretObjectReference},
};

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
