//! GEP-2257 durations, as Gateway API and Envoy Gateway write them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A duration written as up to four groups of digits and unit, such as `1h30m` or `500ms`.
///
/// The syntax is GEP-2257's `^([0-9]{1,5}(h|m|s|ms)){1,4}$`: no sign, no fraction, no other unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Duration(std::time::Duration);

/// A text that is no GEP-2257 duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a duration: write one to four numbers of at most five digits, each with a unit h, m, s or ms, such as \"30s\" or \"1h30m\""
)]
pub struct InvalidDuration(String);

impl Duration {
    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Duration {
        Duration(std::time::Duration::from_millis(millis))
    }

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Duration {
        Duration(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library's type.
    pub const fn as_std(self) -> std::time::Duration {
        self.0
    }

    /// `None` for zero, which switches a timeout off.
    pub fn enabled(self) -> Option<std::time::Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Duration, InvalidDuration> {
        let invalid = || InvalidDuration(text.chars().take(40).collect());
        let (mut rest, mut millis, mut groups) = (text, 0, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=5).contains(&digits) || groups == 4 {
                return Err(invalid());
            }
            let (number, tail) = rest.split_at(digits);
            let (factor, unit) = unit_of(tail).ok_or_else(invalid)?;
            millis += number.parse::<u64>().map_err(|_| invalid())? * factor;
            groups += 1;
            rest = &tail[unit..];
        }
        if groups == 0 { Err(invalid()) } else { Ok(Duration::from_millis(millis)) }
    }
}

/// Milliseconds in the unit that `text` begins with, and how many bytes name it.
fn unit_of(text: &str) -> Option<(u64, usize)> {
    match text.as_bytes() {
        [b'm', b's', ..] => Some((1, 2)),
        [b'h', ..] => Some((3_600_000, 1)),
        [b'm', ..] => Some((60_000, 1)),
        [b's', ..] => Some((1_000, 1)),
        _ => None,
    }
}

impl TryFrom<String> for Duration {
    type Error = InvalidDuration;
    fn try_from(text: String) -> Result<Duration, InvalidDuration> {
        text.parse()
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let parts = [(millis / 3_600_000, "h"), (millis / 60_000 % 60, "m"), (millis / 1_000 % 60, "s"), (millis % 1_000, "ms")];
        if millis == 0 {
            return f.write_str("0s");
        }
        parts.iter().filter(|(number, _)| *number > 0).try_for_each(|(number, unit)| write!(f, "{number}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::Regex;

    #[test]
    fn units_add_up() {
        assert_eq!("24h".parse(), Ok(Duration::from_secs(86_400)));
        assert_eq!("1h30m5s7ms".parse(), Ok(Duration::from_millis(5_405_007)));
        assert_eq!("1s1s".parse(), Ok(Duration::from_secs(2)));
        assert_eq!("0s".parse::<Duration>().map(Duration::enabled), Ok(None));
    }

    #[test]
    fn other_notations_are_refused() {
        for bad in ["", "5", "s", "1.5s", "-1s", "+1s", "1d", "1us", "100000s", "1s1s1s1s1s", " 1s", "1 s", "١s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }

    /// The specification's regular expression and a sum over its groups.
    fn oracle(text: &str) -> Option<u64> {
        let whole = Regex::new(r"^([0-9]{1,5}(h|m|s|ms)){1,4}$").unwrap();
        let group = Regex::new(r"([0-9]{1,5})(ms|h|m|s)").unwrap();
        let unit = |name: &str| match name {
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            _ => 1,
        };
        whole
            .is_match(text)
            .then(|| group.captures_iter(text).map(|found| found[1].parse::<u64>().unwrap() * unit(&found[2])).sum())
    }

    proptest! {
        #[test]
        fn agrees_with_the_specification(text in "([0-9]{0,6}(h|m|s|ms|d|)){0,5}") {
            prop_assert_eq!(text.parse().ok(), oracle(&text).map(Duration::from_millis));
        }

        #[test]
        fn what_is_displayed_reads_back(millis in 0..90_000_000_u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }
    }
}
