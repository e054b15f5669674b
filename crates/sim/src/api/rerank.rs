//! `POST /v1/rerank`, `/rerank`, `/v1/score`, `/score`: how well texts fit each other.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, Model, now};
use crate::generation::Prompt;
use crate::reply::{ApiError, Reply, json as reply_json};
use crate::service::Call;
use crate::tokenizer::{hash_bytes, mix};

/// Most pairs in one request.
const MAX_PAIRS: usize = 1024;

#[derive(Deserialize)]
struct RerankRequest {
    model: Option<String>,
    query: String,
    documents: Vec<Document>,
    top_n: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn into_text(self) -> String {
        match self {
            Document::Text(text) | Document::Object { text } => text,
        }
    }
}

#[derive(Deserialize)]
struct ScoreRequest {
    model: Option<String>,
    #[serde(alias = "queries")]
    text_1: OneOrMany,
    #[serde(alias = "documents")]
    text_2: OneOrMany,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Vec<String> {
    fn from(texts: OneOrMany) -> Self {
        match texts {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// Documents in order of relevance to a query.
pub(crate) async fn rerank(app: &Arc<App>, call: &Call) -> Reply {
    let request: RerankRequest = call.json()?;
    let model = app.model(request.model)?;
    let documents: Vec<String> = request.documents.into_iter().map(Document::into_text).collect();
    let pairs: Vec<_> = documents.iter().map(|document| (request.query.as_str(), document.as_str())).collect();
    let (scores, tokens) = judge(app, &model, &pairs).await?;
    let mut ranking: Vec<(usize, f64)> = scores.into_iter().enumerate().collect();
    ranking.sort_by(|a, b| b.1.total_cmp(&a.1));
    let top = request.top_n.filter(|top| *top > 0).unwrap_or(ranking.len());
    let results: Vec<Value> = ranking
        .iter()
        .take(top)
        .map(|(index, score)| json!({"index": index, "document": {"text": documents[*index]}, "relevance_score": score}))
        .collect();
    reply_json(&json!({
        "id": app.id("rerank-"), "model": model.name, "results": results,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// Scores of pairs: one text against each, or texts side by side.
pub(crate) async fn score(app: &Arc<App>, call: &Call) -> Reply {
    let request: ScoreRequest = call.json()?;
    let model = app.model(request.model)?;
    let (first, second): (Vec<String>, Vec<String>) = (request.text_1.into(), request.text_2.into());
    if first.len() != 1 && first.len() != second.len() {
        return Err(ApiError::bad_request("`text_1` must be one text, or as many as `text_2`."));
    }
    let pairs: Vec<_> = first.iter().cycle().zip(&second).map(|(one, two)| (one.as_str(), two.as_str())).collect();
    let (scores, tokens) = judge(app, &model, &pairs).await?;
    let data: Vec<Value> =
        scores.iter().enumerate().map(|(index, score)| json!({"index": index, "object": "score", "score": score})).collect();
    reply_json(&json!({
        "id": app.id("score-"), "object": "list", "created": now(), "model": model.name, "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }))
}

/// Reads each pair and scores it; with the tokens read.
async fn judge(app: &App, model: &Model, pairs: &[(&str, &str)]) -> Result<(Vec<f64>, u32), ApiError> {
    if pairs.is_empty() || pairs.len() > MAX_PAIRS {
        return Err(ApiError::bad_request(format!("1 to {MAX_PAIRS} pairs of texts must be given.")));
    }
    let mut tickets = Vec::with_capacity(pairs.len());
    let mut tokens = 0;
    for (query, document) in pairs {
        let mut prompt = Prompt::new(app, model.clone(), None);
        prompt.message("query", query);
        prompt.message("document", document);
        tokens += prompt.tokens();
        tickets.push(prompt.read(app)?);
    }
    for ticket in &tickets {
        ticket.finished().await;
    }
    Ok((pairs.iter().map(|(query, document)| relevance(query, document)).collect(), tokens))
}

/// The share of the query's words that the document has, 0 to 1, with a little of its own for each document so that
/// no two are equal by accident.
fn relevance(query: &str, document: &str) -> f64 {
    let (query_words, document_words) = (words(query), words(document));
    let common = query_words.intersection(&document_words).count() as f64;
    let share = common / query_words.len().max(1) as f64;
    let own = mix(hash_bytes(query.as_bytes()), hash_bytes(document.as_bytes())) as f64 / u64::MAX as f64;
    0.95 * share + 0.05 * own
}

/// Lower-case words; of text without spaces, such as Chinese, its characters.
fn words(text: &str) -> HashSet<String> {
    let mut words = HashSet::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        if word.is_ascii() {
            words.insert(word.to_ascii_lowercase());
        } else {
            words.extend(word.chars().map(String::from));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_words_make_a_document_relevant() {
        let query = "Where is the gate?";
        assert!(relevance(query, "The gate is here.") > relevance(query, "Boats on a river"));
        assert!(relevance("牌樓在哪裡", "牌樓在街上") > relevance("牌樓在哪裡", "今天下雨"));
        assert!((0.0..=1.0).contains(&relevance("", "")));
    }
}
