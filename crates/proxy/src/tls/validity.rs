//! Validity of certificates (RFC 5280, 4.1.2.5). The library that verifies certificates does not tell it.

use jiff::{civil::DateTime, tz::TimeZone};
use rustls_pki_types::CertificateDer;

use super::der::{SEQUENCE, element, value};

/// Tag of a certificate's version, which may be left out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// End of a chain's validity, in seconds since 1970: that of the certificate which ends first. `None` where one cannot be read.
pub(crate) fn end_of_chain(chain: &[CertificateDer<'_>]) -> Option<i64> {
    chain
        .iter()
        .map(|certificate| not_after(certificate))
        .try_fold(i64::MAX, |end, one| Some(end.min(one?)))
        .filter(|_| !chain.is_empty())
}

fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = value(certificate, SEQUENCE)?;
    let (fields, _) = value(certificate, SEQUENCE)?;
    let (tag, _, rest) = element(fields)?;
    // Serial number, algorithm, issuer.
    let (_, _, rest) = if tag == VERSION { element(rest)? } else { (tag, fields, rest) };
    let (_, _, rest) = element(rest)?;
    let (_, _, rest) = element(rest)?;
    let (validity, _) = value(rest, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    seconds(tag, std::str::from_utf8(time).ok()?.strip_suffix('Z')?)
}

fn seconds(tag: u8, digits: &str) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(if tag == GENERALIZED_TIME { 4 } else { 2 })?;
    let year: i16 = year.parse().ok()?;
    let year = match tag {
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        GENERALIZED_TIME => year,
        _ => return None,
    };
    let numbers: Vec<i8> = rest.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok()?.parse().ok()).collect();
    let [month, day, hour, minute, second] = numbers[..] else { return None };
    let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_certificate_that_ends_first_is_the_end_of_a_chain() {
        // Before 2050 as UTCTime, from then on as GeneralizedTime.
        let [early, late] = [until(2030), until(2051)];
        assert_eq!(end_of_chain(std::slice::from_ref(&early)), Some(1_898_553_600));
        assert_eq!(end_of_chain(std::slice::from_ref(&late)), Some(2_561_241_600));
        assert_eq!(end_of_chain(&[late.clone(), early]), Some(1_898_553_600));
        assert_eq!(end_of_chain(&[]), None);
        assert_eq!(end_of_chain(&[late, CertificateDer::from(vec![0x30, 0x03, 1, 2])]), None);
    }
}
