//! Trusted authorities from ConfigMaps and Secrets.

use rustls_pki_types::CertificateDer;

use crate::{resources::refs::LocalObjectReference, snapshot::Roots, status::Problem};

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

/// The authorities that one object holds under the key `ca.crt`; `wrong_kind` is the reason where it is of a kind that holds none.
pub(crate) fn one(
    index: &Index<'_>,
    from: Referrer<'_>,
    to: Referent<'_>,
    wrong_kind: &'static str,
) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let Referent { kind, namespace, name, .. } = to;
    let invalid = |message: String| Problem::refs("InvalidCACertificateRef", message);
    let pem = match (to.group, kind) {
        ("", "ConfigMap") => {
            index.permit(from, to)?;
            index.config_maps.get(namespace, name).map(|map| map.spec.bytes("ca.crt"))
        }
        ("", "Secret") => {
            index.permit(from, to)?;
            index.secrets.get(namespace, name).map(|secret| secret.spec.data.get("ca.crt").map(|value| value.expose()))
        }
        _ => {
            let message = format!("{kind} {name} cannot hold authorities: use a ConfigMap or a Secret with the key ca.crt");
            return Err(Problem::refs(wrong_kind, message));
        }
    };
    let pem = pem.ok_or_else(|| invalid(format!("there is no {kind} {name} in namespace {namespace}")))?;
    let pem = pem.ok_or_else(|| invalid(format!("{kind} {namespace}/{name} has no key ca.crt")))?;
    pem::authorities(pem).map_err(|error| invalid(format!("{kind} {namespace}/{name}: {error}")))
}
