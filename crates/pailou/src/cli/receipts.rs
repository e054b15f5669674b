//! Flags of routing receipts.

use std::{path::PathBuf, str::FromStr, time::Duration};

use pailou_proxy::receipts::ReceiptSettings;

use super::value::ValueError;

/// Routing receipts, which `serve` and `proxy` share.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReceiptArgs {
    /// Routing receipts kept in memory, at most 4096 and 2 MiB; 0: none.
    #[arg(long, value_name = "N", default_value_t = 4096, env = "PAILOU_RECEIPTS", value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub(crate) receipts: u16,
    /// Share of requests whose receipts are kept, 0 to 1; those of failed, retried and slow ones always are.
    #[arg(long, value_name = "SHARE", default_value = "0.01", env = "PAILOU_RECEIPTS_SAMPLE")]
    pub(crate) receipts_sample: SampleShare,
    /// Time to the first content from which on a request is slow, as 500ms, 10s or 2m; 0: none is.
    #[arg(long, value_name = "TIME", default_value = "10s", env = "PAILOU_RECEIPTS_SLOW")]
    pub(crate) receipts_slow: Period,
    /// Send clients the headers x-pailou-receipt (their receipt's id, if it is kept for sure) and Server-Timing.
    #[arg(long, env = "PAILOU_RECEIPTS_HEADERS")]
    pub(crate) receipts_headers: bool,
    /// File with the token for receipts of the admin endpoint from other machines; without it, only this machine reads them.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

impl ReceiptArgs {
    /// Settings of the data plane.
    pub(crate) fn settings(&self) -> ReceiptSettings {
        ReceiptSettings {
            count: self.receipts.into(),
            share: self.receipts_sample.0,
            slow: Some(self.receipts_slow.0).filter(|slow| !slow.is_zero()),
            headers: self.receipts_headers,
        }
    }
}

/// A share, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SampleShare(pub(crate) f64);

impl FromStr for SampleShare {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or(ValueError::Shape("a share from 0 to 1, such as 0.01"))
    }
}

/// A time with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period(pub(crate) Duration);

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const SHAPE: ValueError = ValueError::Shape("a time with a unit, such as 500ms, 10s or 2m");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "" if text == "0" => 1,
            _ => return Err(SHAPE),
        };
        let number: u32 = number.parse().map_err(|_| SHAPE)?;
        Ok(Self(Duration::from_millis(u64::from(number) * millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        let cases = [("0", 0), ("500ms", 500), ("10s", 10_000), ("2m", 120_000)];
        for (text, millis) in cases {
            assert_eq!(text.parse(), Ok(Period(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "10", "s", "1h", "-1s", "99999999999s"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_is_at_most_all() {
        assert_eq!("1".parse(), Ok(SampleShare(1.0)));
        for text in ["1.1", "-0.1", "NaN", "all"] {
            assert!(text.parse::<SampleShare>().is_err(), "{text}");
        }
    }
}
