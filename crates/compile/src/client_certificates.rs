//! Client certificates: those that a Gateway asks of its clients, and the one that it shows to backends.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::status::{Condition, Problem};
use pailou_api::{
    ClientTrafficPolicy, Gateway,
    envoy::ENVOY_GROUP,
    gateway::{FrontendTlsConfig, FrontendValidation, FrontendValidationMode},
    references::Reference,
    refs::GATEWAY_GROUP,
};
use pailou_snapshot::{ClientCertificates, ClientTrust, Failure};

use super::{
    authorities, client_trust,
    grants::Referrer,
    index::Index,
    listener::{ListenerState, certificate},
    listener_protocol::ListenerProtocol,
    wrong_kind::Named,
};

/// A Gateway's certificate for backends that ask for one. If there should be one and there is not, the gateway opens no
/// connection without.
pub(crate) type Identity = Result<Arc<CertifiedKey>, Failure>;

/// Has a listener ask its clients for certificates, as the Gateway it belongs to wants it (`spec.tls.frontend`). One that cannot tell
/// good certificates from bad is not served.
pub(crate) fn ask(index: &Index<'_>, gateway: &Gateway, listener: &mut ListenerState<'_>) {
    if !listener.protocol.is_some_and(ListenerProtocol::terminates_tls) {
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

/// A ClientTrafficPolicy's demands on clients' certificates; `None` if it makes none. If the gateway cannot enforce a part, it
/// enforces nothing.
pub(crate) fn of_policy(index: &Index<'_>, policy: &ClientTrafficPolicy) -> Option<Result<ClientCertificates, Problem>> {
    let validation = policy.spec.tls.as_ref()?.client_validation.as_ref()?;
    let from = Referrer { group: ENVOY_GROUP, kind: "ClientTrafficPolicy", namespace: &policy.meta.namespace };
    let trust = client_trust::read(index, from, validation);
    let trust = trust.map_err(|message| Problem::accepted("Invalid", format!("spec.tls.clientValidation{message}")));
    let asked = if validation.optional { ClientCertificates::ValidOrNone } else { ClientCertificates::Valid };
    Some(trust.map(|trust| asked(trust.into())))
}

fn referrer(gateway: &Gateway) -> Referrer<'_> {
    Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &gateway.meta.namespace }
}

fn read(index: &Index<'_>, gateway: &Gateway, validation: &FrontendValidation) -> (Option<ClientCertificates>, Vec<Problem>) {
    let from = referrer(gateway);
    let refs = validation.ca_certificate_refs.iter();
    let refs = refs.map(|it| (Reference::authorities(from, it), Named { group: &it.group, kind: &it.kind, name: &it.name }));
    let (trusted, mut problems) = trusted(index, refs);
    for problem in &mut problems {
        problem.message.insert_str(0, "spec.tls.frontend: ");
    }
    if trusted.is_empty() {
        let message =
            "spec.tls.frontend: no authority can be trusted with clients' certificates, so that the listener stays closed";
        problems.push(Problem::accepted("NoValidCACertificate", message));
        return (None, problems);
    }
    let asked = match validation.mode {
        FrontendValidationMode::AllowValidOnly => ClientCertificates::Valid(ClientTrust::of_authorities(trusted.into()).into()),
        FrontendValidationMode::AllowInsecureFallback => ClientCertificates::Any,
    };
    (Some(asked), problems)
}

/// The authorities that can be had, and what is wrong with the others.
pub(crate) fn trusted<'r>(
    index: &Index<'_>,
    refs: impl Iterator<Item = (Option<Reference<'r>>, Named<'r>)>,
) -> (Vec<CertificateDer<'static>>, Vec<Problem>) {
    let (mut trusted, mut problems) = (Vec::new(), Vec::new());
    for (reference, named) in refs {
        match authorities::one(index, reference, named, "InvalidCACertificateKind") {
            Ok(more) => trusted.extend(more),
            Err(problem) => problems.push(problem),
        }
    }
    (trusted, problems)
}
