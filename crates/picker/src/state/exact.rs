//! The part of exact prefixes.

use std::sync::Arc;

use super::{PoolState, Tokenizers};
use crate::{
    exact_figures::{self, ExactFigure},
    exact_prefixes,
    tokens::{PromptTokens, TokenQuestion, TokenSource, TokensWay},
};

impl PoolState {
    /// Takes tokens of prompts from tokenizers in this process, for the models that those know.
    pub fn set_token_source(&self, source: Option<Arc<dyn TokenSource>>) {
        self.shared.token_source.store(source.map(|source| Arc::new(Tokenizers(source))));
    }

    /// Whether picks look up prompts' tokens: engines publish KV events, and prefixes count.
    pub fn wants_tokens(&self) -> bool {
        self.shared.exact.load().is_some()
    }

    /// Tokens of a request's prompt, for [`crate::PickRequest::tokens`]: computed here, remembered, or asked of an engine, within
    /// 50 ms.
    ///
    /// # Errors
    /// They are not known, and its cached prefix is to be estimated.
    pub async fn prompt_tokens(&self, question: &TokenQuestion<'_>) -> Result<PromptTokens, TokensWay> {
        let exact = self.shared.exact.load_full().ok_or_else(TokensWay::unneeded)?;
        exact_prefixes::prompt_tokens(&self.shared, &exact, &self.runtime, question).await
    }

    /// Blocks that the engines have told to be cached: at most as many as the pool's settings say.
    pub fn kv_blocks(&self) -> u32 {
        self.shared.exact.load().as_ref().map_or(0, |exact| exact.kv_cache.len())
    }

    /// Figures of KV events and tokens; none without KV events.
    pub fn exact_figures(&self) -> Vec<ExactFigure> {
        self.shared.exact.load().as_ref().map(|exact| exact_figures::figures(exact)).unwrap_or_default()
    }
}
