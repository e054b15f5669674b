//! Tokens of a request's prompt, for a pool whose engines publish KV events.

use std::sync::Arc;

use pailou_ai::{Api, PromptQuestion};
use pailou_picker::{PromptForm, PromptTokens, TokenQuestion, TokensWay, target_name};
use pailou_snapshot::{ClusterKind, Pool};

use super::{Chosen, outgoing::Outgoing, pool_target::eligible};
use crate::{cluster::ClusterState, request_input::ReadBody};

/// A prompt whose tokens were looked up, and the engine's name of the model that they were asked for.
pub(super) struct KnownPrompt {
    pub(super) target_model: Option<Arc<str>>,
    pub(super) tokens: Result<PromptTokens, TokensWay>,
}

/// A pool that looks up prompts' tokens.
pub(super) struct TokenPool<'a> {
    pool: &'a Pool,
    cluster: &'a ClusterState,
}

impl<'a> TokenPool<'a> {
    /// The pool that a request goes to, if its engines publish KV events.
    pub(super) fn of(route: &Chosen<'a>) -> Option<Self> {
        let id = *route.backend.cluster.as_ref().ok()?;
        let ClusterKind::Pool(pool) = &route.runtime.snapshot().cluster(id).kind else { return None };
        pool.kv_events?;
        let cluster = route.runtime.cluster(id);
        cluster.pool().is_some_and(|state| state.wants_tokens()).then_some(Self { pool, cluster })
    }

    /// Tokens of a request's prompt. `None`: its body is none of a model call.
    pub(super) async fn prompt(&self, outgoing: &Outgoing, call: Option<&ReadBody>) -> Option<KnownPrompt> {
        let call = call?;
        let scan = call.scan()?;
        let asked = scan.model.as_deref().unwrap_or("");
        let target_model = engine_name(self.pool, asked);
        let model = target_model.as_deref().unwrap_or(asked);
        let form = Api::from_path(outgoing.path()).and_then(|api| PromptQuestion::new(api, call.text(), model));
        let prompt = match &form {
            Some(PromptQuestion::Ask { body, message_ends, is_converted }) => {
                PromptForm::Body { pieces: body, message_ends, is_converted: *is_converted }
            }
            Some(PromptQuestion::Given(tokens)) => PromptForm::Tokens(tokens),
            None => PromptForm::Other,
        };
        let subset = outgoing.subset().map(|subset| eligible(self.cluster, subset));
        let cache_salt = scan.cache_salt.as_deref();
        let question = TokenQuestion { model, cache_salt, prompt, subset: subset.as_deref(), avoided: &[] };
        let tokens = self.cluster.prompt_tokens(&question).await;
        Some(KnownPrompt { target_model, tokens })
    }
}

/// The engine's name of a model, where it is not the client's; of several, one by weight.
pub(super) fn engine_name(pool: &Pool, asked: &str) -> Option<Arc<str>> {
    let name = pool.model(asked).and_then(|model| target_name(model));
    name.filter(|name| **name != *asked && !asked.is_empty())
}
