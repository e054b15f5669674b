//! A model's chat template, rendered as Hugging Face's `transformers` does.
//!
//! A rendering is bounded, whatever the messages are: in steps and the memory that they take, in depth, and in the text that it
//! gives. A template is a program of the operator's all the same, and not a client's: lists that it joins with themselves, or puts
//! into each other by thousands, have no bound.

mod content_format;
mod functions;
mod python;

use std::io;

use minijinja::{Environment, Value, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;

pub(crate) use self::content_format::ContentForm;
use self::content_format::content_forms;
use crate::{FileError, PromptError, tokenizer::MAX_TEXT_BYTES};

/// Steps of one rendering; each 64 bytes of a value that it makes are one, too: no more than 64 MB.
const MAX_STEPS: u64 = 1_000_000;
/// Steps where the messages are short, and a thread that serves may render them: some milliseconds.
const MAX_SHORT_STEPS: u64 = 100_000;
/// Longest prompt, in bytes.
const MAX_PROMPT_BYTES: usize = MAX_TEXT_BYTES;
/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Deepest nesting of a rendering.
const MAX_DEPTH: usize = 200;
/// The template's name in its environment.
const NAME: &str = "chat_template";

/// A chat template.
pub struct Template {
    environment: Environment<'static>,
    /// The same with fewer steps.
    short: Environment<'static>,
    content_forms: &'static [ContentForm],
}

/// Length of what is rendered: it bounds the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenderLength {
    /// Up to 8 KiB.
    Short,
    /// More.
    Long,
}

impl Template {
    /// The template of a text, which comes from this file.
    ///
    /// # Errors
    /// It is too long, or not a template that is understood.
    pub fn new(source: &str, file: &'static str) -> Result<Self, FileError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(FileError::LongTemplate(file, MAX_TEMPLATE_BYTES >> 20));
        }
        let malformed = |error: minijinja::Error| FileError::Malformed(file, format!("chat template: {error:#}"));
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(malformed)?);
        environment.set_unknown_method_callback(unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(python::format);
        environment.set_fuel(Some(MAX_STEPS));
        environment.set_recursion_limit(MAX_DEPTH);
        functions::add(&mut environment);
        let source = without_generation_marks(source);
        environment.add_template_owned(NAME, source.clone()).map_err(malformed)?;
        let mut short = environment.clone();
        short.set_fuel(Some(MAX_SHORT_STEPS));
        Ok(Self { environment, short, content_forms: content_forms(&source) })
    }

    /// Forms in which engines may hand it messages' contents.
    pub(crate) fn content_forms(&self) -> &'static [ContentForm] {
        self.content_forms
    }

    /// The prompt of a chat.
    ///
    /// # Errors
    /// The template refuses it, fails, or goes beyond its bounds.
    pub fn render(&self, context: Value, length: RenderLength) -> Result<String, PromptError> {
        let failed = |error: minijinja::Error| PromptError::Template(reason(&error));
        let environment = if length == RenderLength::Short { &self.short } else { &self.environment };
        let template = environment.get_template(NAME).map_err(failed)?;
        let mut prompt = Bounded { text: Vec::new(), is_full: false };
        let rendered = template.render_captured_to(context, &mut prompt).map(drop);
        if prompt.is_full {
            return Err(PromptError::TooLong);
        }
        rendered.map_err(failed)?;
        String::from_utf8(prompt.text).map_err(|_| PromptError::Template("no text".to_owned()))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("content_forms", &self.content_forms).finish_non_exhaustive()
    }
}

/// The kind and the place of an error. Its detail may quote a prompt.
fn reason(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
    format!("{}{line}", error.kind())
}

/// The same without `generation` blocks, which mark answers for training and write nothing.
fn without_generation_marks(source: &str) -> String {
    let Ok(marks) = regex::Regex::new(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})") else { return source.to_owned() };
    let replaced = marks.replace_all(source, |found: &regex::Captures<'_>| {
        let block = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{}{block}{}", &found[1], &found[3])
    });
    replaced.into_owned()
}

/// Bytes, as many as a prompt may have.
struct Bounded {
    text: Vec<u8>,
    is_full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > MAX_PROMPT_BYTES {
            self.is_full = true;
            return Err(io::Error::other("the prompt is too long"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
