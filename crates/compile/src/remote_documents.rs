//! Documents of a rule that the gateway fetches, with the clusters of their servers.

use std::{collections::BTreeMap, sync::Arc};

use pailou_auth::DocumentId;
use pailou_snapshot::{ClusterKey, RemoteDocument};

use crate::{policies::security::remote_jwks::PolicyDocument, resolver::Load, rule_context::RuleContext, status::Problem};

/// Has the documents of a rule's policy fetched.
///
/// # Errors
/// The servers of one cannot be had.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, documents: &[PolicyDocument]) -> Result<(), Problem> {
    for document in documents {
        let backends = servers(context, document).map_err(|problem| {
            let message = format!("SecurityPolicy: spec.{}.backendRefs: {}", document.field, problem.message);
            Problem { message, ..problem }
        })?;
        if !context.resolver.is_dry {
            context.resolver.documents.insert(RemoteDocument { backends: backends.into(), ..document.document.clone() });
        }
    }
    Ok(())
}

fn servers(context: &mut RuleContext<'_, '_, '_>, document: &PolicyDocument) -> Result<Vec<(u32, ClusterKey)>, Problem> {
    let mut found = Vec::with_capacity(document.refs.len());
    for to in &document.refs {
        let cluster = context.resolver.policy_server(document.referrer(), &to.target(), Load::Http, &document.traffic)?;
        if document.needs_tls() && matches!(cluster.tls, Ok(None)) {
            let message = format!("the URL asks for TLS, and {} {} has none: give it a BackendTLSPolicy", to.kind, to.name);
            return Err(Problem::accepted("Invalid", message));
        }
        found.push((to.weight, context.resolver.held(cluster)));
    }
    Ok(found)
}

/// Each document once. Of several with the same servers the shortest times count, and one of their clusters.
pub(crate) fn distinct<'d>(documents: impl Iterator<Item = &'d RemoteDocument>) -> Vec<Arc<RemoteDocument>> {
    let mut found: BTreeMap<DocumentId, RemoteDocument> = BTreeMap::new();
    for document in documents {
        let known = found.entry(document.id).or_insert_with(|| document.clone());
        known.cache_duration = known.cache_duration.min(document.cache_duration);
        known.failed_refetch_duration = known.failed_refetch_duration.min(document.failed_refetch_duration);
        if document.backends < known.backends {
            known.backends.clone_from(&document.backends);
        }
    }
    found.into_values().map(Arc::new).collect()
}
