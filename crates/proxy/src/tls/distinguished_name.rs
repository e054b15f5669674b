//! Names in certificates as text (RFC 2253, as OpenSSL and Envoy write them).

use std::fmt::Write as _;

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, decoded, dotted, element, value};

/// Attributes that have a short name (RFC 2253, 2.3, and OpenSSL's), by object identifier.
const SHORT_NAMES: [(&[u8], &str); 11] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 4], "SN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 9], "street"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], "emailAddress"),
    (&[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], "DC"),
];

const SET: u8 = 0x31;

/// The text of a name, whose DER is given without the outer tag and length: the last part first. Quotes are escaped, so that it may stand
/// between quotes. `None` where it is not a name.
pub(super) fn text(mut name: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        let (set, rest) = value(name, SET)?;
        parts.push(relative(set)?);
        name = rest;
    }
    parts.reverse();
    Some(parts.join(","))
}

/// Attributes of one part, joined by `+`.
fn relative(mut set: &[u8]) -> Option<String> {
    let mut attributes = Vec::new();
    while !set.is_empty() {
        let (attribute, rest) = value(set, SEQUENCE)?;
        let (identifier, content) = value(attribute, OBJECT_IDENTIFIER)?;
        let (tag, content, _) = element(content)?;
        let name = SHORT_NAMES.iter().find(|(known, _)| *known == identifier).map(|(_, name)| (*name).to_owned());
        attributes.push(format!("{}={}", name.or_else(|| dotted(identifier))?, escaped(&decoded(tag, content)?)));
        set = rest;
    }
    Some(attributes.join("+"))
}

/// A value within a name (RFC 2253, 2.4). Bytes that are not plain ASCII are written in hexadecimal, since they are to stand in a header.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' | b' ' if at == 0 => out.extend(['\\', char::from(byte)]),
            b' ' if at == last => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            byte => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};
    use webpki::EndEntityCert;

    use super::*;

    fn subject(parts: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        parts.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        text(EndEntityCert::try_from(certificate.der()).unwrap().subject()).unwrap()
    }

    #[test]
    fn the_last_part_comes_first_and_separators_are_escaped() {
        assert_eq!(
            subject(&[(DnType::CountryName, "CN"), (DnType::OrganizationName, "Shop"), (DnType::CommonName, "app")]),
            "CN=app,O=Shop,C=CN"
        );
        assert_eq!(subject(&[(DnType::CommonName, " a,b=\"c\" \\;Hash=0é")]), "CN=\\ a\\,b=\\\"c\\\" \\\\\\;Hash=0\\C3\\A9");
        assert_eq!(subject(&[(DnType::CustomDnType(vec![1, 2, 840, 99999]), "x")]), "1.2.840.99999=x");
        assert_eq!(subject(&[]), "");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(text) = text(&bytes) {
                prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }

        #[test]
        fn no_value_ends_the_quotes_around_it(value in "\\PC{0,40}") {
            let out = escaped(&value);
            let mut is_escape = false;
            for byte in out.bytes() {
                prop_assert!(byte != b'"' || is_escape);
                is_escape = byte == b'\\' && !is_escape;
            }
            prop_assert!(!is_escape);
        }
    }
}
