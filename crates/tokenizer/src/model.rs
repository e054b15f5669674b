//! A model's files as a whole: from the body of `POST /tokenize` to tokens.

use minijinja::Value;
use serde::Deserialize;

use crate::{
    FileError, ModelFiles, PromptError, RenderLength, Template, Tokenizer, chat,
    files::{CONFIG, TEMPLATE},
    template::ContentForm,
    tokenizer_class,
};

/// Longest question, in bytes: a text of 1 MiB has no more where its characters are escaped.
const MAX_QUESTION_BYTES: usize = 2 << 20;
/// Longest question whose template has few steps.
const MAX_SHORT_BYTES: usize = 8 << 10;
/// Arguments of `apply_chat_template`, and names that are not a chat's to set: engines take these from `chat_template_kwargs`
/// otherwise than a template's variables, each version in its own way, or refuse them.
const RESERVED: [&str; 26] = [
    "add_generation_prompt",
    "chat_template",
    "continue_final_message",
    "conversation",
    "cycler",
    "dict",
    "documents",
    "joiner",
    "kwargs",
    "lipsum",
    "max_length",
    "messages",
    "namespace",
    "padding",
    "raise_exception",
    "range",
    "return_assistant_tokens_mask",
    "return_dict",
    "return_tensors",
    "sanitize_control_tokens",
    "self",
    "strftime_now",
    "tokenize",
    "tokenizer_kwargs",
    "tools",
    "truncation",
];

/// A model's tokenizer and its chat template.
#[derive(Debug)]
pub struct ModelTokenizer {
    tokenizer: Tokenizer,
    template: Option<Template>,
    /// The one for chats with tools, where it is another.
    tool_template: Option<Template>,
    /// Special tokens by their names, such as `bos_token`.
    special: Vec<(String, Value)>,
    /// Versions of engines add the same special tokens to a prompt.
    has_certain_special_tokens: bool,
}

/// Body of `POST /tokenize`.
#[derive(Debug, Deserialize)]
struct Question {
    prompt: Option<String>,
    messages: Option<Value>,
    tools: Option<Value>,
    add_special_tokens: Option<bool>,
    add_generation_prompt: Option<bool>,
    continue_final_message: Option<bool>,
    chat_template: Option<Value>,
    chat_template_kwargs: Option<Value>,
    mm_processor_kwargs: Option<Value>,
}

impl ModelTokenizer {
    /// The tokenizer of a model's files.
    ///
    /// # Errors
    /// A file is malformed, or asks for something that is not supported.
    pub fn new(files: &ModelFiles) -> Result<Self, FileError> {
        let mut tokenizer = Tokenizer::new(&files.tokenizer)?;
        let config: Option<Value> = files.config.as_deref().map(serde_json::from_slice).transpose().map_err(malformed)?;
        let member = |name: &str| config.as_ref().and_then(|config| config.get_attr(name).ok()).unwrap_or_default();
        let added = tokenizer_class::special_tokens(config.as_ref(), &tokenizer.special, |token| tokenizer.added_token(token));
        let has_certain_special_tokens = added.is_some();
        tokenizer.special = added.unwrap_or_default();
        let special = special_tokens(config.as_ref());
        let mut all = Self { tokenizer, template: None, tool_template: None, special, has_certain_special_tokens };
        if let Some(file) = &files.template {
            let source = std::str::from_utf8(file).map_err(|_| FileError::Malformed(TEMPLATE, "no UTF-8".to_owned()))?;
            all.template = Some(Template::new(source, TEMPLATE)?);
            return Ok(all);
        }
        let templates = member("chat_template");
        if let Some(source) = templates.as_str() {
            all.template = Some(Template::new(source, CONFIG)?);
        }
        for named in templates.try_iter().into_iter().flatten() {
            let text = |name: &str| named.get_attr(name).unwrap_or_default();
            match (text("name").as_str(), text("template").as_str()) {
                (Some("default"), Some(source)) => all.template = Some(Template::new(source, CONFIG)?),
                (Some("tool_use"), Some(source)) => all.tool_template = Some(Template::new(source, CONFIG)?),
                _ => {}
            }
        }
        Ok(all)
    }

    /// Tokens of a prompt. The question is the body of vLLM's `POST /tokenize`.
    ///
    /// # Errors
    /// There is no template for a chat, the template refuses it, or the request is too long, has too many objects and lists, or asks
    /// for something that only the engine does.
    pub fn tokens(&self, question: &[u8]) -> Result<Vec<u32>, PromptError> {
        if question.len() > MAX_QUESTION_BYTES || chat::has_many_containers(question) {
            return Err(PromptError::TooLong);
        }
        let length = if question.len() > MAX_SHORT_BYTES { RenderLength::Long } else { RenderLength::Short };
        let mut question: Question = serde_json::from_slice(question).map_err(|error| PromptError::Malformed(error.to_string()))?;
        let (text, adds_special_tokens) = match (question.prompt.take(), &question.messages) {
            (Some(prompt), _) => (prompt, question.add_special_tokens.unwrap_or(true)),
            (None, Some(messages)) => (self.chat(&question, messages, length)?, question.add_special_tokens.unwrap_or(false)),
            (None, None) => return Err(PromptError::Malformed("neither `prompt` nor `messages`".to_owned())),
        };
        drop(question);
        if adds_special_tokens && !self.has_certain_special_tokens {
            return Err(PromptError::Unsupported("special tokens that versions of transformers add differently"));
        }
        self.tokenizer.tokens(&text, adds_special_tokens)
    }

    /// Memory of remembered tokens, in bytes.
    pub fn remembered_bytes(&self) -> usize {
        self.tokenizer.remembered_bytes()
    }

    fn chat(&self, question: &Question, messages: &Value, length: RenderLength) -> Result<String, PromptError> {
        // A client's template would be a program of a stranger's.
        let foreign = [
            (question.chat_template.is_some(), "a chat_template of its own"),
            (question.mm_processor_kwargs.is_some(), "mm_processor_kwargs"),
            (question.continue_final_message == Some(true), "continue_final_message"),
        ];
        if let Some((_, what)) = foreign.into_iter().find(|(is_there, _)| *is_there) {
            return Err(PromptError::Unsupported(what));
        }
        let tools = question.tools.as_ref().map_or(Ok(None), chat::tools)?;
        let tool_template = self.tool_template.as_ref().filter(|_| tools.is_some());
        let template = tool_template.or(self.template.as_ref()).ok_or(PromptError::NoTemplate)?;
        let context = self.context(question, tools)?;
        let render = |form: &ContentForm| {
            let messages = ("messages".to_owned(), chat::messages(messages, *form)?);
            template.render(Value::from_pairs(context.iter().cloned().chain([messages])), length)
        };
        let mut prompts = template.content_forms().iter().map(render);
        let prompt = prompts.next().ok_or(PromptError::NoTemplate)??;
        match prompts.all(|other| other.is_ok_and(|other| other == prompt)) {
            true => Ok(prompt),
            false => Err(PromptError::Unsupported("contents that versions of engines hand over in different forms")),
        }
    }

    /// A template's variables beside the messages.
    fn context(&self, question: &Question, tools: Option<Value>) -> Result<Vec<(String, Value)>, PromptError> {
        let mut context: Vec<(String, Value)> = self.special.clone();
        let mut set = |name: &str, value: Value| context.push((name.to_owned(), value));
        set("tools", tools.unwrap_or_else(|| Value::from(())));
        set("documents", Value::from(()));
        set("add_generation_prompt", question.add_generation_prompt.unwrap_or(true).into());
        if let Some(given) = &question.chat_template_kwargs {
            for name in given.try_iter().into_iter().flatten() {
                let value = given.get_item(&name).unwrap_or_default();
                let Some(name) = name.as_str() else { continue };
                if RESERVED.contains(&name) || name.ends_with("_token") {
                    return Err(PromptError::Unsupported("a name in chat_template_kwargs that is no template's variable"));
                }
                context.push((name.to_owned(), value));
            }
        }
        Ok(context)
    }
}

fn malformed(error: serde_json::Error) -> FileError {
    FileError::Malformed(CONFIG, error.to_string())
}

/// Members of `tokenizer_config.json` that name a token: a text, or an object with one.
fn special_tokens(config: Option<&Value>) -> Vec<(String, Value)> {
    let Some(config) = config else { return Vec::new() };
    let names = config.try_iter().into_iter().flatten().filter(|name| name.as_str().is_some_and(|name| name.ends_with("_token")));
    let token = |name: Value| {
        let value = config.get_item(&name).ok()?;
        let value = if value.as_str().is_some() { value } else { value.get_attr("content").ok()? };
        value.as_str().is_some().then(|| (name.to_string(), value.clone()))
    };
    names.filter_map(token).collect()
}
