//! The few figures that a pick needs of an engine's `/metrics`, read from the Prometheus text format as it arrives.
//!
//! The reader selects lines by their names; others cost a comparison, and no line costs an allocation. If several engines
//! answer behind one port, their queues add up and the fullest KV cache counts.

mod line;
mod names;

use pailou_snapshot::ModelServer;

use self::{
    line::Sample,
    names::{Meaning, meaning},
};

/// The longest line that is read; longer ones are passed over.
const LONGEST_LINE: usize = 64 << 10;
/// Most adapters that are remembered of an engine.
const MOST_ADAPTERS: usize = 256;
/// Most models that are remembered of what answers behind one port.
const MOST_MODELS: usize = 64;

/// An engine's figures at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Requests in its queue.
    pub(crate) waiting: f32,
    /// Requests that run.
    pub(crate) running: f32,
    /// Share of the KV cache in use, 0 to 1.
    pub(crate) kv: f32,
    /// Tokens that the KV cache holds.
    pub(crate) kv_tokens: Option<u64>,
    /// Its LoRA adapters, where it has any.
    pub(crate) adapters: Option<Adapters>,
    /// Names under which it serves models.
    pub(crate) models: Vec<Box<str>>,
    /// When its process started, in seconds.
    pub(crate) started: Option<f64>,
    /// A count that only grows while it lives.
    pub(crate) served: Option<f64>,
}

/// An engine's LoRA adapters.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Adapters {
    /// How many may run.
    pub(crate) max: u32,
    /// Those that run.
    pub(crate) running: Vec<Box<str>>,
    /// Those that wait for one to end.
    pub(crate) waiting: Vec<Box<str>>,
}

/// Reads figures from a page that comes in pieces.
pub(crate) struct Parser {
    dialect: ModelServer,
    /// The beginning of a line whose end has not come, at most [`LONGEST_LINE`].
    begun: Vec<u8>,
    /// The line under way is too long, and passed over.
    overlong: bool,
    figures: Figures,
    /// Whether any load was among the samples.
    known: bool,
    /// The value of the newest series of adapters, which is a time.
    adapters_at: f64,
    blocks: f64,
    tokens_per_block: f64,
}

impl Parser {
    pub(crate) fn new(dialect: ModelServer) -> Self {
        Self {
            dialect,
            begun: Vec::new(),
            overlong: false,
            figures: Figures::default(),
            known: false,
            adapters_at: f64::NEG_INFINITY,
            blocks: 0.0,
            tokens_per_block: 0.0,
        }
    }

    /// Takes the next piece of the page.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.begun.is_empty() && !self.overlong {
                self.line(head);
                continue;
            }
            self.begin(head);
            let begun = std::mem::take(&mut self.begun);
            if !self.overlong {
                self.line(&begun);
            }
            self.overlong = false;
            self.begun = begun;
            self.begun.clear();
        }
        self.begin(bytes);
    }

    /// The figures of the whole page; `None` if there was none of the engine's load in it.
    pub(crate) fn finish(mut self) -> Option<Figures> {
        if !self.overlong {
            let last = std::mem::take(&mut self.begun);
            self.line(&last);
        }
        let tokens = self.blocks * self.tokens_per_block;
        if self.figures.kv_tokens.is_none() && tokens >= 1.0 {
            self.figures.kv_tokens = Some(tokens as u64);
        }
        self.known.then_some(self.figures)
    }

    fn begin(&mut self, bytes: &[u8]) {
        if self.overlong || self.begun.len() + bytes.len() > LONGEST_LINE {
            self.overlong = true;
            self.begun.clear();
        } else {
            self.begun.extend_from_slice(bytes);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let name_ends = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t')).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_ends);
        let Some(meaning) = meaning(self.dialect, name) else { return };
        let Some(sample) = Sample::parse(rest) else { return };
        self.take(meaning, &sample);
    }

    fn take(&mut self, meaning: Meaning, sample: &Sample<'_>) {
        let figures = &mut self.figures;
        // Nothing that is measured here can be negative.
        let Some(value) = sample.value.is_finite().then(|| sample.value.max(0.0)) else { return };
        match meaning {
            Meaning::Waiting => {
                figures.waiting += value as f32;
                note_model(&mut figures.models, sample.label("model_name"));
            }
            Meaning::Running => figures.running += value as f32,
            Meaning::Kv => figures.kv = figures.kv.max(value.min(1.0) as f32),
            Meaning::CacheConfig { size, count } => {
                if let (Some(size), Some(count)) = (sample.number(size), sample.number(count)) {
                    let tokens = figures.kv_tokens.unwrap_or(0).saturating_add((size * count) as u64);
                    figures.kv_tokens = (tokens > 0).then_some(tokens);
                }
            }
            Meaning::TokensPerBlock => self.tokens_per_block = self.tokens_per_block.max(value),
            Meaning::Blocks => self.blocks += value,
            Meaning::Adapters => self.take_adapters(value, sample),
            Meaning::Started => figures.started = Some(figures.started.unwrap_or(0.0).max(value)),
            Meaning::Served => figures.served = Some(figures.served.unwrap_or(0.0) + value),
            Meaning::TritonRequests => match sample.label("request_type") {
                Some(b"waiting") => figures.waiting += value as f32,
                Some(b"scheduled") => figures.running += value as f32,
                _ => return,
            },
            Meaning::TritonBlocks => match sample.label("kv_cache_block_type") {
                Some(b"fraction") => figures.kv = figures.kv.max(value.min(1.0) as f32),
                Some(b"tokens_per") => self.tokens_per_block = self.tokens_per_block.max(value),
                Some(b"max") => self.blocks += value,
                _ => return,
            },
        }
        self.known |= meaning.is_load();
    }

    fn take_adapters(&mut self, at: f64, sample: &Sample<'_>) {
        if at < self.adapters_at {
            return;
        }
        self.adapters_at = at;
        self.figures.adapters = Some(Adapters {
            max: sample.number("max_lora").unwrap_or(0.0) as u32,
            running: names(sample.label("running_lora_adapters")),
            waiting: names(sample.label("waiting_lora_adapters")),
        });
    }
}

/// Notes a model's name once. One with escapes is left out: labels are read as they are written.
fn note_model(models: &mut Vec<Box<str>>, name: Option<&[u8]>) {
    let Some(name) = name.and_then(|name| std::str::from_utf8(name).ok()) else { return };
    let is_new = !name.is_empty() && !name.contains('\\') && !models.iter().any(|known| **known == *name);
    if is_new && models.len() < MOST_MODELS {
        models.push(name.into());
    }
}

/// The names of a comma-separated list.
fn names(list: Option<&[u8]>) -> Vec<Box<str>> {
    let list = list.and_then(|list| std::str::from_utf8(list).ok()).unwrap_or("");
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).take(MOST_ADAPTERS).map(Box::from).collect()
}

#[cfg(test)]
mod tests;
