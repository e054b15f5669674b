//! `X-Forwarded-Client-Cert`: what backends learn of a client's certificate, and what of a client's own word for it passes.
//!
//! Source: Envoy's documentation of the header, and ClientTrafficPolicy `headers.xForwardedClientCert`.

use http::HeaderMap;
use pailou_snapshot::{ForwardedClientCert, ForwardedClientCertMode as Mode};

use crate::{
    headers::{self, FORWARDED_CLIENT_CERT},
    tls::PresentedCertificate,
};

/// Applies a listener's settings. `presented` is the client's verified certificate; without one a client's header passes only where the
/// settings say "always".
pub(crate) fn apply(map: &mut HeaderMap, settings: ForwardedClientCert, presented: Option<&PresentedCertificate>) {
    match (settings.mode, presented) {
        (Mode::AlwaysForwardOnly, _) | (Mode::ForwardOnly, Some(_)) => {}
        (Mode::AppendForward, Some(presented)) => {
            if let Some(element) = presented.element(settings.details) {
                headers::append_with(map, FORWARDED_CLIENT_CERT, element.to_str().unwrap_or_default(), ",");
            }
        }
        (Mode::SanitizeSet, Some(presented)) => {
            map.remove(FORWARDED_CLIENT_CERT);
            if let Some(element) = presented.element(settings.details) {
                map.insert(FORWARDED_CLIENT_CERT, element);
            }
        }
        (Mode::Sanitize | Mode::ForwardOnly | Mode::AppendForward | Mode::SanitizeSet, _) => {
            drop(map.remove(FORWARDED_CLIENT_CERT))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use pailou_snapshot::ClientCertDetails;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate() -> PresentedCertificate {
        let mut params = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "app");
        params.subject_alt_names.push(SanType::URI("spiffe://test/app".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PresentedCertificate::new(&[certificate.der().clone()], &[], None)
    }

    fn passed(mode: Mode, details: ClientCertDetails, presented: Option<&PresentedCertificate>) -> Vec<String> {
        let mut map = HeaderMap::from_iter([(FORWARDED_CLIENT_CERT, HeaderValue::from_static("URI=spiffe://forged"))]);
        apply(&mut map, ForwardedClientCert { mode, details }, presented);
        map.get_all(FORWARDED_CLIENT_CERT).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn without_a_certificate_a_clients_word_passes_only_where_it_always_does() {
        for mode in [Mode::Sanitize, Mode::ForwardOnly, Mode::AppendForward, Mode::SanitizeSet] {
            assert_eq!(passed(mode, ClientCertDetails::default(), None), [""; 0], "{mode:?}");
        }
        assert_eq!(passed(Mode::AlwaysForwardOnly, ClientCertDetails::default(), None), ["URI=spiffe://forged"]);
    }

    #[test]
    fn with_one_it_is_kept_appended_to_or_replaced() {
        let certificate = certificate();
        let none = ClientCertDetails::default();
        assert_eq!(passed(Mode::Sanitize, none, Some(&certificate)), [""; 0]);
        assert_eq!(passed(Mode::ForwardOnly, none, Some(&certificate)), ["URI=spiffe://forged"]);
        let appended = passed(Mode::AppendForward, none, Some(&certificate));
        assert!(appended[0].starts_with("URI=spiffe://forged,Hash=") && appended.len() == 1, "{appended:?}");
        let all = ClientCertDetails { cert: true, chain: true, subject: true, uri: true, dns: true };
        let set = passed(Mode::SanitizeSet, all, Some(&certificate)).pop().unwrap();
        let fields: Vec<_> = set.split(';').collect();
        let names: Vec<_> = fields.iter().map(|field| field.split_once('=').unwrap().0).collect();
        assert_eq!(names, ["Hash", "Cert", "Chain", "Subject", "URI", "DNS"]);
        assert_eq!(fields[0].len(), "Hash=".len() + 64);
        assert!(fields[1].starts_with("Cert=\"-----BEGIN%20CERTIFICATE-----%0AMII") && fields[1].ends_with("-----%0A\""), "{set}");
        assert_eq!(fields[3..], ["Subject=\"CN=app\"", "URI=spiffe://test/app", "DNS=app.test"]);
    }
}
