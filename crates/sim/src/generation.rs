//! From a prompt to the engine and back: what every generating API shares.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::app::{App, Model};
use crate::config::KvConnector;
use crate::driver::{Seen, Ticket};
use crate::engine::Request;
use crate::reply::ApiError;
use crate::text::{Completion, FinishReason, prose};
use crate::tokenizer::{BlockHasher, mix};

/// Completions one request may ask for.
const MAX_CHOICES: u32 = 16;

/// Source and length of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// Upper bound of the output; what the context has room for when absent.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) choices: Option<u32>,
    pub(crate) seed: Option<i64>,
    pub(crate) min_tokens: u32,
    /// Go on to `max_tokens`, as benchmarks ask of vLLM.
    pub(crate) ignore_eos: bool,
    /// Said instead of prose: a tool call's arguments, or a structured output; and how it ends.
    pub(crate) fixed: Option<(String, FinishReason)>,
    /// Tell of each token as it comes.
    pub(crate) stream: bool,
}

/// A prompt on its way into the engine.
#[derive(Clone)]
pub(crate) struct Prompt {
    hasher: BlockHasher,
    model: Model,
    cache_salt: Option<Arc<str>>,
    /// Text that the answer quotes.
    quote: String,
    /// Its KV cache has come from another engine.
    received: bool,
}

impl Prompt {
    pub(crate) fn new(app: &App, model: Model, cache_salt: Option<&str>) -> Self {
        // Events do not name the model: where there are some, all models but adapters are names of one.
        let publishes = app.config.kv_events.is_some();
        let model_seed = if publishes && model.adapter.is_none() { 0 } else { model.cache_seed() };
        let seed = mix(model_seed, crate::tokenizer::hash_bytes(cache_salt.unwrap_or("").as_bytes()));
        let hasher = BlockHasher::new(app.config.block_size, seed);
        let names_tokens = app.config.kv_transfer.as_ref().is_some_and(|it| it.connector == KvConnector::TrtLlm);
        let hasher = if publishes || names_tokens { hasher.keeping_tokens() } else { hasher };
        Prompt {
            hasher,
            model,
            cache_salt: cache_salt.filter(|salt| !salt.is_empty()).map(Arc::from),
            quote: String::new(),
            received: false,
        }
    }

    /// The same, whose tokens can be read.
    pub(crate) fn readable(app: &App, model: Model) -> Self {
        let prompt = Prompt::new(app, model, None);
        Prompt { hasher: prompt.hasher.keeping_tokens(), ..prompt }
    }

    /// All tokens of a readable one.
    pub(crate) fn into_tokens(self) -> Vec<u32> {
        self.hasher.into_parts().1
    }

    /// Appends a message in the manner of a chat template.
    pub(crate) fn message(&mut self, role: &str, text: &str) {
        self.hasher.special(role);
        self.hasher.text(text);
        self.hasher.special("end");
        if role == "user" {
            self.quote = text.chars().take(64).collect();
        }
    }

    /// Appends what makes the model speak.
    pub(crate) fn open_answer(&mut self) {
        self.hasher.special("assistant");
    }

    /// Appends plain text.
    pub(crate) fn text(&mut self, text: &str) {
        self.hasher.text(text);
        self.quote = text.chars().take(64).collect();
    }

    /// Appends tokens.
    pub(crate) fn ids(&mut self, ids: &[u32]) {
        self.hasher.ids(ids);
    }

    /// Appends the prompt of a `POST /tokenize` body by the model's own files. Gives whether there are such.
    ///
    /// # Errors
    /// The body has no prompt that the files give tokens of.
    pub(crate) fn add_from_files(&mut self, app: &App, question: &[u8]) -> Result<bool, ApiError> {
        let Some(tokenizer) = &app.config.tokenizer else { return Ok(false) };
        let tokens = tokenizer.tokens(question).map_err(|error| ApiError::bad_request(error.to_string()))?;
        self.hasher.ids(&tokens);
        Ok(true)
    }

    /// Appends a completion's text, with or without the model's special tokens around it.
    ///
    /// # Errors
    /// The model's files give no tokens of it.
    pub(crate) fn add_text(&mut self, app: &App, text: &str, adds_special_tokens: Option<bool>) -> Result<(), ApiError> {
        let question = json!({ "prompt": text, "add_special_tokens": adds_special_tokens });
        if !self.add_from_files(app, question.to_string().as_bytes())? {
            self.text(text);
        }
        Ok(())
    }

    /// The same where another engine has sent the KV cache of so many tokens.
    ///
    /// # Errors
    /// They are not this prompt's.
    pub(crate) fn received(self, tokens: Option<u32>) -> Result<Self, ApiError> {
        match tokens {
            Some(tokens) if tokens != self.tokens() => Err(ApiError::internal("the KV cache that came is another prompt's")),
            tokens => Ok(Self { received: tokens.is_some(), ..self }),
        }
    }

    pub(crate) fn tokens(&self) -> u32 {
        self.hasher.length().max(1)
    }

    /// Puts it into the engine to be read only.
    pub(crate) fn read(self, app: &App) -> Result<Ticket, ApiError> {
        self.check_length(app, 0)?;
        let prompt_tokens = self.tokens();
        let (block_hashes, tokens) = self.hasher.into_parts();
        let (adapter, cache_salt) = (self.model.adapter, self.cache_salt);
        let request = Request { prompt_tokens, received_tokens: 0, output_tokens: 0, block_hashes, tokens, cache_salt, adapter };
        Ok(app.driver.submit(request, FinishReason::Stop, false)?)
    }

    /// Puts it into the engine, once for each choice.
    pub(crate) async fn generate(self, app: &App, wish: &Wish) -> Result<Generation, ApiError> {
        let choices = wish.choices.unwrap_or(1);
        if choices == 0 || choices > MAX_CHOICES {
            return Err(ApiError::bad_request(format!("`n` must be 1 to {MAX_CHOICES}.")));
        }
        if wish.max_tokens == Some(0) {
            return Err(ApiError::bad_request("`max_tokens` must be at least 1."));
        }
        let max_tokens = self.check_length(app, wish.max_tokens.unwrap_or(1))?;
        let max_tokens = wish.max_tokens.unwrap_or(max_tokens);
        app.driver.admit(Duration::from_secs_f64(app.config.cost.request_us / 1e6)).await;
        let mut generation = Generation { prompt_tokens: self.tokens(), choices: Vec::new() };
        for choice in 0..choices {
            let completion = self.complete(app, wish, choice, max_tokens);
            let mut hasher = self.hasher.clone();
            hasher.text(&completion.text);
            let output_tokens = completion.tokens();
            let (block_hashes, tokens) = hasher.into_parts();
            let request = Request {
                prompt_tokens: generation.prompt_tokens,
                received_tokens: if self.received { generation.prompt_tokens } else { 0 },
                output_tokens,
                block_hashes,
                tokens,
                cache_salt: self.cache_salt.clone(),
                adapter: self.model.adapter.clone(),
            };
            let ticket = app.driver.submit(request, completion.finish, wish.stream)?;
            generation.choices.push(Choice { ticket, completion, seen: Seen::default(), sent: 0, done: false });
        }
        Ok(generation)
    }

    /// Room left for output, if prompt and `output` fit into the context.
    fn check_length(&self, app: &App, output: u32) -> Result<u32, ApiError> {
        let (limit, prompt) = (app.config.context_length(), self.tokens());
        let requested = prompt.saturating_add(output);
        if requested > limit {
            return Err(ApiError::bad_request(format!(
                "This model's maximum context length is {limit} tokens, but the request asks for {requested} \
                 ({prompt} in the prompt, {output} for the output). Shorten the prompt or the output."
            )));
        }
        Ok(limit - prompt)
    }

    fn complete(&self, app: &App, wish: &Wish, choice: u32, max_tokens: u32) -> Completion {
        if let Some((text, finish)) = &wish.fixed {
            return Completion::new(text.clone(), max_tokens, &[], *finish);
        }
        let seed = mix(app.config.seed, wish.seed.unwrap_or(0) as u64);
        let seed = mix(mix(seed, self.hasher.digest()), choice.into());
        let (least, most) = app.config.output_tokens;
        let natural = match wish.ignore_eos {
            true => max_tokens,
            false => (least + (seed >> 32) as u32 % (most.saturating_sub(least) + 1)).max(wish.min_tokens).max(1),
        };
        let wanted = natural.min(max_tokens);
        let text = prose(seed, &self.quote, wanted);
        let ends_by = if wanted < natural || wish.ignore_eos { FinishReason::Length } else { FinishReason::Stop };
        let mut completion = Completion::new(text, wanted, &wish.stop, FinishReason::Stop);
        // Prose is cut to the natural length here, which is no truncation in the API's sense.
        if completion.finish == FinishReason::Length {
            completion.finish = ends_by;
        }
        completion
    }
}

/// The engine's work for one request.
pub(crate) struct Generation {
    prompt_tokens: u32,
    choices: Vec<Choice>,
}

struct Choice {
    ticket: Ticket,
    completion: Completion,
    seen: Seen,
    sent: u32,
    done: bool,
}

/// The next thing that happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output {
    /// A token came.
    Token { choice: usize, index: u32 },
    /// A choice is complete.
    Finished { choice: usize, reason: FinishReason },
}

/// Token counts, as `usage` reports them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) prompt: u32,
    pub(crate) cached: u32,
    pub(crate) completion: u32,
}

impl Usage {
    /// OpenAI's `usage` of chat and plain completions.
    pub(crate) fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

impl Generation {
    /// The next output of any choice; `None` when all are complete.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Output>> {
        let mut all_done = true;
        for (index, choice) in self.choices.iter_mut().enumerate() {
            if let Poll::Ready(Some(output)) = choice.poll_next(cx, index) {
                return Poll::Ready(Some(output));
            }
            all_done &= choice.done;
        }
        if all_done { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Waits until all choices are complete.
    pub(crate) async fn finish(&mut self) {
        for choice in &mut self.choices {
            choice.seen = choice.ticket.finished().await;
        }
    }

    /// Text and reason of every choice.
    pub(crate) fn completions(&self) -> impl Iterator<Item = (&str, FinishReason)> {
        self.choices.iter().map(|choice| (choice.completion.text.as_str(), choice.completion.finish))
    }

    /// The text of one token.
    pub(crate) fn piece(&self, choice: usize, index: u32) -> &str {
        self.choices[choice].completion.piece(index)
    }

    /// Tokens so far.
    pub(crate) fn usage(&self) -> Usage {
        Usage {
            prompt: self.prompt_tokens,
            cached: self.choices.first().map_or(0, |choice| choice.seen.cached_tokens),
            completion: self.choices.iter().map(|choice| choice.seen.generated).sum(),
        }
    }
}

impl Choice {
    fn poll_next(&mut self, cx: &mut Context<'_>, choice: usize) -> Poll<Option<Output>> {
        loop {
            if self.sent < self.seen.generated {
                self.sent += 1;
                return Poll::Ready(Some(Output::Token { choice, index: self.sent - 1 }));
            }
            if self.done {
                return Poll::Ready(None);
            }
            if self.seen.finished {
                self.done = true;
                return Poll::Ready(Some(Output::Finished { choice, reason: self.completion.finish }));
            }
            match self.ticket.poll_progress(cx, self.seen) {
                Poll::Ready(seen) => self.seen = seen,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// `stop` of the OpenAI APIs: one sequence or several.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum Stop {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl From<Stop> for Vec<String> {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::None => Vec::new(),
            Stop::One(one) => vec![one],
            Stop::Many(many) => many,
        }
    }
}
