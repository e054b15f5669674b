//! Tokens and prompts as `tokenizers` and `transformers` make them: `make_data` asks those, and keeps what they say.

use std::{collections::BTreeMap, path::PathBuf, sync::LazyLock};

use pailou_tokenizer::{ModelFiles, ModelTokenizer, PromptError, RenderLength, Template, Tokenizer};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const NAMES: [&str; 7] = ["qwen", "llama3", "gpt-oss", "deepseek", "gpt2", "llama2", "mistral"];

fn data(name: &str) -> Vec<u8> {
    std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect("a file")
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::new(&data(&format!("{name}.json"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn parsed<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    serde_json::from_slice(&data(name)).expect("JSON")
}

#[derive(Deserialize)]
struct Expected {
    tokens: Vec<Vec<u32>>,
    with_special_tokens: Vec<u32>,
}

#[derive(Deserialize)]
struct Chat {
    template: String,
    question: String,
    prompt: String,
    tokens: Vec<u32>,
}

#[test]
fn texts_have_the_tokens_that_others_find_in_them() {
    let texts: Vec<String> = parsed("texts.json");
    let expected: BTreeMap<String, Expected> = parsed("tokens.json");
    assert_eq!(expected.len(), NAMES.len());
    for (name, expected) in expected {
        let tokenizer = tokenizer(&name);
        for (text, expected) in texts.iter().zip(&expected.tokens) {
            assert_eq!(tokenizer.tokens(text, false).as_ref(), Ok(expected), "{name}: {text:?}");
            assert_eq!(tokenizer.tokens(text, false).as_ref(), Ok(expected), "{name} again: {text:?}");
        }
        assert_eq!(tokenizer.tokens(&texts[3], true), Ok(expected.with_special_tokens), "{name}");
    }
}

fn model(template: &str) -> ModelTokenizer {
    let config = json!({"bos_token": "<|endoftext|>", "eos_token": {"content": "<|im_end|>"}, "model_max_length": 9});
    let files = ModelFiles {
        tokenizer: data("qwen.json"),
        config: Some(config.to_string().into_bytes()),
        template: Some(data(&format!("{template}.jinja"))),
    };
    ModelTokenizer::new(&files).expect("files")
}

#[test]
fn chats_have_the_prompts_that_others_make_of_them() {
    let chats: Vec<Chat> = parsed("chats.json");
    for Chat { template, question, prompt, tokens } in chats {
        let model = model(&template);
        let found = model.tokens(question.as_bytes()).unwrap_or_else(|error| panic!("{template}: {error}"));
        let expected = tokenizer("qwen").tokens(&prompt, false);
        assert_eq!(expected.as_ref(), Ok(&tokens), "{template}: {prompt:?}");
        assert_eq!(found, tokens, "{template}: {prompt:?}");
    }
}

#[test]
fn requests_for_what_only_the_engine_does_are_left_to_it() {
    let model = model("chatml");
    let tokens = |question: Value| model.tokens(question.to_string().as_bytes());
    let messages = json!([{"role": "user", "content": "a"}]);
    assert!(tokens(json!({"messages": messages})).is_ok());
    for (member, value) in
        [("chat_template", json!("{{ 1 }}")), ("continue_final_message", json!(true)), ("mm_processor_kwargs", json!({}))]
    {
        let mut question = json!({"messages": messages});
        question[member] = value;
        assert!(matches!(tokens(question), Err(PromptError::Unsupported(_))), "{member}");
    }
    for name in
        ["continue_final_message", "add_generation_prompt", "tools", "messages", "documents", "tokenize", "range", "bos_token"]
    {
        let question = json!({"messages": messages, "chat_template_kwargs": {"enable_thinking": true, name: true}});
        assert!(matches!(tokens(question), Err(PromptError::Unsupported(_))), "{name}");
    }
    assert!(tokens(json!({"messages": messages, "chat_template_kwargs": {"enable_thinking": true}})).is_ok());
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]);
    assert!(matches!(tokens(json!({"messages": image})), Err(PromptError::Unsupported(_))));
    let refused = tokens(json!({"messages": [{"role": "secret words", "content": "a"}]}));
    let Err(PromptError::Template(reason)) = refused else { panic!("{refused:?}") };
    assert!(!reason.contains("secret"), "the error quotes no prompt: {reason}");
    assert!(matches!(tokens(json!({"messages": "x"})), Err(PromptError::Malformed(_))));
    let bare = ModelTokenizer::new(&ModelFiles { tokenizer: data("qwen.json"), ..ModelFiles::default() }).expect("a tokenizer");
    assert_eq!(bare.tokens(json!({"messages": messages}).to_string().as_bytes()), Err(PromptError::NoTemplate));
    assert!(bare.tokens(br#"{"prompt": "a"}"#).is_ok());
}

#[test]
fn a_template_ends_at_its_bounds() {
    let endless = [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(a='xxxxxxxx') %}{% for i in range(1000) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}",
        "{{ 'x' * 10000000000 }}",
        "{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% set ns = namespace(a=[]) %}{% for i in range(99) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a | tojson }}",
        "{{ messages | tojson * 1000000 }}",
    ];
    for source in endless {
        let template = Template::new(source, "chat_template.jinja").unwrap_or_else(|error| panic!("{source}: {error}"));
        let context = minijinja::context! { messages => vec!["x".repeat(1000); 1000] };
        let rendered = template.render(context, RenderLength::Long);
        assert!(matches!(rendered, Err(PromptError::Template(_) | PromptError::TooLong)), "{source}");
    }
    let deep = format!("{}x{}", "{% if 1 %}".repeat(100_000), "{% endif %}".repeat(100_000));
    assert!(Template::new(&deep, "chat_template.jinja").is_err());
    let nested = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(Template::new(&nested, "chat_template.jinja").is_err());
    assert!(Template::new(&"x".repeat(2 << 20), "chat_template.jinja").is_err());
}

#[test]
fn contents_of_one_form_in_any_version_have_tokens_and_others_do_not() {
    let macros = "{% macro text(content) %}{% if content is string %}{{ content }}{% else %}{% for item in content %}{{ item.text }}\
        {% endfor %}{% endif %}{% endmacro %}{% for m in messages %}{{ text(m.content) }}{% endfor %}";
    let files = ModelFiles { tokenizer: data("qwen.json"), template: Some(macros.as_bytes().to_vec()), ..ModelFiles::default() };
    let model = ModelTokenizer::new(&files).expect("files");
    let tokens = |content: Value| model.tokens(json!({"messages": [{"role": "user", "content": content}]}).to_string().as_bytes());
    assert_eq!(tokens(json!("a cat")), tokenizer("qwen").tokens("a cat", false));
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "cat"}]);
    assert!(matches!(tokens(parts), Err(PromptError::Unsupported(_))));
}

#[test]
fn special_tokens_that_versions_add_differently_are_left_to_an_engine() {
    let model = |class: &str| {
        let config = json!({"tokenizer_class": class, "bos_token": "<|im_start|>"}).to_string().into_bytes();
        let files = ModelFiles { tokenizer: data("llama3.json"), config: Some(config), template: None };
        ModelTokenizer::new(&files).expect("files")
    };
    let (with, without) = (br#"{"prompt": "a"}"#, br#"{"prompt": "a", "add_special_tokens": false}"#);
    let llama = model("LlamaTokenizerFast");
    assert!(matches!(llama.tokens(with), Err(PromptError::Unsupported(_))));
    assert_eq!(llama.tokens(without).map(|tokens| tokens.len()), Ok(1));
    assert_eq!(model("PreTrainedTokenizerFast").tokens(with).map(|tokens| tokens.len()), Ok(2));
}

/// One word took 50 times its length.
#[test]
fn a_longer_text_than_a_mebibyte_is_left_to_an_engine() {
    let tokenizer = tokenizer("qwen");
    let text = "x".repeat(1 << 20);
    assert!(tokenizer.tokens(&text, false).is_ok());
    assert_eq!(tokenizer.tokens(&format!("{text}x"), false), Err(PromptError::TooLong));
    let model = model("chatml");
    let tokens = |question: Value| model.tokens(question.to_string().as_bytes());
    assert_eq!(tokens(json!({"prompt": format!("{text}x")})), Err(PromptError::TooLong));
    let chat = |text: &str| json!({"messages": [{"role": "user", "content": text}]});
    assert_eq!(tokens(chat(&text)), Err(PromptError::TooLong), "with its template");
    assert_eq!(tokens(chat(&"x".repeat(3 << 20))), Err(PromptError::TooLong));
    let question = chat(&format!("{}x", "\u{fdfa}".repeat(300_000)));
    assert!(tokens(question).is_ok(), "NFC leaves it");
}

/// A chat of 2 MiB with 700,000 empty tools had taken 500 MB.
#[test]
fn a_question_with_many_objects_or_lists_is_left_to_an_engine() {
    let model = model("chatml");
    let chat = |rest: &str| format!(r#"{{"messages":[{{"role":"user","content":"a"}}{rest}"#);
    let tokens = |question: &str| model.tokens(question.as_bytes());
    let settings = |count: usize| chat(&format!(r#"],"chat_template_kwargs":{{"x":[{}0]}}}}"#, "[],".repeat(count)));
    // 3 of the chat's own, and 2 of the settings.
    assert!(tokens(&settings(32_768 - 5)).is_ok());
    assert_eq!(tokens(&settings(32_768 - 4)), Err(PromptError::TooLong));
    assert_eq!(tokens(&chat(&format!(r#"],"tools":[{}0]}}"#, "{},".repeat(40_000)))), Err(PromptError::TooLong));
    // Texts count as well: those of a call's arguments are read as JSON, with escapes or without.
    let calls = |opening: &str, count: usize| {
        let arguments = format!(r#"\"x\":[{}0]"#, format!("{opening}],").repeat(count));
        let call = format!(r#"{{"function":{{"name":"f","arguments":"{{{arguments}}}"}}}}"#);
        chat(&format!(r#",{{"role":"assistant","tool_calls":[{call},{call}]}}]}}"#))
    };
    for opening in ["[", r"\u005b", r"\u005B"] {
        assert!(tokens(&calls(opening, 16_000)).is_ok(), "{opening}");
        assert_eq!(tokens(&calls(opening, 16_384)), Err(PromptError::TooLong), "{opening}");
    }
}

#[test]
fn members_of_tools_that_versions_keep_or_drop_are_left_to_an_engine() {
    let model = model("chatml");
    let tokens =
        |tool: Value| model.tokens(json!({"messages": [{"role": "user", "content": "a"}], "tools": [tool]}).to_string().as_bytes());
    let function = json!({"name": "f", "description": "d", "parameters": {"type": "object", "x": 1}, "strict": true});
    assert!(tokens(json!({"type": "function", "function": function})).is_ok());
    assert!(tokens(json!({"function": {"name": "f"}})).is_ok());
    for (member, value) in
        [("strict", json!(null)), ("defer_loading", json!(null)), ("defer_loading", json!(true)), ("x", json!(1))]
    {
        let mut with = function.clone();
        with[member] = value;
        assert!(matches!(tokens(json!({"type": "function", "function": with})), Err(PromptError::Unsupported(_))), "{member}");
    }
    let beside = json!({"type": "function", "function": function, "cache_control": {}});
    assert!(matches!(tokens(beside), Err(PromptError::Unsupported(_))));
    for tool in [json!({}), json!(1), json!({"function": null})] {
        assert!(matches!(tokens(tool), Err(PromptError::Malformed(_))));
    }
}

#[test]
fn a_text_that_its_normalizer_makes_longer_is_bounded_too() {
    let mut file: Value = parsed("qwen.json");
    file["normalizer"] = json!({"type": "NFKC"});
    let tokenizer = Tokenizer::new(file.to_string().as_bytes()).expect("a file");
    assert_eq!(tokenizer.tokens(&"\u{fdfa}".repeat(300_000), false), Err(PromptError::TooLong));
    assert!(tokenizer.tokens(&"\u{fdfa}".repeat(30_000), false).is_ok());
}

/// A thread that serves had rendered it for seconds.
#[test]
fn a_short_question_has_few_steps() {
    let source = "{% for i in range(20000) %}{% if i == 1 %}x{% endif %}{% endfor %}";
    let template = Template::new(source, "chat_template.jinja").expect("a template");
    let render = |length| template.render(minijinja::context! {}, length);
    assert!(render(RenderLength::Long).is_ok());
    assert!(matches!(render(RenderLength::Short), Err(PromptError::Template(_))));
}

#[test]
fn what_a_tokenizer_asks_for_beyond_this_is_named() {
    let whole: Value = parsed("qwen.json");
    let with = |path: &str, value: Value| {
        let mut file = whole.clone();
        *file.pointer_mut(path).expect("a member") = value;
        Tokenizer::new(file.to_string().as_bytes()).expect_err("it is refused").to_string()
    };
    let refused = [
        ("/model/type", json!("Unigram"), "model.type: Unigram"),
        (
            "/normalizer",
            json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]}),
            "normalizers[1].type: Precompiled",
        ),
        ("/pre_tokenizer", json!({"type": "BertPreTokenizer"}), "pre_tokenizer.type: BertPreTokenizer"),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "(?<=x)y"}, "behavior": "Isolated", "invert": false}),
            "pre_tokenizer.pattern: (?<=x)y",
        ),
        ("/post_processor", json!({"type": "BertProcessing"}), "post_processor.type: BertProcessing"),
        ("/model/dropout", json!(0.1), "model.dropout"),
        ("/model/merges", json!(["q zzz"]), "model.merges"),
    ];
    for (path, value, expected) in refused {
        let error = with(path, value);
        assert!(error.starts_with("tokenizer.json: ") && error.contains(expected), "{error}");
    }
    assert!(Tokenizer::new(b"{\"model\":").is_err());
}

static TOKENIZERS: LazyLock<Vec<(&str, Tokenizer)>> = LazyLock::new(|| NAMES.iter().map(|name| (*name, tokenizer(name))).collect());

proptest! {
    #[test]
    fn what_is_remembered_is_what_would_be_found_anew(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<|im_start|>".to_owned()), Just("<|im_end|>".to_owned()), Just("<s>".to_owned()), Just("<mask>".to_owned()),
                Just("cat".to_owned()), Just("<|endoftext|>".to_owned()), "[a-z ]{60,90}", "[ \n\t]{0,70}", "\\PC{0,80}", any::<String>(),
            ],
            0..24,
        ),
        grows in 0_usize..24,
    ) {
        for (name, tokenizer) in &*TOKENIZERS {
            for end in [grows.min(parts.len()), parts.len()] {
                let text = parts[..end].concat();
                prop_assert_eq!(tokenizer.tokens(&text, true), tokenizer.tokens_anew(&text, true), "{}", name);
            }
        }
    }

    #[test]
    fn any_bytes_are_a_question_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), source in any::<String>()) {
        let _ = model("chatml").tokens(&bytes);
        let _ = Tokenizer::new(&bytes);
        if let Ok(template) = Template::new(&source, "chat_template.jinja") {
            let _ = template.render(minijinja::context! { messages => vec!["a"] }, RenderLength::Long);
        }
    }
}
