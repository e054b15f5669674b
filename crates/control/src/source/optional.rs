//! Kinds that Kubernetes itself serves, in clusters where they are enabled.

use kube::Client;
use pailou_api::Kind;

use super::change::Change;

/// Whether it is such a kind.
pub(crate) fn is_optional(kind: Kind) -> bool {
    kind == Kind::ClusterTrustBundle
}

/// Asks the API server which of them it serves now.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn ask(client: &Client) -> Result<Vec<Change>, kube::Error> {
    let mut found = Vec::new();
    for kind in Kind::ALL.iter().copied().filter(|kind| is_optional(*kind)) {
        for group in kind.groups() {
            found.push(ask_one(client, kind, group).await?);
        }
    }
    Ok(found)
}

async fn ask_one(client: &Client, kind: Kind, group: &'static str) -> Result<Change, kube::Error> {
    for version in kind.versions(group) {
        let resources = match client.list_api_group_resources(&format!("{group}/{version}")).await {
            Ok(list) => list.resources,
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_forbidden() => continue,
            Err(error) => return Err(error),
        };
        if let Some(resource) = resources.into_iter().find(|it| it.kind == kind.name() && !it.name.contains('/')) {
            return Ok(Change::Served { kind, group, version, plural: resource.name });
        }
    }
    Ok(Change::Unserved { kind, group })
}
