//! Trusted authorities from ConfigMaps, Secrets and ClusterTrustBundles.

use rustls_pki_types::CertificateDer;

use crate::status::Problem;
use pailou_api::{core_v1::cluster_trust_bundle::CERTIFICATES_GROUP, refs::LocalObjectReference};
use pailou_snapshot::Roots;

use super::{
    grants::{Referent, Referrer},
    index::Index,
    pem,
};

/// Reads every reference of an object in `from`'s namespace; what is wrong with each comes beside what could be had.
pub(crate) fn read(
    index: &Index<'_>,
    from: Referrer<'_>,
    refs: &[LocalObjectReference],
) -> (Vec<CertificateDer<'static>>, Vec<Problem>) {
    let (mut certificates, mut problems) = (Vec::new(), Vec::new());
    for reference in refs {
        let (group, kind, name) = (&*reference.group, &*reference.kind, &*reference.name);
        match one(index, from, Referent { group, kind, namespace: from.namespace, name }, "InvalidKind") {
            Ok(more) => certificates.extend(more),
            Err(problem) => problems.push(problem),
        }
    }
    (certificates, problems)
}

/// Trust in just these.
pub(crate) fn roots(certificates: Vec<CertificateDer<'static>>) -> Roots {
    Roots::Certificates(certificates.into())
}

/// The authorities that one object holds, under the key `ca.crt` where it has keys; `wrong_kind` is the reason where it is of a kind that holds none.
pub(crate) fn one(
    index: &Index<'_>,
    from: Referrer<'_>,
    to: Referent<'_>,
    wrong_kind: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let Referent { kind, namespace, name, .. } = to;
    let pem = match (to.group, kind) {
        ("", "ConfigMap") => {
            index.permit(from, to)?;
            index.config_maps.get(namespace, name).map(|map| map.spec.bytes("ca.crt"))
        }
        ("", "Secret") => {
            index.permit(from, to)?;
            index.secrets.get(namespace, name).map(|secret| secret.spec.data.get("ca.crt").map(|value| value.expose()))
        }
        (CERTIFICATES_GROUP, "ClusterTrustBundle") => return bundle(index, name),
        _ => {
            let message = format!(
                "{kind} {name} cannot hold authorities: use a ConfigMap or a Secret with the key ca.crt, or a ClusterTrustBundle"
            );
            return Err(Problem::refs(wrong_kind, message));
        }
    };
    let pem = pem.ok_or_else(|| invalid(format!("there is no {kind} {name} in namespace {namespace}")))?;
    let pem = pem.ok_or_else(|| invalid(format!("{kind} {namespace}/{name} has no key ca.crt")))?;
    pem::authorities(pem).map_err(|error| invalid(format!("{kind} {namespace}/{name}: {error}")))
}

/// The authorities of a ClusterTrustBundle, which belongs to no namespace: no grant is asked for.
fn bundle(index: &Index<'_>, name: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bundle = index.trust_bundles.get("", name).ok_or_else(|| invalid(format!("there is no ClusterTrustBundle {name}")))?;
    let read = pem::authorities(bundle.spec.trust_bundle.as_bytes());
    read.map_err(|_| invalid(format!("ClusterTrustBundle {name}: trustBundle holds no PEM certificate that can be read")))
}

fn invalid(message: String) -> Problem {
    Problem::refs("InvalidCACertificateRef", message)
}
