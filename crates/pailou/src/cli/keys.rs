//! Flags of `pailou keys`.

use std::str::FromStr;

use clap::Subcommand;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use pailou_api::names;

use super::{ConfigArgs, value::ValueError};

/// Flags of `pailou keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) action: KeysAction,
}

/// Actions on API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Make a key. Print it once, on standard error, and on standard output the Secret's entry that knows it by its hash.
    New(KeyEntryArgs),
    /// Read a key from standard input. Print the Secret's entry that knows it by its hash.
    Hash(KeyEntryArgs),
    /// List the clients that have keys in files: ids, expiry, metadata; never a key.
    List(ListKeysArgs),
}

/// Flags of `pailou keys new` and `hash`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyEntryArgs {
    /// Client's id: the key of the Secret's data, and what `forwardClientIDHeader` tells backends.
    #[arg(value_name = "CLIENT", value_parser = client_id)]
    pub(crate) client: String,
    /// Time from which the key is not valid: a time of RFC 3339, a date, or a period such as 90d or 12h.
    #[arg(long, value_name = "WHEN")]
    pub(crate) expires: Option<Expiry>,
    /// Fact about the client, for limits and rules; the value is JSON, or else a text; repeatable.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) metadata: Vec<MetadataEntry>,
    /// Print a whole Secret of this name.
    #[arg(long, value_name = "NAME", value_parser = secret_name)]
    pub(crate) secret: Option<String>,
    /// Namespace of that Secret.
    #[arg(short = 'n', long, value_name = "NAME", requires = "secret", value_parser = namespace)]
    pub(crate) namespace: Option<String>,
}

/// Flags of `pailou keys list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListKeysArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: ListFormat,
}

/// Output format of lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ListFormat {
    /// A line for each entry.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Time from which a key is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expiry(pub(crate) Timestamp);

impl FromStr for Expiry {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let shape = || ValueError::Shape("a time (2027-01-31T00:00:00Z), a date (2027-01-31), or a period (90d, 12h, 30m)");
        let date = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let period = || Timestamp::now().checked_add(period(text)?).ok();
        let time = text.parse().ok().or_else(date).or_else(period).ok_or_else(shape)?;
        // Whole seconds read better, and nobody measures a key's life in less.
        Timestamp::from_second(time.as_second()).map(Self).map_err(|_| shape())
    }
}

fn period(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "d" => 24 * 60 * 60,
        "h" => 60 * 60,
        "m" => 60,
        _ => return None,
    };
    Some(SignedDuration::from_secs(i64::from(number.parse::<u32>().ok()?) * seconds))
}

/// A fact about a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MetadataEntry {
    /// Its name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: serde_json::Value,
}

impl FromStr for MetadataEntry {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(ValueError::Shape("NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok(Self { name: name.to_owned(), value })
    }
}

/// The key of an entry in a Secret's data.
fn client_id(text: &str) -> Result<String, ValueError> {
    let is_valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    match is_valid && (1..=253).contains(&text.len()) && !matches!(text, "." | "..") {
        true => Ok(text.to_owned()),
        false => Err(ValueError::Shape("a key of a Secret's data: letters, digits, '-', '_' and '.'")),
    }
}

/// The name of a Secret.
fn secret_name(text: &str) -> Result<String, ValueError> {
    match names::is_dns_subdomain(text) {
        true => Ok(text.to_owned()),
        false => Err(ValueError::Shape("a name of a Secret: lower-case letters, digits, '-' and '.', at most 253 characters")),
    }
}

/// The name of a namespace.
fn namespace(text: &str) -> Result<String, ValueError> {
    match names::is_dns_label(text) {
        true => Ok(text.to_owned()),
        false => Err(ValueError::Shape("a name of a namespace: lower-case letters, digits and '-', at most 63 characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_a_date_or_a_period() {
        for text in ["2027-01-31T00:00:00Z", "2027-01-31T01:00:00+01:00", "2027-01-31"] {
            assert_eq!(text.parse::<Expiry>().map(|expiry| expiry.0.to_string()).as_deref(), Ok("2027-01-31T00:00:00Z"), "{text}");
        }
        let in_days = "90d".parse::<Expiry>().unwrap().0.duration_since(Timestamp::now()).as_hours();
        assert!((90 * 24 - 1..=90 * 24).contains(&in_days), "{in_days}");
        for text in ["", "d", "90", "90y", "-1d", "tomorrow", "2027-13-01"] {
            assert!(text.parse::<Expiry>().is_err(), "{text}");
        }
    }

    #[test]
    fn metadata_is_json_or_text() {
        let value = |text: &str| text.parse::<MetadataEntry>().unwrap().value;
        assert_eq!(value("team=red"), serde_json::json!("red"));
        assert_eq!(
            value("limit={\"requests_per_unit\":5,\"unit\":\"DAY\"}"),
            serde_json::json!({"requests_per_unit": 5, "unit": "DAY"})
        );
        assert!("=x".parse::<MetadataEntry>().is_err() && "team".parse::<MetadataEntry>().is_err());
    }
}
