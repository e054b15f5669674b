//! Subject alternative names of a certificate (RFC 5280, 4.2.1.6), of all kinds that can be asked for. The library lists DNS names and URIs
//! only.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::der::{OBJECT_IDENTIFIER, SEQUENCE, decoded, dotted, element, value};

/// Tag of a certificate's extensions, and of the value within an `otherName`.
const EXTENSIONS: u8 = 0xa3;
const OTHER_VALUE: u8 = 0xa0;
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// `id-ce-subjectAltName`.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];

/// A name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AltName {
    /// `dNSName`.
    Dns(String),
    /// `rfc822Name`.
    Email(String),
    /// `iPAddress`, in its canonical form.
    Ip(String),
    /// `uniformResourceIdentifier`.
    Uri(String),
    /// `otherName`: its type, in dotted numbers, and its text.
    Other(String, String),
}

/// The names of a certificate in DER; none where it has none. `None` where it cannot be read. A name of another kind, or that is not well
/// formed, is left out.
pub(super) fn alt_names(certificate: &[u8]) -> Option<Vec<AltName>> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (mut fields, _) = value(certificate, SEQUENCE)?;
    while !fields.is_empty() {
        let (tag, content, rest) = element(fields)?;
        if tag == EXTENSIONS {
            return names(value(content, SEQUENCE)?.0);
        }
        fields = rest;
    }
    Some(Vec::new())
}

/// The names among extensions.
fn names(mut extensions: &[u8]) -> Option<Vec<AltName>> {
    while !extensions.is_empty() {
        let (extension, rest) = value(extensions, SEQUENCE)?;
        let (identifier, mut content) = value(extension, OBJECT_IDENTIFIER)?;
        if identifier == SUBJECT_ALT_NAME {
            if let Some((_, rest)) = value(content, BOOLEAN) {
                content = rest;
            }
            let (mut general, _) = value(value(content, OCTET_STRING)?.0, SEQUENCE)?;
            let mut names = Vec::new();
            while !general.is_empty() {
                let (tag, content, rest) = element(general)?;
                names.extend(name(tag, content));
                general = rest;
            }
            return Some(names);
        }
        extensions = rest;
    }
    Some(Vec::new())
}

fn name(tag: u8, content: &[u8]) -> Option<AltName> {
    // IA5String. A byte of zero hides what follows it from who reads on.
    let text = || String::from_utf8(content.to_vec()).ok().filter(|text| text.is_ascii() && !text.contains('\0'));
    match tag {
        0xa0 => {
            let (identifier, rest) = value(content, OBJECT_IDENTIFIER)?;
            let (tag, content, _) = element(value(rest, OTHER_VALUE)?.0)?;
            Some(AltName::Other(dotted(identifier)?, decoded(tag, content)?))
        }
        0x81 => text().map(AltName::Email),
        0x82 => text().map(AltName::Dns),
        0x86 => text().map(AltName::Uri),
        0x87 => match <[u8; 4]>::try_from(content) {
            Ok(address) => Some(AltName::Ip(Ipv4Addr::from(address).to_string())),
            Err(_) => Some(AltName::Ip(Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).to_string())),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, OtherNameValue, SanType};

    use super::*;

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn all_kinds_are_read() {
        let names = vec![
            SanType::DnsName("*.example.com".try_into().unwrap()),
            SanType::Rfc822Name("dev@example.com".try_into().unwrap()),
            SanType::URI("spiffe://test/app".try_into().unwrap()),
            SanType::IpAddress("10.1.2.3".parse().unwrap()),
            SanType::IpAddress("2001:db8::1".parse().unwrap()),
            SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], OtherNameValue::Utf8String("user@corp".to_owned()))),
        ];
        let expected = [
            AltName::Dns("*.example.com".to_owned()),
            AltName::Email("dev@example.com".to_owned()),
            AltName::Uri("spiffe://test/app".to_owned()),
            AltName::Ip("10.1.2.3".to_owned()),
            AltName::Ip("2001:db8::1".to_owned()),
            AltName::Other("1.3.6.1.4.1.311.20.2.3".to_owned(), "user@corp".to_owned()),
        ];
        assert_eq!(alt_names(&certificate(names)).unwrap(), expected);
        assert_eq!(alt_names(&certificate(Vec::new())).unwrap(), []);
    }

    #[test]
    fn nothing_is_read_beyond_a_certificate_that_is_cut_off() {
        let whole = certificate(vec![SanType::DnsName("a.example".try_into().unwrap())]);
        for end in 0..whole.len() {
            let read = alt_names(&whole[..end]);
            assert!(read.is_none_or(|names| names.is_empty()), "{end}");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0xff;
            let _ = alt_names(&changed);
        }
    }
}
