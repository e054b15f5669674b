//! A model's chat template, rendered as Hugging Face's `transformers` does.
//!
//! A rendering is bounded, whatever the messages are: in steps and the memory that they take, in depth, and in the text that it gives. A template is a
//! program of the operator's all the same, and not a client's: lists that it joins with themselves, or puts into each other by thousands, have no bound.

mod content_format;
mod functions;
mod python;

use std::io;

use minijinja::{Environment, Value, syntax::SyntaxConfig};
use minijinja_contrib::pycompat::unknown_method_callback;

use self::content_format::takes_parts;
use crate::{FileError, PromptError};

/// Steps of one rendering; each 64 bytes of a value that it makes are one, too.
const MAX_STEPS: u64 = 4_000_000;
/// Longest prompt, in bytes.
const MAX_PROMPT_BYTES: usize = 16 << 20;
/// Longest template, in bytes.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Deepest nesting of a rendering.
const MAX_DEPTH: usize = 200;
/// The template's name in its environment.
const NAME: &str = "chat_template";

/// A chat template.
pub struct Template {
    environment: Environment<'static>,
    takes_parts: bool,
}

impl Template {
    /// The template of a text, which comes from this file.
    ///
    /// # Errors
    /// It is too long, or not a template that is understood.
    pub fn new(source: &str, file: &'static str) -> Result<Self, FileError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(FileError::TooLong(file, MAX_TEMPLATE_BYTES >> 20));
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
        Ok(Self { environment, takes_parts: takes_parts(&source) })
    }

    /// Whether messages' contents are lists of parts for it; otherwise they are texts.
    pub fn takes_parts(&self) -> bool {
        self.takes_parts
    }

    /// The prompt of a chat.
    ///
    /// # Errors
    /// The template refuses it, fails, or goes beyond its bounds.
    pub fn render(&self, context: Value) -> Result<String, PromptError> {
        let failed = |error: minijinja::Error| PromptError::Template(reason(&error));
        let template = self.environment.get_template(NAME).map_err(failed)?;
        let mut prompt = Bounded(Vec::new());
        template.render_captured_to(context, &mut prompt).map_err(failed)?;
        String::from_utf8(prompt.0).map_err(|_| PromptError::Template("no text".to_owned()))
    }
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("takes_parts", &self.takes_parts).finish_non_exhaustive()
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
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_PROMPT_BYTES {
            return Err(io::Error::other("the prompt is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
