//! Flags of `pailou check`.

use std::str::FromStr;

use clap::ValueEnum;
use pailou_api::Kind;

use super::{ConfigArgs, value::ValueError};

/// Flags of `pailou check`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 all is accepted (notes and warnings do not count); 1 an object is not accepted, a document or field \
                        is wrong, or with --strict a kind is not the gateway's; 2 an error: flags, or a file that cannot be read."
)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Output format: conditions, or annotations of the files.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: OutputFormat,
    /// Judge as `serve` does, or as the controller of a cluster.
    #[arg(long = "as", value_name = "MODE", value_enum, default_value_t)]
    pub(crate) judged_as: JudgedAs,
    /// Take objects that the files refer to and do not hold as there, as another file or the cluster has them: all, or of these kinds.
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "all", value_delimiter = ',')]
    pub(crate) assume_present: Vec<AssumedKind>,
    /// Refuse objects of kinds that are not the gateway's; they are skipped with a note by default.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Only warn of fields that a kind does not have; they are errors by default.
    #[arg(long)]
    pub(crate) allow_unknown_fields: bool,
}

/// Kinds whose objects count as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssumedKind {
    /// Every kind.
    All,
    /// One.
    One(Kind),
}

impl AssumedKind {
    /// Whether it is a kind of this name.
    pub(crate) fn is(self, kind: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(known) => known.name() == kind,
        }
    }
}

impl FromStr for AssumedKind {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let kind = Kind::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        kind.map(|kind| Self::One(*kind)).ok_or(ValueError::Shape("all, or kinds such as Secret,Service"))
    }
}

/// The side whose judgement `pailou check` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum JudgedAs {
    /// One process serves all Gateways; a class needs no object.
    #[default]
    Standalone,
    /// Each Gateway has ports and proxies of its own; classes and parameters are objects.
    Cluster,
}

/// Output format of `pailou check`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// A line for each condition.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// The same as YAML.
    Yaml,
    /// Workflow commands of GitHub Actions, which annotate the files.
    Github,
    /// SARIF 2.1.0, which code scanning reads.
    Sarif,
}
