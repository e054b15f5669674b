//! ClientTrafficPolicy `tls.clientValidation`: which certificates of clients are trusted.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pailou_api::{
    Kind,
    envoy::{
        client_traffic_policy::{ClientValidation, RevocationLists, SubjectAltNames},
        string_match::{StringMatch, StringMatchType},
    },
    references::Reference,
};
use pailou_snapshot::{AltNameKind, AltNameMatch, ClientTrust};

use super::{
    authorities::of_key,
    client_certificates::trusted,
    grants::Referrer,
    index::Index,
    pem,
    string_match::value_match,
    wrong_kind::{self, Named},
};

/// Reads the settings.
///
/// # Errors
/// The field below `clientValidation`, and why it cannot be enforced.
pub(crate) fn read(index: &Index<'_>, from: Referrer<'_>, spec: &ClientValidation) -> Result<ClientTrust, String> {
    let refs = spec.ca_certificate_refs.iter();
    let refs = refs.map(|it| (Reference::client_authorities(from, it), Named { group: &it.group, kind: &it.kind, name: &it.name }));
    let (authorities, problems) = trusted(index, refs);
    if let Some(problem) = problems.into_iter().next() {
        return Err(format!(".caCertificateRefs: {}", problem.message));
    }
    let mut trust = ClientTrust::of_authorities(authorities.into());
    trust.certificate_digests = digests("certificateHashes", &spec.certificate_hashes, of_hexadecimal)?;
    trust.key_digests = digests("spkiHashes", &spec.spki_hashes, of_base64)?;
    if let Some(names) = &spec.subject_alt_names {
        trust.names = alt_names(names).map_err(|message| format!(".subjectAltNames.{message}"))?;
    }
    if trust.authorities.is_empty() && !trust.has_digests() {
        return Err(".caCertificateRefs: name the authorities whose certificates clients may present".to_owned());
    }
    if let Some(lists) = &spec.crl {
        if trust.authorities.is_empty() {
            return Err(".crl: needs caCertificateRefs, whose certificates the lists are about".to_owned());
        }
        trust.revocations = revocations(index, from, lists)?.into();
        trust.revocation_of_leaf_only = lists.only_verify_leaf_certificate;
    }
    Ok(trust)
}

fn digests(field: &str, listed: &[String], read: impl Fn(&str) -> Option<[u8; 32]>) -> Result<Vec<[u8; 32]>, String> {
    let digest = |text: &String| {
        // The value itself would help nobody, but is no secret.
        read(text).ok_or_else(|| {
            format!(".{field}: `{text}` is no SHA-256 digest in {}", if field == "spkiHashes" { "base64" } else { "hexadecimal" })
        })
    };
    listed.iter().map(digest).collect()
}

/// 64 digits, with or without colons between bytes.
fn of_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| *byte != b':')
        .map(|byte| (byte as char).to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}

fn of_base64(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

fn alt_names(spec: &SubjectAltNames) -> Result<Vec<AltNameMatch>, String> {
    let SubjectAltNames { dns_names, email_addresses, ip_addresses, uris, other_names } = spec;
    let mut names = Vec::new();
    let mut add = |field: &str, kind: AltNameKind, comparison: StringMatchType, value: &str| {
        // DNS names are the same in either case.
        let value = if kind == AltNameKind::Dns && comparison != StringMatchType::RegularExpression {
            value.to_ascii_lowercase()
        } else {
            value.to_owned()
        };
        let value = value_match(comparison, &value).map_err(|message| format!("{field}: {message}"))?;
        names.push(AltNameMatch { kind, value });
        Ok::<_, String>(())
    };
    for (field, kind, listed) in [
        ("dnsNames", AltNameKind::Dns, dns_names),
        ("emailAddresses", AltNameKind::Email, email_addresses),
        ("ipAddresses", AltNameKind::Ip, ip_addresses),
        ("uris", AltNameKind::Uri, uris),
    ] {
        for StringMatch { kind: comparison, value } in listed {
            add(field, kind.clone(), *comparison, value)?;
        }
    }
    for other in other_names {
        let is_dotted = other.oid.split('.').count() > 1 && other.oid.split('.').all(|number| number.parse::<u64>().is_ok());
        if !is_dotted {
            return Err(format!("otherNames: `{}` is no object identifier in dotted numbers", other.oid));
        }
        add("otherNames", AltNameKind::Other(other.oid.as_str().into()), other.kind, &other.value)?;
    }
    if names.is_empty() {
        return Err("{dnsNames,emailAddresses,ipAddresses,uris,otherNames}: name one, or leave subjectAltNames out".to_owned());
    }
    Ok(names)
}

fn revocations(
    index: &Index<'_>,
    from: Referrer<'_>,
    spec: &RevocationLists,
) -> Result<Vec<rustls_pki_types::CertificateRevocationListDer<'static>>, String> {
    let mut lists = Vec::new();
    for to in &spec.refs {
        let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
        let Some(reference) = Reference::revocation_list(from, to) else {
            return Err(format!(".crl.refs: {}", wrong_kind::message(named, &[Kind::ConfigMap, Kind::Secret])));
        };
        let more = of_key(index, reference, named, "ca.crl", pem::revocation_lists);
        lists.extend(more.map_err(|problem| format!(".crl.refs: {}", problem.message))?);
    }
    Ok(lists)
}
