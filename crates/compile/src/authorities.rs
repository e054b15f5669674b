//! Trusted authorities from ConfigMaps, Secrets and ClusterTrustBundles.

use rustls_pki_types::CertificateDer;

use crate::status::Problem;
use pailou_api::{Kind, references::Reference, refs::LocalObjectReference};
use pailou_snapshot::Roots;

use super::{grants::Referrer, index::Index, pem};

/// Reads every reference of an object in `from`'s namespace; what is wrong with each comes beside what could be had.
pub(crate) fn read(
    index: &Index<'_>,
    from: Referrer<'_>,
    refs: &[LocalObjectReference],
) -> (Vec<CertificateDer<'static>>, Vec<Problem>) {
    let (mut certificates, mut problems) = (Vec::new(), Vec::new());
    for reference in refs {
        match one(index, Reference::local_authorities(from, reference), (&reference.kind, &reference.name), "InvalidKind") {
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

/// The authorities that one object holds, under the key `ca.crt` where it has keys; `wrong_kind` is the reason if there is no reference, as
/// the object's kind holds none.
pub(crate) fn one(
    index: &Index<'_>,
    reference: Option<Reference<'_>>,
    (kind, name): (&str, &str),
    wrong_kind: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let Some(reference) = reference else {
        let message = format!(
            "{kind} {name} cannot hold authorities: use a ConfigMap or a Secret with the key ca.crt, or a ClusterTrustBundle"
        );
        return Err(Problem::refs(wrong_kind, message));
    };
    let namespace = reference.to.namespace;
    let pem = match reference.kind {
        Kind::ClusterTrustBundle => return bundle(index, name),
        Kind::Secret => index.secret(reference)?.map(|secret| secret.spec.data.get("ca.crt").map(|value| value.expose())),
        _ => index.config_map(reference)?.map(|map| map.spec.bytes("ca.crt")),
    };
    let pem = pem.ok_or_else(|| invalid(format!("there is no {kind} {name} in namespace {namespace}")))?;
    let pem = pem.ok_or_else(|| invalid(format!("{kind} {namespace}/{name} has no key ca.crt")))?;
    pem::authorities(pem).map_err(|error| invalid(format!("{kind} {namespace}/{name}: {error}")))
}

/// The authorities of a ClusterTrustBundle, which belongs to no namespace and so needs no grant.
fn bundle(index: &Index<'_>, name: &str) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let bundle = index.trust_bundles.get("", name).ok_or_else(|| invalid(format!("there is no ClusterTrustBundle {name}")))?;
    let read = pem::authorities(bundle.spec.trust_bundle.as_bytes());
    read.map_err(|_| invalid(format!("ClusterTrustBundle {name}: trustBundle holds no PEM certificate that can be read")))
}

fn invalid(message: String) -> Problem {
    Problem::refs("InvalidCACertificateRef", message)
}
