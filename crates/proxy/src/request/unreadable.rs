//! Model calls whose body the gateway cannot read: a pool would serve them under whatever name and priority they hide.

use http::{Method, StatusCode, header};
use pailou_ai::{Api, BodyError, BodyKind, ScanError};

use super::outgoing::Outgoing;
use crate::{
    content_coding::{codings, unsupported},
    error::{Error, Flag},
    request_input::ReadBody,
};

/// Refuses a model call to a pool whose body was not understood. Requests to other paths pass as they are, unless engines of the pool may hand
/// KV cache over (`is_apart`): a body to a path that is not known can name hosts to fetch it from.
///
/// # Errors
/// 415 for a content coding or a content type that cannot be read; 400 for a body that is not of its kind.
pub(super) fn check(outgoing: &Outgoing, call: Option<&ReadBody>, is_apart: bool) -> Result<(), Error> {
    let is_call = outgoing.method == Method::POST && Api::from_path(outgoing.path()).is_some_and(names_model_of_pool);
    let is_other = || is_apart && Api::from_path(outgoing.path()).is_none();
    if let Some(call) = call
        && let Some(Err(error)) = &call.scan
        && (is_call || is_other() && may_have_members(error, call.text()))
    {
        return Err(malformed(error));
    }
    if !is_call {
        return Ok(());
    }
    if codings(&outgoing.headers).is_none() {
        return Err(unsupported());
    }
    let content_type = outgoing.headers.get(header::CONTENT_TYPE);
    // A type that is no text is none that could be read.
    let kind = content_type.map_or(Some(BodyKind::Json), |it| BodyKind::from_content_type(it.to_str().ok().or(Some("?"))));
    match kind {
        Some(_) => Ok(()),
        None => {
            let message = "the request's Content-Type is not supported where the `model` in a body counts; send application/json";
            let error = Error::new(Flag::NoRoute, message).with_code("unsupported_content_type");
            Err(Error { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..error })
        }
    }
}

/// Whether a body that is not understood here may be an object to a more lenient reader, perhaps in UTF-16 or after a byte order mark.
fn may_have_members(error: &BodyError, text: &[u8]) -> bool {
    match error {
        BodyError::Json(ScanError::Empty) | BodyError::Form(_) => false,
        BodyError::Json(ScanError::NotObject) => !text.trim_ascii_start().first().is_none_or(u8::is_ascii_graphic),
        BodyError::Json(_) => true,
    }
}

/// The error for a body that is not of the kind that it says: model servers, too, answer 400.
pub(super) fn malformed(error: &BodyError) -> Error {
    let error = Error::new(Flag::NoRoute, format!("{error}; routes here go by the `model` that it names"));
    Error { status: StatusCode::BAD_REQUEST, ..error }
}

/// Tokenizers give the same answer whatever their model is called here.
fn names_model_of_pool(api: Api) -> bool {
    api.names_model() && !matches!(api, Api::Tokenize | Api::Detokenize)
}
