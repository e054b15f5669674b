//! Form of spans of model calls, which the operator of the process chooses.

/// Names of attributes, and contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelSpans {
    /// Convention that names attributes.
    pub convention: SpanConvention,
    /// Contents that spans have; none by default.
    pub content: Option<ContentSides>,
}

/// Convention that names attributes of model calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpanConvention {
    /// OpenTelemetry's, for generative AI.
    #[default]
    GenAi,
    /// OpenInference's.
    OpenInference,
}

/// Sides of a model call whose contents spans have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentSides {
    /// Instructions and messages of requests.
    pub inputs: bool,
    /// Messages of responses.
    pub outputs: bool,
}
