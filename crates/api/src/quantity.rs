//! Kubernetes quantities, read as whole bytes.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A Kubernetes quantity that counts bytes, such as `20Mi` or `1048576`.
///
/// Decimal suffixes (`m k M G T P E`), binary suffixes (`Ki Mi Gi Ti Pi Ei`) and exponents (`1e3`) are read;
/// a fraction of a byte is rounded up, as Kubernetes does. Values from 0 to 2^63-1 are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(u64);

/// A text that is no quantity of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuantity {
    /// The text does not have the syntax.
    #[error(
        "{0:?} is not a quantity: write a number with an optional suffix (k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei), such as \"20Mi\""
    )]
    Syntax(String),
    /// The value is below zero.
    #[error("{0:?} is negative: a size must be 0 or more")]
    Negative(String),
    /// The value does not fit.
    #[error("{0:?} is too large: the largest quantity is 9223372036854775807 bytes")]
    TooLarge(String),
}

impl Quantity {
    /// A quantity of whole bytes.
    pub const fn from_bytes(bytes: u64) -> Quantity {
        Quantity(bytes)
    }

    /// Whole bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// `10^decimal * 2^binary`, the meaning of a suffix.
#[derive(Clone, Copy)]
struct Scale {
    decimal: i32,
    binary: u32,
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Quantity, InvalidQuantity> {
        let shown = || text.chars().take(40).collect::<String>();
        let syntax = || InvalidQuantity::Syntax(shown());
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let number = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = unsigned.split_at(number);
        let scale = scale_of(suffix).ok_or_else(syntax)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(syntax());
        }
        let bytes = rounded_up(whole, fraction, scale).ok_or_else(|| InvalidQuantity::TooLarge(shown()))?;
        if negative && bytes > 0 {
            return Err(InvalidQuantity::Negative(shown()));
        }
        Ok(Quantity(bytes))
    }
}

fn scale_of(suffix: &str) -> Option<Scale> {
    let (decimal, binary) = match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            // An exponent this large is out of range whatever the digits before it, unless they are all zero.
            (digits.parse::<i32>().ok()?.clamp(-1_000, 1_000), 0)
        }
    };
    Some(Scale { decimal, binary })
}

/// `whole.fraction` times the scale, rounded up; `None` when it does not fit.
fn rounded_up(whole: &str, fraction: &str, scale: Scale) -> Option<u64> {
    const MAX: u128 = i64::MAX as u128;
    // Digits past the 18th of the fraction are below the precision that matters: they only round up.
    let kept = &fraction[..fraction.len().min(18)];
    let sticky = fraction[kept.len()..].bytes().any(|digit| digit != b'0');
    let mut digits: u128 = 0;
    for digit in whole.bytes().skip_while(|byte| *byte == b'0').chain(kept.bytes()) {
        digits = digits.checked_mul(10)?.checked_add(u128::from(digit - b'0'))?;
    }
    if digits == 0 {
        return Some(u64::from(sticky));
    }
    let scaled = digits.checked_mul(1_u128 << scale.binary)?;
    let exponent = scale.decimal - i32::try_from(kept.len()).ok()?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    let value = if exponent >= 0 {
        scaled.checked_mul(power?)?
    } else {
        // A divisor past u128 leaves less than one: rounded up, 1.
        power.map_or(1, |divisor| scaled.div_ceil(divisor))
    };
    (value <= MAX).then(|| u64::try_from(value).ok()).flatten()
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        deserializer.deserialize_any(QuantityVisitor)
    }
}

/// Takes a string or a whole number: the schema is int-or-string.
struct QuantityVisitor;

impl Visitor<'_> for QuantityVisitor {
    type Value = Quantity;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quantity such as \"20Mi\" or a whole number of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quantity, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Quantity, E> {
        bytes.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Quantity, E> {
        bytes.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(text: &str) -> Result<u64, InvalidQuantity> {
        text.parse().map(Quantity::bytes)
    }

    #[test]
    fn suffixes_scale() {
        for (text, expected) in [
            ("20Mi", 20 << 20),
            ("1500m", 2),
            ("1e3", 1_000),
            ("1E3", 1_000),
            ("1E", 1_000_000_000_000_000_000),
            ("0.5Gi", 1 << 29),
            ("1.5k", 1_500),
            (".5Ki", 512),
            ("5.", 5),
            ("+7", 7),
            ("-0", 0),
            ("1n", 1),
            ("25e-1", 3),
            ("9223372036854775807", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for bad in ["", "Mi", "1.2.3", "1 Mi", "1mi", "1KiB", "1e", "1e1.5", "0x10", "٣", "."] {
            assert!(matches!(bytes(bad), Err(InvalidQuantity::Syntax(_))), "{bad:?}");
        }
        assert!(matches!(bytes("-1"), Err(InvalidQuantity::Negative(_))));
        for huge in ["9223372036854775808", "8Ei", "1e19", "1e999999", "99999999999999999999999999999999999999999"] {
            assert!(matches!(bytes(huge), Err(InvalidQuantity::TooLarge(_))), "{huge}");
        }
    }

    #[test]
    fn numbers_and_strings_decode() {
        let decode = |json: &str| serde_json::from_str::<Quantity>(json).map(Quantity::bytes);
        assert_eq!(decode("32768").unwrap(), 32_768);
        assert_eq!(decode("\"32Ki\"").unwrap(), 32_768);
        assert!(decode("-1").is_err() && decode("1.5").is_err() && decode("true").is_err());
    }

    /// The digits as one number over a power of ten, rounded up step by step.
    fn oracle(whole: u64, fraction: &str, factor: u64) -> u128 {
        let mut numerator = u128::from(whole);
        let mut denominator = 1_u128;
        for digit in fraction.chars() {
            numerator = numerator * 10 + u128::from(digit.to_digit(10).unwrap());
            denominator *= 10;
        }
        let product = numerator * u128::from(factor);
        product / denominator + u128::from(!product.is_multiple_of(denominator))
    }

    proptest! {
        #[test]
        fn agrees_with_long_arithmetic(
            whole in 0..1_000_000_u64,
            fraction in "[0-9]{0,6}",
            suffix in prop::sample::select(vec![
                ("", 1), ("k", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("e2", 100),
            ]),
        ) {
            let text = format!("{whole}.{fraction}{}", suffix.0);
            prop_assert_eq!(bytes(&text).map(u128::from), Ok(oracle(whole, &fraction, suffix.1)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _: Result<Quantity, InvalidQuantity> = text.parse();
        }
    }
}
