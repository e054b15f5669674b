//! Trusted authorities from ConfigMaps and Secrets.

use rustls_pki_types::CertificateDer;

use crate::{resources::refs::LocalObjectReference, snapshot::Roots, status::Problem};

use super::{index::Index, pem};

/// Reads every reference; what is wrong with each comes beside what could be had.
pub(crate) fn read(
    index: &Index<'_>,
    namespace: &str,
    refs: &[LocalObjectReference],
) -> (Vec<CertificateDer<'static>>, Vec<Problem>) {
    let (mut certificates, mut problems) = (Vec::new(), Vec::new());
    for reference in refs {
        match one(index, namespace, reference) {
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

fn one(index: &Index<'_>, namespace: &str, reference: &LocalObjectReference) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let name = &*reference.name;
    let invalid = |message: String| Problem::refs("InvalidCACertificateRef", message);
    let pem = match (&*reference.group, &*reference.kind) {
        ("", "ConfigMap") => index.config_maps.get(namespace, name).map(|map| map.spec.bytes("ca.crt")),
        ("", "Secret") => {
            index.secrets.get(namespace, name).map(|secret| secret.spec.data.get("ca.crt").map(|value| value.expose()))
        }
        (_, kind) => {
            let message = format!("{kind} {name} cannot hold authorities: use a ConfigMap or a Secret with the key ca.crt");
            return Err(Problem::refs("InvalidKind", message));
        }
    };
    let pem = pem.ok_or_else(|| invalid(format!("there is no {} {name} in namespace {namespace}", reference.kind)))?;
    let pem = pem.ok_or_else(|| invalid(format!("{} {namespace}/{name} has no key ca.crt", reference.kind)))?;
    pem::authorities(pem).map_err(|error| invalid(format!("{} {namespace}/{name}: {error}", reference.kind)))
}
