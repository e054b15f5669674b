//! Documents of a rule that the gateway fetches, with the clusters of their servers.

use std::{collections::BTreeMap, sync::Arc};

use pailou_auth::DocumentId;
use pailou_snapshot::RemoteDocument;

use crate::{
    policies::security::policy_document::PolicyDocument, resolver::Load, rule_context::RuleContext, servers, status::Problem,
};

/// Has the documents of a rule's policy fetched.
///
/// # Errors
/// The servers of one cannot be had.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, documents: &[PolicyDocument]) -> Result<(), Problem> {
    documents.iter().try_for_each(|document| of_policy(context, document).map(drop))
}

/// Has a document fetched. Gives it back with the clusters of its servers.
///
/// # Errors
/// Its servers cannot be had.
pub(crate) fn of_policy(context: &mut RuleContext<'_, '_, '_>, document: &PolicyDocument) -> Result<RemoteDocument, Problem> {
    let mut backends = Vec::with_capacity(document.refs.len());
    for (place, to) in document.refs.iter().enumerate() {
        let found = context.resolver.policy_server(document.referrer(), &to.target(), Load::Http, &document.traffic);
        let found = found.and_then(|cluster| servers::with_tls(cluster, document.tls_field(), &to.target()));
        let cluster = found.map_err(|problem| {
            let message = format!("SecurityPolicy: spec.{}.backendRefs[{place}]: {}", document.field, problem.message);
            Problem { message, ..problem }
        })?;
        backends.push((to.weight, context.resolver.held(cluster)));
    }
    let found = RemoteDocument { backends: backends.into(), ..document.document.clone() };
    if !context.resolver.is_dry {
        context.resolver.documents.insert(found.clone());
    }
    Ok(found)
}

/// Each document once. Of the clusters that its servers are for different Gateways, one counts.
pub(crate) fn distinct<'d>(documents: impl Iterator<Item = &'d RemoteDocument>) -> Vec<Arc<RemoteDocument>> {
    let mut found: BTreeMap<DocumentId, RemoteDocument> = BTreeMap::new();
    for document in documents {
        let known = found.entry(document.id).or_insert_with(|| document.clone());
        if document.backends < known.backends {
            known.backends.clone_from(&document.backends);
        }
    }
    found.into_values().map(Arc::new).collect()
}
