//! One request at an engine.

use std::rc::Rc;

use crate::picker::{
    kv::{Hit, KvCache},
    model::StepWork,
    prompt::BLOCK_TOKENS,
};

/// A request at an engine, or on its way there.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// Its number in the run.
    pub(crate) id: usize,
    /// The full blocks of prompt and output.
    pub(crate) blocks: Rc<[u64]>,
    /// Tokens of the prompt.
    pub(crate) prompt: u32,
    /// Tokens to generate.
    pub(crate) output: u32,
    pub(crate) adapter: Option<u16>,
    /// Tokens whose KV cache is there.
    pub(crate) computed: u32,
    /// Tokens generated so far.
    pub(crate) generated: u32,
    /// Tokens to compute in the present step.
    pub(super) planned: u32,
    /// Full blocks that it holds.
    held: u32,
    has_partial: bool,
    /// Tokens of the prompt that were cached, once it has been admitted.
    hit: Option<u32>,
}

impl Sequence {
    pub(crate) fn new(id: usize, blocks: Rc<[u64]>, prompt: u32, output: u32, adapter: Option<u16>) -> Self {
        Self { id, blocks, prompt, output, adapter, computed: 0, generated: 0, planned: 0, held: 0, has_partial: false, hit: None }
    }

    /// Tokens of the prompt and those generated.
    pub(super) fn known(&self) -> u32 {
        self.prompt + self.generated
    }

    /// Tokens to compute before the next one can be generated.
    pub(super) fn needed(&self) -> u32 {
        self.known() - self.computed
    }

    /// Tokens of the prompt computed so far, without those that were cached.
    pub(crate) fn prefilled(&self) -> u32 {
        self.computed.saturating_sub(self.hit.unwrap_or(0))
    }

    /// The part of its tokens that is cached. At least one token is left to compute.
    pub(super) fn hit(&self, kv: &KvCache) -> Hit {
        kv.hit(&self.blocks[..((self.known() - 1) / BLOCK_TOKENS) as usize])
    }

    /// Blocks not in use now that so many tokens more take. Cached blocks that nobody uses are among them.
    pub(super) fn growth(&self, tokens: u32, kv: &KvCache) -> u32 {
        let (full, partial) = self.after(tokens);
        let full = kv.not_in_use(&self.blocks[self.held as usize..full as usize]);
        (full + u32::from(partial)).saturating_sub(u32::from(self.has_partial))
    }

    /// Takes the cached part; whether this is the first time.
    pub(super) fn take_hit(&mut self, hit: Hit, kv: &mut KvCache, work: &mut StepWork) -> bool {
        let blocks = hit.gpu + hit.host;
        let is_first = self.hit.is_none();
        if is_first {
            self.hit = Some(blocks * BLOCK_TOKENS);
        }
        kv.touch_host(&self.blocks[hit.gpu as usize..blocks as usize]);
        kv.hold(&self.blocks, 0..blocks);
        self.held = blocks;
        self.computed = blocks * BLOCK_TOKENS;
        work.host_tokens += f64::from(hit.host * BLOCK_TOKENS);
        is_first
    }

    /// Plans so many tokens for the present step, and holds the blocks for them: others find those at once, as in vLLM.
    pub(super) fn plan(&mut self, tokens: u32, kv: &mut KvCache, work: &mut StepWork) {
        let (full, partial) = self.after(tokens);
        if self.has_partial {
            kv.release_partial();
        }
        kv.hold(&self.blocks, self.held..full);
        if partial {
            kv.hold_partial();
        }
        (self.held, self.has_partial, self.planned) = (full, partial, tokens);
        let (tokens, before) = (f64::from(tokens), f64::from(self.computed));
        if self.generated > 0 && self.needed() == 1 {
            work.decodes += 1.0;
            work.decode_context += before;
        } else {
            work.prompt_tokens += tokens;
            work.prompt_context += tokens * (before + tokens / 2.0);
        }
    }

    /// Gives all blocks back.
    pub(super) fn release(&mut self, kv: &mut KvCache) {
        if std::mem::take(&mut self.has_partial) {
            kv.release_partial();
        }
        kv.release(&self.blocks[..self.held as usize]);
        (self.held, self.computed, self.planned) = (0, 0, 0);
    }

    /// Full blocks after so many tokens more, and whether one is begun.
    fn after(&self, tokens: u32) -> (u32, bool) {
        let tokens = self.computed + tokens;
        (tokens / BLOCK_TOKENS, !tokens.is_multiple_of(BLOCK_TOKENS))
    }
}
