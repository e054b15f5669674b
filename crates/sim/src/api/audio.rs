//! `POST /v1/audio/transcriptions`: a multipart form with a file.

use std::sync::Arc;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::json;

use crate::app::App;
use crate::generation::{Prompt, Wish};
use crate::reply::{ApiError, Reply, json as reply_json, with_type};
use crate::service::Call;
use crate::tokenizer::hash_bytes;

/// Fields of a form that are read.
const MAX_FIELDS: usize = 64;
/// Bytes that count as a second of sound: 16-bit mono at 16 kHz.
const BYTES_PER_SECOND: usize = 32_000;

/// A transcript that is a function of the file's bytes.
pub(crate) async fn transcribe(app: &Arc<App>, call: &Call) -> Reply {
    let content_type = call.head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type
        .and_then(boundary)
        .ok_or_else(|| ApiError::bad_request("The body must be multipart/form-data with a boundary."))?;
    let fields = parse(&call.body, &boundary).ok_or_else(|| ApiError::bad_request("The multipart form is malformed."))?;
    let text_of = |name: &str| {
        let field = fields.iter().rfind(|field| field.name == name)?;
        std::str::from_utf8(field.content).ok()
    };
    let model = app.model(text_of("model").map(str::to_owned))?;
    let file =
        fields.iter().find(|field| field.name == "file").ok_or_else(|| ApiError::bad_request("The form has no field `file`."))?;
    let mut prompt = Prompt::new(app, model, None);
    prompt.message("audio", &format!("{:016x}", hash_bytes(file.content)));
    let mut generation = prompt.generate(app, &Wish::default()).await?;
    generation.finish().await;
    let transcript = generation.completions().next().map_or("", |(text, _)| text.trim());
    let seconds = file.content.len().div_ceil(BYTES_PER_SECOND);
    match text_of("response_format").unwrap_or("json") {
        "json" => reply_json(&json!({"text": transcript, "usage": {"type": "duration", "seconds": seconds}})),
        "verbose_json" => reply_json(&json!({
            "task": "transcribe", "language": text_of("language").unwrap_or("en"), "duration": seconds,
            "text": transcript, "segments": [],
        })),
        "text" => Ok(with_type(StatusCode::OK, "text/plain; charset=utf-8", format!("{transcript}\n"))),
        _ => Err(ApiError::bad_request("`response_format` must be json, verbose_json or text.")),
    }
}

/// A field of a form.
#[derive(Debug, PartialEq, Eq)]
struct Field<'a> {
    name: String,
    content: &'a [u8],
}

/// The boundary that a `multipart/form-data` content type names.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let parameter = |name: &str, part: &str| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    };
    parameters.split(';').find_map(|part| parameter("boundary", part)).filter(|value| !value.is_empty())
}

/// The fields of a form (RFC 7578); `None` when it is not one, is cut short or has too many.
fn parse<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Field<'a>>> {
    let first = format!("--{boundary}");
    let next = format!("\r\n--{boundary}");
    let mut rest = &body[find(body, first.as_bytes())? + first.len()..];
    let mut fields = Vec::new();
    while !rest.starts_with(b"--") {
        rest = rest.strip_prefix(b"\r\n")?;
        let head_end = find(rest, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&rest[..head_end]).ok()?;
        let content = &rest[head_end + 4..];
        let end = find(content, next.as_bytes())?;
        fields.push(Field { name: field_name(head)?, content: &content[..end] });
        rest = &content[end + next.len()..];
        if fields.len() > MAX_FIELDS {
            return None;
        }
    }
    Some(fields)
}

fn field_name(head: &str) -> Option<String> {
    let disposition = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let value = disposition.split(';').find_map(|part| part.trim().strip_prefix("name="))?;
    Some(value.trim_matches('"').to_owned())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FORM: &[u8] = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper\r\n\
        --x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\
        Content-Type: audio/wav\r\n\r\n\x00\r\n\xff\r\n--x--\r\n";

    #[test]
    fn fields_are_found_with_their_bytes() {
        let fields = parse(FORM, "x").unwrap();
        assert_eq!(fields[0], Field { name: "model".to_owned(), content: b"whisper" });
        assert_eq!(fields[1], Field { name: "file".to_owned(), content: b"\x00\r\n\xff" });
    }

    #[test]
    fn a_form_cut_short_is_refused() {
        for length in 0..FORM.len() - 6 {
            assert_eq!(parse(&FORM[..length], "x"), None, "after {length} bytes");
        }
    }

    #[test]
    fn the_boundary_may_be_quoted_and_must_be_there() {
        assert_eq!(boundary("multipart/form-data; boundary=\"a b\"").as_deref(), Some("a b"));
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary=x").as_deref(), Some("x"));
        assert_eq!(boundary("multipart/form-data"), None);
        assert_eq!(boundary("application/json; boundary=x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let framed = [b"--x\r\n".as_slice(), &body].concat();
            prop_assert!(parse(&framed, "x").is_none_or(|fields| fields.len() <= MAX_FIELDS + 1));
        }
    }
}
