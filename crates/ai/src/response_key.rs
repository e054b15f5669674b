//! Names of the members that the gateway reads in responses.

/// Names a gateway reads in responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Audio,
    CacheCreationInputTokens,
    CacheReadInputTokens,
    CachedTokens,
    Choices,
    CompletionTokens,
    CompletionTokensDetails,
    Content,
    ContentBlock,
    Delta,
    Error,
    FinishReason,
    FunctionCall,
    InputTokens,
    InputTokensDetails,
    Message,
    Meta,
    Model,
    Object,
    OutputTokens,
    OutputTokensDetails,
    PromptCacheHitTokens,
    PromptTokens,
    PromptTokensDetails,
    ReasoningTokens,
    Response,
    Role,
    SequenceNumber,
    StopReason,
    Text,
    Tokens,
    ToolCalls,
    TotalTokens,
    Type,
    Usage,
    /// An element of an array.
    Item,
    /// Any other name.
    Other,
}

impl Key {
    pub(crate) fn named(name: &[u8]) -> Self {
        match name {
            b"audio" => Self::Audio,
            b"cache_creation_input_tokens" => Self::CacheCreationInputTokens,
            b"cache_read_input_tokens" => Self::CacheReadInputTokens,
            b"cached_tokens" => Self::CachedTokens,
            b"choices" => Self::Choices,
            b"completion_tokens" => Self::CompletionTokens,
            b"completion_tokens_details" => Self::CompletionTokensDetails,
            b"content" => Self::Content,
            b"content_block" => Self::ContentBlock,
            b"delta" => Self::Delta,
            b"error" => Self::Error,
            b"finish_reason" => Self::FinishReason,
            b"function_call" => Self::FunctionCall,
            b"input_tokens" => Self::InputTokens,
            b"input_tokens_details" => Self::InputTokensDetails,
            b"message" => Self::Message,
            b"meta" => Self::Meta,
            b"model" => Self::Model,
            b"object" => Self::Object,
            b"output_tokens" => Self::OutputTokens,
            b"output_tokens_details" => Self::OutputTokensDetails,
            b"prompt_cache_hit_tokens" => Self::PromptCacheHitTokens,
            b"prompt_tokens" => Self::PromptTokens,
            b"prompt_tokens_details" => Self::PromptTokensDetails,
            b"reasoning_tokens" => Self::ReasoningTokens,
            b"response" => Self::Response,
            b"role" => Self::Role,
            b"sequence_number" => Self::SequenceNumber,
            b"stop_reason" => Self::StopReason,
            b"text" => Self::Text,
            b"tokens" => Self::Tokens,
            b"tool_calls" => Self::ToolCalls,
            b"total_tokens" => Self::TotalTokens,
            b"type" => Self::Type,
            b"usage" => Self::Usage,
            _ => Self::Other,
        }
    }

    /// Whether the reader needs the text of a value by this name, not only its presence.
    pub(crate) fn keeps_text(self) -> bool {
        matches!(self, Self::FinishReason | Self::Model | Self::Object | Self::StopReason | Self::Type)
    }
}
