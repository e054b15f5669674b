//! Normalizers: changes of a text before it is split.

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

use super::{document::Step, pattern::is_foreign};
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
            let is_foreign = named("String").is_none() && is_foreign(&expression);
            // An empty match would be replaced, too.
            let regex = Regex::new(&expression).ok().filter(|regex| !is_foreign && !regex.is_match(""));
            let regex = regex.ok_or_else(|| super::unsupported(format!("{field}.pattern"), &expression))?;
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
        // Each character by itself: the last sigma of a word is as others.
        Normalizer::Lowercase => text.chars().flat_map(char::to_lowercase).collect::<String>().into(),
        Normalizer::Prepend(before) if !text.is_empty() => format!("{before}{text}").into(),
        Normalizer::Prepend(_) => text,
        Normalizer::Replace(regex, content) => match regex.replace_all(&text, regex::NoExpand(content)) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => changed.into(),
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn normalized(step: Value, text: &str) -> Result<String, FileError> {
        let step = step.as_object().expect("an object");
        Ok(normalize(&normalizers(Some(step))?, text).into_owned())
    }

    fn replace(expression: &str) -> Value {
        json!({"type": "Replace", "pattern": {"Regex": expression}, "content": "$1#"})
    }

    /// As `tokenizers` does.
    #[test]
    fn texts_are_changed_as_the_file_says() {
        assert_eq!(normalized(json!({"type": "Lowercase"}), "ΟΔΟΣ İ"), Ok("οδοσ i\u{307}".to_owned()));
        assert_eq!(normalized(replace(r"\p{N}{1,3}+"), "a12345b"), Ok("a$1#b".to_owned()));
        let literal = json!({"type": "Replace", "pattern": {"String": "a+"}, "content": "b"});
        assert_eq!(normalized(literal, "aa+"), Ok("ab".to_owned()));
    }

    #[test]
    fn an_expression_that_would_mean_something_else_is_refused() {
        for expression in ["^ ", "a++", "x*", r"\s+(?!\S)", "[[:alpha:]]"] {
            let refused = normalized(replace(expression), "a").expect_err("it is refused").to_string();
            assert!(refused.contains("normalizer.pattern: "), "{refused}");
        }
    }
}
