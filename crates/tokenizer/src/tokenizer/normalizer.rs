//! Normalizers: changes of a text before it is split.

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::document::Step;
use crate::FileError;

/// A normalizer.
#[derive(Debug)]
pub(super) enum Normalizer {
    Nfc,
    Nfd,
    Nfkc,
    Nfkd,
    Lowercase,
    Prepend(String),
    Replace(Regex, String),
}

/// The normalizers of a file, in their order.
pub(super) fn normalizers(step: Option<&Step>) -> Result<Vec<Normalizer>, FileError> {
    let mut all = Vec::new();
    if let Some(step) = step {
        collect(step, "normalizer", &mut all)?;
    }
    Ok(all)
}

fn collect(step: &Step, field: &str, all: &mut Vec<Normalizer>) -> Result<(), FileError> {
    let text = |name: &str| step.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = text("type").unwrap_or_default();
    let refused = |what: &str| super::unsupported(format!("{field}.type"), what);
    all.push(match kind.as_str() {
        "Sequence" => {
            for (place, step) in step.get("normalizers").and_then(Value::as_array).into_iter().flatten().enumerate() {
                let field = format!("{field}.normalizers[{place}]");
                collect(step.as_object().ok_or_else(|| super::unsupported(field.clone(), "no object"))?, &field, all)?;
            }
            return Ok(());
        }
        "NFC" => Normalizer::Nfc,
        "NFD" => Normalizer::Nfd,
        "NFKC" => Normalizer::Nfkc,
        "NFKD" => Normalizer::Nfkd,
        "Lowercase" => Normalizer::Lowercase,
        "Prepend" => Normalizer::Prepend(text("prepend").unwrap_or_default()),
        "Replace" => {
            let pattern = step.get("pattern");
            let named = |name| pattern.and_then(|it| it.get(name)).and_then(Value::as_str);
            let expression = named("String").map(regex::escape).or(named("Regex").map(str::to_owned));
            let expression = expression.ok_or_else(|| refused("Replace without a pattern"))?;
            let regex = Regex::new(&expression).map_err(|_| super::unsupported(format!("{field}.pattern"), &expression))?;
            Normalizer::Replace(regex, text("content").unwrap_or_default())
        }
        other => return Err(refused(other)),
    });
    Ok(())
}

/// The text after all of them.
pub(super) fn normalize<'t>(all: &[Normalizer], text: &'t str) -> Cow<'t, str> {
    all.iter().fold(Cow::Borrowed(text), |text, normalizer| match normalizer {
        Normalizer::Nfc if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes => text,
        Normalizer::Nfc => text.nfc().collect::<String>().into(),
        Normalizer::Nfd => text.nfd().collect::<String>().into(),
        Normalizer::Nfkc => text.nfkc().collect::<String>().into(),
        Normalizer::Nfkd => text.nfkd().collect::<String>().into(),
        Normalizer::Lowercase => text.to_lowercase().into(),
        Normalizer::Prepend(before) if !text.is_empty() => format!("{before}{text}").into(),
        Normalizer::Prepend(_) => text,
        Normalizer::Replace(regex, content) => match regex.replace_all(&text, regex::NoExpand(content)) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => changed.into(),
        },
    })
}
