//! Whether a reference may cross namespaces.

use std::sync::Arc;

use crate::status::Problem;
pub(crate) use pailou_api::references::{Referent, Referrer};
use pailou_api::{ConfigMap, ReferenceGrant, Secret, references::Reference};

use super::index::Index;

impl<'a> Index<'a> {
    /// The Secret that a reference leads to, if there is one.
    ///
    /// # Errors
    /// No ReferenceGrant allows the reference.
    pub(crate) fn secret(&self, reference: Reference<'_>) -> Result<Option<&'a Arc<Secret>>, Problem> {
        self.permit(reference.from, reference.to)?;
        Ok(self.secrets.shared(reference.to.namespace, reference.to.name))
    }

    /// The ConfigMap that a reference leads to, if there is one.
    ///
    /// # Errors
    /// No ReferenceGrant allows the reference.
    pub(crate) fn config_map(&self, reference: Reference<'_>) -> Result<Option<&'a ConfigMap>, Problem> {
        self.permit(reference.from, reference.to)?;
        Ok(self.config_maps.get(reference.to.namespace, reference.to.name))
    }

    /// Checks that a reference stays in its namespace, or that a ReferenceGrant of the other one allows it.
    pub(crate) fn permit(&self, from: Referrer<'_>, to: Referent<'_>) -> Result<(), Problem> {
        if from.namespace == to.namespace || self.is_granted(from, to) {
            return Ok(());
        }
        Err(Problem::refs(
            "RefNotPermitted",
            format!(
                "{} {}/{} is in another namespace: add a ReferenceGrant in namespace {} from kind {} in namespace {} to kind {}",
                to.kind, to.namespace, to.name, to.namespace, from.kind, from.namespace, to.kind
            ),
        ))
    }

    /// Whether a ReferenceGrant allows a reference.
    pub(crate) fn is_granted(&self, from: Referrer<'_>, to: Referent<'_>) -> bool {
        self.granting(from, to).next().is_some()
    }

    /// The ReferenceGrants that allow a reference.
    pub(crate) fn granting<'r>(
        &self,
        from: Referrer<'r>,
        to: Referent<'r>,
    ) -> impl Iterator<Item = &'a ReferenceGrant> + use<'a, 'r> {
        let here = self.grants.get(to.namespace, "").into_iter().flatten().map(|grant| &**grant);
        here.filter(move |grant| {
            grant.spec.from.iter().any(|it| it.group == from.group && it.kind == from.kind && it.namespace == from.namespace)
                && grant
                    .spec
                    .to
                    .iter()
                    .any(|it| it.group == to.group && it.kind == to.kind && it.name.as_ref().is_none_or(|name| name == to.name))
        })
    }
}
