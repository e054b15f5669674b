//! Special tokens that a tokenizer's class adds.
//!
//! Some classes of `transformers` 4 add those that `add_bos_token` and `add_eos_token` of `tokenizer_config.json` ask for, whatever
//! `tokenizer.json` says. `transformers` 5 goes by `tokenizer.json`, but for one class. Engines have either.

use minijinja::Value;

use crate::tokenizer::SpecialTokens;

/// A class that `transformers` 4 has add tokens: its name without `Fast`, whether it adds a `bos_token` by default, and its default
/// tokens.
const CLASSES: [(&str, bool, [&str; 2]); 5] = [
    ("LlamaTokenizer", true, ["<s>", "</s>"]),
    ("CodeLlamaTokenizer", true, ["<s>", "</s>"]),
    ("GemmaTokenizer", true, ["<bos>", "<eos>"]),
    ("CohereTokenizer", true, ["<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"]),
    (GPT_NEOX, false, ["<|endoftext|>", "<|endoftext|>"]),
];
/// The class that has none added by `transformers` 5.
const GPT_NEOX: &str = "GPTNeoXTokenizer";

/// The special tokens of a class with the configuration, where those of the file are these; `None`: versions of `transformers` add
/// different ones.
pub(crate) fn special_tokens(
    config: Option<&Value>,
    of_file: &SpecialTokens,
    id: impl Fn(&str) -> Option<u32>,
) -> Option<SpecialTokens> {
    let member = |name: &str| config.and_then(|config| config.get_attr(name).ok()).unwrap_or_default();
    let class = member("tokenizer_class");
    let class = class.as_str().map(|class| class.strip_suffix("Fast").unwrap_or(class));
    let Some((class, adds_begin, names)) = CLASSES.iter().find(|(name, ..)| Some(*name) == class) else {
        return Some(of_file.clone());
    };
    let added = |flag: &str, default: bool, token: &str, name: &str| {
        let flag = member(flag);
        if !(if flag.is_undefined() { default } else { flag.is_true() }) {
            return Some(Vec::new());
        }
        let token = member(token);
        let content = if token.as_str().is_some() { token } else { token.get_attr("content").unwrap_or_default() };
        id(content.as_str().unwrap_or(name)).map(|id| vec![id])
    };
    let before = added("add_bos_token", *adds_begin, "bos_token", names[0])?;
    let after = added("add_eos_token", false, "eos_token", names[1])?;
    let of_class = SpecialTokens { before, after };
    let later = if *class == GPT_NEOX { &SpecialTokens::default() } else { of_file };
    (of_class == *later).then_some(of_class)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(config: serde_json::Value, of_file: [&[u32]; 2]) -> Option<[Vec<u32>; 2]> {
        let config: Value = serde_json::from_value(config).expect("JSON");
        let id = |token: &str| ["<s>", "</s>", "<b>"].iter().position(|known| *known == token).map(|place| place as u32);
        let [before, after] = of_file.map(<[u32]>::to_vec);
        let tokens = special_tokens(Some(&config), &SpecialTokens { before, after }, id)?;
        Some([tokens.before, tokens.after])
    }

    /// As both versions of `transformers` encode a text with such files.
    #[test]
    fn tokens_are_known_where_versions_agree() {
        let class = |class: &str, flags: serde_json::Value| {
            let mut config = flags;
            config["tokenizer_class"] = class.into();
            config
        };
        let both = [vec![0], vec![1]];
        assert_eq!(found(class("PreTrainedTokenizerFast", json!({"add_bos_token": true})), [&[], &[7]]), Some([vec![], vec![7]]));
        assert_eq!(found(json!({}), [&[7], &[]]), Some([vec![7], vec![]]));
        assert_eq!(found(class("LlamaTokenizerFast", json!({})), [&[0], &[]]), Some([vec![0], vec![]]));
        assert_eq!(found(class("LlamaTokenizer", json!({"add_eos_token": true})), [&[0], &[1]]), Some(both));
        assert_eq!(found(class("LlamaTokenizer", json!({"add_bos_token": false})), [&[], &[]]), Some([vec![], vec![]]));
        assert_eq!(found(class("LlamaTokenizer", json!({})), [&[], &[]]), None);
        assert_eq!(found(class("LlamaTokenizer", json!({"add_bos_token": false})), [&[0], &[]]), None);
        let named = json!({"bos_token": {"content": "<b>"}});
        assert_eq!(found(class("GemmaTokenizerFast", named.clone()), [&[2], &[]]), Some([vec![2], vec![]]));
        assert_eq!(found(class("GemmaTokenizerFast", named), [&[0], &[]]), None);
        assert_eq!(found(class("CohereTokenizerFast", json!({})), [&[0], &[]]), None, "a token that is none of the file's");
        assert_eq!(found(class("GPTNeoXTokenizerFast", json!({})), [&[0], &[]]), Some([vec![], vec![]]));
        assert_eq!(found(class("GPTNeoXTokenizerFast", json!({"add_bos_token": true, "bos_token": "<s>"})), [&[0], &[]]), None);
    }
}
