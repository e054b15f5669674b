//! Reads a response as it passes: tokens used, the first content, the end, errors.
//!
//! Members tell the shapes of responses apart, not the request's path, since services serve one API under another's name.

use crate::event_cache::EventCache;
use crate::response_key::Key;
use crate::sse::{Event, SseReader};
use crate::walk::{Value, Walker};
use crate::whole_answer::{counts_at_end, facts_around_answer};

/// Tokens a call used, in one dialect's terms for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// All tokens of the prompt, those from a cache included (Anthropic counts them apart; here they are added).
    pub input_tokens: u64,
    /// Tokens generated, those of the reasoning included.
    pub output_tokens: u64,
    /// As the service says, else the sum.
    pub total_tokens: u64,
    /// Tokens of the prompt that came from a cache, where the service says so.
    pub cached_tokens: Option<u64>,
    /// Tokens of the prompt that were put into a cache, where the service says so (Anthropic).
    pub cache_creation_tokens: Option<u64>,
    /// Tokens generated for the reasoning, where the service says so.
    pub reasoning_tokens: Option<u64>,
}

/// Progress of a response. A field that is true stays true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The commit point: something has come that another attempt could contradict. In a stream that is the first event
    /// beyond those that only announce; in a JSON body the first byte.
    pub content: bool,
    /// The response gave a reason to finish (for one choice, if there are several).
    pub finish_reason: bool,
    /// The response says that it is whole: `[DONE]`, the dialect's last event, the end of the JSON value.
    pub done: bool,
    /// The response says that it failed.
    pub error: bool,
}

impl Progress {
    /// Whether a response that ends here ends as it should. Not every engine sends `[DONE]` after its finish reason.
    pub fn may_end(self) -> bool {
        self.done || self.finish_reason
    }
}

/// Reads a response of any dialect in chunks, in bounded memory: at most about 2 MiB, and that only for an event as large.
///
/// A body with a content coding reads as nothing: it must come decoded.
pub struct ResponseReader {
    /// `None` for a JSON body.
    events: Option<SseReader>,
    last: EventCache,
    walker: Walker,
    facts: Facts,
    progress: Progress,
    /// Events of a stream.
    seen: u64,
}

/// Results so far.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) counts: Counts,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    sequence_number: Option<u64>,
}

/// The counts as they stand in `usage`.
#[derive(Default)]
pub(crate) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    /// Cached tokens that are part of the input.
    cached: Option<u64>,
    /// Anthropic's: beside the input.
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    /// Reasoning tokens that are part of the output.
    reasoning: Option<u64>,
}

impl ResponseReader {
    /// For a body of this content type; `None` where there is nothing to be read in it.
    pub fn of(content_type: &[u8]) -> Option<Self> {
        if content_type.starts_with(b"text/event-stream") {
            return Some(Self::events());
        }
        content_type.starts_with(b"application/json").then(Self::json)
    }

    /// For a body that is one JSON value.
    pub fn json() -> Self {
        Self {
            events: None,
            last: EventCache::default(),
            walker: Walker::new(),
            facts: Facts::default(),
            progress: Progress::default(),
            seen: 0,
        }
    }

    /// For a body of Server-Sent Events.
    pub fn events() -> Self {
        Self { events: Some(SseReader::default()), ..Self::json() }
    }

    /// Events of a stream so far: about as many as tokens, where nobody counts those.
    pub fn events_seen(&self) -> u64 {
        self.seen
    }

    /// Whether the body is a stream of events.
    pub fn reads_events(&self) -> bool {
        self.events.is_some()
    }

    /// Line ends that end the event which the stream stands in, as far as it was read; empty between events.
    pub fn event_end(&self) -> &'static str {
        self.events.as_ref().map_or("", SseReader::event_end)
    }

    /// Reads on, and returns how far the response has come.
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        let Self { events, last, walker, facts, progress, seen } = self;
        let Some(reader) = events else {
            walker.feed(chunk, &mut |path, value| {
                progress.error |= is_error(path, value);
                facts.read(path, value);
            });
            progress.content |= !chunk.is_empty();
            progress.done = walker.is_done();
            progress.finish_reason = facts.finish_reason.is_some();
            return *progress;
        };
        let before = reader.passed_over();
        reader.feed(chunk, |event| {
            *seen += 1;
            read_event(event, last, walker, facts, progress);
        });
        // Nothing that merely announces is that large.
        progress.content |= reader.passed_over() > before;
        *progress
    }

    /// Reads a body that is there whole, from which nothing was read before. Of a JSON body only the usage is sought, which mostly stands
    /// at the end: model, reason to finish and error may stay unread.
    pub fn feed_whole(&mut self, body: &[u8]) -> Progress {
        match if self.events.is_none() { counts_at_end(body) } else { None } {
            Some(counts) => self.whole(Facts { counts, ..Facts::default() }),
            None => self.feed(body),
        }
    }

    /// The same, and seeks model and reason to finish too. An error may stay unread.
    pub fn feed_whole_answer(&mut self, body: &[u8]) -> Progress {
        match if self.events.is_none() { facts_around_answer(body) } else { None } {
            Some(facts) => self.whole(facts),
            None => self.feed(body),
        }
    }

    fn whole(&mut self, facts: Facts) -> Progress {
        let finish_reason = facts.finish_reason.is_some();
        self.facts = facts;
        self.progress = Progress { content: true, done: true, finish_reason, ..self.progress };
        self.progress
    }

    /// How far the response has come.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// The tokens used, as told last.
    pub fn usage(&self) -> Option<Usage> {
        self.facts.counts.usage()
    }

    /// The model that the engine says answered, unless longer than 256 bytes.
    pub fn model(&self) -> Option<&str> {
        self.facts.model.as_deref()
    }

    /// The last reason to finish: `stop`, `length`, `tool_calls`, `end_turn`…
    pub fn finish_reason(&self) -> Option<&str> {
        self.facts.finish_reason.as_deref()
    }

    /// The number the Responses API's next event would have, for an [error event](crate::error::ErrorBody::to_event).
    pub fn next_sequence_number(&self) -> u64 {
        self.facts.sequence_number.map_or(0, |last| last.saturating_add(1))
    }
}

/// Meaning of one event.
#[derive(Default)]
struct Shape {
    /// By `type`, else by the event's name.
    kind: Option<Kind>,
    choices: bool,
    content: bool,
    error: bool,
    /// A block other than text begins: a call of a tool, say.
    special_block: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Announces, keeps alive.
    Lifecycle,
    /// Anthropic's `content_block_start`.
    BlockStart,
    Content,
    Last,
    Error,
}

impl Kind {
    fn named(name: &str) -> Self {
        match name {
            "response.created"
            | "response.queued"
            | "response.in_progress"
            | "response.output_item.added"
            | "response.content_part.added"
            | "message_start"
            | "ping"
            | "keepalive" => Self::Lifecycle,
            "content_block_start" => Self::BlockStart,
            "response.completed"
            | "response.incomplete"
            | "message_stop"
            | "transcript.text.done"
            | "speech.audio.done"
            | "image_generation.completed"
            | "image_edit.completed" => Self::Last,
            "error" | "response.failed" => Self::Error,
            _ => Self::Content,
        }
    }
}

fn read_event(event: Event<'_>, last: &mut EventCache, walker: &mut Walker, facts: &mut Facts, progress: &mut Progress) {
    let data = event.data.trim_ascii();
    if data.is_empty() {
        return;
    }
    if data == b"[DONE]" {
        progress.done = true;
        progress.content = true;
        return;
    }
    if last.matches(data) {
        return;
    }
    let mut shape = Shape::default();
    let mut sink = |path: &[Key], value: Value<'_>| {
        shape.read(path, value);
        facts.read(path, value);
    };
    let (known, new) = data.split_at(last.common(data));
    walker.reset();
    walker.feed(known, &mut sink);
    let passes_over_text = walker.is_in_unread_text();
    walker.feed(new, &mut sink);
    // For data without a shape of their own the event's name decides.
    let is_complete = shape.kind.is_some() || shape.choices;
    last.keep(data, is_complete, passes_over_text.then_some(known.len()));
    if !is_complete && !matches!(event.name, b"" | b"message") {
        shape.kind = std::str::from_utf8(event.name).ok().map(Kind::named);
    }
    progress.finish_reason = facts.finish_reason.is_some();
    progress.error |= shape.error || shape.kind == Some(Kind::Error);
    progress.done |= shape.kind == Some(Kind::Last);
    progress.content |= progress.finish_reason || shape.has_content();
}

impl Shape {
    fn read(&mut self, path: &[Key], value: Value<'_>) {
        match (path, value) {
            ([Key::Type], Value::Text(name)) => self.kind = Some(Kind::named(name)),
            ([Key::Choices], _) => self.choices = true,
            // A first delta has a role and an empty content; all that is filled beside the role is the answer.
            ([Key::Choices, Key::Item, Key::Delta, Key::Role], _) => {}
            ([Key::Choices, Key::Item, Key::Delta, _, ..] | [Key::Choices, Key::Item, Key::Text], Value::Text(_)) => {
                self.content = true;
            }
            ([Key::ContentBlock, Key::Type], Value::Text(name)) => {
                self.special_block = !matches!(name, "text" | "thinking");
            }
            _ => self.error |= is_error(path, value),
        }
    }

    fn has_content(&self) -> bool {
        match self.kind {
            _ if self.error => false,
            Some(Kind::Lifecycle | Kind::Error) => false,
            Some(Kind::BlockStart) => self.special_block,
            Some(Kind::Content | Kind::Last) => true,
            // Data of unknown shape must not undo earlier results.
            None => self.content || !self.choices,
        }
    }
}

/// `error` with something in it, at the top or in the Responses API's `response`; vLLM once sent `"object":"error"`.
fn is_error(path: &[Key], value: Value<'_>) -> bool {
    match path {
        [Key::Error] | [Key::Response, Key::Error] => matches!(value, Value::Container | Value::Text(_)),
        [Key::Object] | [Key::Type] => value == Value::Text("error"),
        _ => false,
    }
}

impl Facts {
    pub(crate) fn read(&mut self, path: &[Key], value: Value<'_>) {
        match (path, value) {
            ([Key::Model] | [Key::Response | Key::Message, Key::Model], Value::Text(model)) if !model.is_empty() => {
                replace(&mut self.model, model);
            }
            (
                [Key::Choices, Key::Item, Key::FinishReason] | [Key::StopReason] | [Key::Delta, Key::StopReason],
                Value::Text(reason),
            ) => replace(&mut self.finish_reason, reason),
            ([Key::SequenceNumber], Value::Uint(number)) => self.sequence_number = Some(number),
            (
                [Key::Usage, count @ ..]
                | [Key::Response | Key::Message, Key::Usage, count @ ..]
                | [Key::Meta, Key::Tokens, count @ ..],
                Value::Uint(tokens),
            ) => self.counts.read(count, tokens),
            _ => {}
        }
    }
}

/// Every chunk of a stream names the model again; only the first costs an allocation.
fn replace(text: &mut Option<String>, new: &str) {
    match text {
        Some(old) if old == new => {}
        _ => *text = Some(new.to_owned()),
    }
}

impl Counts {
    fn read(&mut self, path: &[Key], tokens: u64) {
        let count = match path {
            [Key::PromptTokens | Key::InputTokens] => &mut self.input,
            [Key::CompletionTokens | Key::OutputTokens] => &mut self.output,
            [Key::TotalTokens] => &mut self.total,
            [Key::PromptTokensDetails | Key::InputTokensDetails, Key::CachedTokens] | [Key::PromptCacheHitTokens] => {
                &mut self.cached
            }
            [Key::CacheReadInputTokens] => &mut self.cache_read,
            [Key::CacheCreationInputTokens] => &mut self.cache_creation,
            [Key::CompletionTokensDetails | Key::OutputTokensDetails, Key::ReasoningTokens] => &mut self.reasoning,
            _ => return,
        };
        *count = Some(tokens);
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        self.input.or(self.output).or(self.total)?;
        let output_tokens = self.output.unwrap_or(0);
        let input_tokens = match (self.input, self.total) {
            (None, Some(total)) => total.saturating_sub(output_tokens),
            (input, _) => {
                let beside = self.cache_read.unwrap_or(0).saturating_add(self.cache_creation.unwrap_or(0));
                input.unwrap_or(0).saturating_add(beside)
            }
        };
        Some(Usage {
            input_tokens,
            output_tokens,
            total_tokens: self.total.unwrap_or(input_tokens.saturating_add(output_tokens)),
            cached_tokens: self.cached.or(self.cache_read),
            cache_creation_tokens: self.cache_creation,
            reasoning_tokens: self.reasoning,
        })
    }
}
