//! `POST /v1/embeddings`.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::completions::Input;
use crate::app::App;
use crate::generation::Prompt;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;
use crate::tokenizer::{hash_bytes, mix};

/// Longest embedding that a client can request.
const MAX_DIMENSIONS: u32 = 8192;
/// Most texts in one request.
const MAX_INPUTS: usize = 2048;

#[derive(Deserialize)]
struct EmbeddingRequest {
    model: Option<String>,
    input: Input,
    encoding_format: Option<Encoding>,
    dimensions: Option<u32>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// Embeds texts: unit vectors that depend on the text alone.
pub(crate) async fn create(app: &Arc<App>, call: &Call) -> Reply {
    let request: EmbeddingRequest = call.json()?;
    let model = app.model(request.model)?;
    let texts = request.input.texts()?;
    if texts.is_empty() || texts.len() > MAX_INPUTS {
        return Err(ApiError::bad_request(format!("`input` must hold 1 to {MAX_INPUTS} texts.")));
    }
    let dimensions = request.dimensions.unwrap_or(app.config.embedding_dimensions);
    if dimensions == 0 || dimensions > MAX_DIMENSIONS {
        return Err(ApiError::bad_request(format!("`dimensions` must be 1 to {MAX_DIMENSIONS}.")));
    }
    let mut tickets = Vec::with_capacity(texts.len());
    let mut tokens = 0;
    for text in &texts {
        let mut prompt = Prompt::new(app, model.clone(), None);
        prompt.text(text);
        tokens += prompt.tokens();
        tickets.push(prompt.read(app)?);
    }
    for ticket in &tickets {
        ticket.finished().await;
    }
    let encoding = request.encoding_format.unwrap_or_default();
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embed(mix(app.config.seed, model.cache_seed()), text, dimensions);
            let embedding = match encoding {
                Encoding::Float => json!(vector),
                Encoding::Base64 => Value::from(base64(&vector)),
            };
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    reply_json(&json!({
        "id": app.id("embd-"), "object": "list", "created": crate::app::now(), "model": model.name, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }))
}

/// A unit vector in a direction that `text` determines.
fn embed(seed: u64, text: &str, dimensions: u32) -> Vec<f32> {
    let mut rng = fastrand::Rng::with_seed(mix(seed, hash_bytes(text.as_bytes())));
    let mut vector: Vec<f32> = (0..dimensions).map(|_| rng.f32() * 2.0 - 1.0).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// The numbers as little-endian bytes in base64 with padding (RFC 4648, section 4).
fn base64(vector: &[f32]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let sextet = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_length_one_and_follow_the_text() {
        let vector = embed(1, "text", 300);
        assert_eq!(vector.len(), 300);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
        assert_eq!(vector, embed(1, "text", 300));
        assert_ne!(vector, embed(1, "texts", 300));
    }

    #[test]
    fn base64_is_that_of_the_little_endian_bytes() {
        assert_eq!(base64(&[1.0]), "AACAPw==");
        assert_eq!(base64(&[1.0, -2.0]), "AACAPwAAAMA=");
        assert_eq!(base64(&[1.0, -2.0, 0.5]), "AACAPwAAAMAAAAA/");
        assert_eq!(base64(&[]), "");
    }
}
