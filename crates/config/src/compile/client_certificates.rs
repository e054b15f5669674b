//! Client certificates: those that a Gateway asks of its clients, and the one that it shows to backends.

use std::sync::Arc;

use rustls::sign::CertifiedKey;

use crate::{
    resources::{
        Gateway,
        gateway::{FrontendTlsConfig, FrontendValidation, FrontendValidationMode},
        refs::GATEWAY_GROUP,
    },
    snapshot::{ClientCertificates, Failure},
    status::{Condition, Problem},
};

use super::{
    authorities,
    grants::{Referent, Referrer},
    index::Index,
    listener::{ListenerState, certificate},
    speaks::Speaks,
};

/// What a Gateway shows to backends that ask for a certificate. Where that cannot be had, no connection is made without.
pub(crate) type Identity = Result<Arc<CertifiedKey>, Failure>;

/// Has a listener ask its clients for certificates, as the Gateway it belongs to wants it (`spec.tls.frontend`). One that cannot tell
/// good certificates from bad is not served.
pub(crate) fn ask(index: &Index<'_>, gateway: &Gateway, listener: &mut ListenerState<'_>) {
    if !listener.speaks.is_some_and(Speaks::ends_tls) {
        return;
    }
    let Some(frontend) = gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()) else { return };
    let own = frontend.per_port.iter().find(|it| it.port == listener.spec.port).map(|it| &it.tls);
    let Some(validation) = &own.unwrap_or(&frontend.fallback).validation else { return };
    let (asked, problems) = read(index, gateway, validation);
    listener.client_certificates = asked;
    listener.problems.extend(problems);
}

/// Says that clients may come with any certificate or none, where that is so.
pub(crate) fn insecure_mode(gateway: &Gateway) -> Option<Condition> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let insecure = |config: &FrontendTlsConfig| {
        config.validation.as_ref().is_some_and(|it| it.mode == FrontendValidationMode::AllowInsecureFallback)
    };
    let ports: Vec<_> = frontend.per_port.iter().filter(|it| insecure(&it.tls)).map(|it| format!("port {}", it.port)).collect();
    let places: Vec<_> = insecure(&frontend.fallback).then(|| "default".to_owned()).into_iter().chain(ports).collect();
    (!places.is_empty()).then(|| {
        let message = format!(
            "spec.tls.frontend ({}): AllowInsecureFallback lets clients in with any certificate or none: use it for tests only",
            places.join(", ")
        );
        Condition::holds("InsecureFrontendValidationMode", "ConfigurationChanged", message, gateway.meta.generation)
    })
}

/// The certificate of a Gateway's `spec.tls.backend`, and what is wrong with it; `None` where none is wanted.
pub(crate) fn identity(index: &Index<'_>, gateway: &Gateway) -> Option<(Identity, Option<Problem>)> {
    let reference = gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    match certificate(index, reference, referrer(gateway)) {
        Ok(certificate) => Some((Ok(certificate), None)),
        Err(problem) => {
            let reason = if problem.reason == "RefNotPermitted" { problem.reason } else { "InvalidClientCertificateRef" };
            let message = format!("spec.tls.backend.clientCertificateRef: {}", problem.message);
            let failure = Failure(format!("Gateway {}/{}: {message}", gateway.meta.namespace, gateway.meta.name).into());
            Some((Err(failure), Some(Problem::refs(reason, message))))
        }
    }
}

fn referrer(gateway: &Gateway) -> Referrer<'_> {
    Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &gateway.meta.namespace }
}

fn read(index: &Index<'_>, gateway: &Gateway, validation: &FrontendValidation) -> (Option<ClientCertificates>, Vec<Problem>) {
    let from = referrer(gateway);
    let (mut trusted, mut problems) = (Vec::new(), Vec::new());
    for reference in &validation.ca_certificate_refs {
        let namespace = reference.namespace.as_deref().unwrap_or(from.namespace);
        let authority = Referent { group: &reference.group, kind: &reference.kind, namespace, name: &reference.name };
        match authorities::one(index, from, authority, "InvalidCACertificateKind") {
            Ok(more) => trusted.extend(more),
            Err(problem) => {
                problems.push(Problem { message: format!("spec.tls.frontend: {}", problem.message), ..problem });
            }
        }
    }
    if trusted.is_empty() {
        let message =
            "spec.tls.frontend: no authority can be trusted with clients' certificates, so that the listener stays closed";
        problems.push(Problem::accepted("NoValidCACertificate", message));
        return (None, problems);
    }
    let asked = match validation.mode {
        FrontendValidationMode::AllowValidOnly => ClientCertificates::Valid(trusted.into()),
        FrontendValidationMode::AllowInsecureFallback => ClientCertificates::Any,
    };
    (Some(asked), problems)
}
