//! Trusted authorities from ConfigMaps, Secrets and ClusterTrustBundles.

use rustls_pki_types::CertificateDer;

use crate::status::Problem;
use pailou_api::{Kind, references::Reference, refs::LocalObjectReference};
use pailou_snapshot::Roots;

use super::{
    grants::Referrer,
    index::Index,
    pem::{self, PemError},
    wrong_kind::{self, Named},
};

/// Reads every reference of an object in `from`'s namespace; what is wrong with each comes beside what could be had.
pub(crate) fn read(
    index: &Index<'_>,
    from: Referrer<'_>,
    refs: &[LocalObjectReference],
) -> (Vec<CertificateDer<'static>>, Vec<Problem>) {
    let (mut certificates, mut problems) = (Vec::new(), Vec::new());
    for reference in refs {
        match one(index, Reference::local_authorities(from, reference), named(reference), "InvalidKind") {
            Ok(more) => certificates.extend(more),
            Err(problem) => problems.push(problem),
        }
    }
    (certificates, problems)
}

fn named(to: &LocalObjectReference) -> Named<'_> {
    Named { group: &to.group, kind: &to.kind, name: &to.name }
}

/// Trust in just these.
pub(crate) fn roots(certificates: Vec<CertificateDer<'static>>) -> Roots {
    Roots::Certificates(certificates.into())
}

/// The authorities that one object holds, under the key `ca.crt` where it has keys; `reason` stands where there is no reference, as
/// the object's kind holds none.
pub(crate) fn one(
    index: &Index<'_>,
    reference: Option<Reference<'_>>,
    named: Named<'_>,
    reason: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let Some(reference) = reference else {
        let message = wrong_kind::message(named, &[Kind::ConfigMap, Kind::Secret, Kind::ClusterTrustBundle]);
        return Err(Problem::refs(reason, message));
    };
    match reference.kind {
        Kind::ClusterTrustBundle => bundle(index, named.name),
        _ => of_key(index, reference, named, "ca.crt", pem::authorities),
    }
}

/// Reads the PEM that a ConfigMap or Secret holds under a key.
pub(crate) fn of_key<T>(
    index: &Index<'_>,
    reference: Reference<'_>,
    Named { kind, name, .. }: Named<'_>,
    key: &'static str,
    read: impl FnOnce(&[u8]) -> Result<T, PemError>,
) -> Result<T, Problem> {
    let namespace = reference.to.namespace;
    let pem = match reference.kind {
        Kind::Secret => index.secret(reference)?.map(|secret| secret.spec.data.get(key).map(|value| value.expose())),
        _ => index.config_map(reference)?.map(|map| map.spec.bytes(key)),
    };
    let pem = pem.ok_or_else(|| invalid(format!("there is no {kind} {name} in namespace {namespace}")))?;
    let pem = pem.ok_or_else(|| invalid(format!("{kind} {namespace}/{name} has no key {key}")))?;
    read(pem).map_err(|error| invalid(format!("{kind} {namespace}/{name}: {error}")))
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
