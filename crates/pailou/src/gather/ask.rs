//! Questions to proxies' admin endpoints: a few at once, each with a deadline and a bound.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use tokio::{sync::Semaphore, task::JoinSet, time};

use super::{ProxySource, ProxyTarget};
use crate::exchange::exchange;

/// Proxies that are asked at the same time.
pub(super) const MAX_AT_ONCE: usize = 16;

/// A question.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) path: String,
    /// A JSON document to send, by POST.
    pub(crate) document: Option<Bytes>,
    /// Longest answer, in bytes.
    pub(crate) most: usize,
    /// Time for the whole answer.
    pub(crate) deadline: Duration,
}

/// An answer of status 200, or why there is none.
pub(crate) type Answer = Result<Bytes, Failure>;

/// A proxy's answer that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// In words for the operator.
    pub(crate) why: String,
    /// Whether it would not answer another question either.
    pub(crate) is_away: bool,
}

impl Failure {
    fn away(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_away: true }
    }
}

/// A question that takes longer waits for something to happen, so its end says nothing about the proxy.
const MAX_PROMPT: Duration = Duration::from_secs(5);

impl Question {
    /// A GET that a proxy answers at once.
    pub(crate) fn get(path: impl Into<String>, most: usize) -> Self {
        Self { path: path.into(), document: None, most, deadline: Duration::from_secs(2) }
    }
}

/// Asks `at_once` of them at the same time, and hands on each answer as it comes. Dropping it ends the questions.
pub(super) async fn ask_all(
    source: &dyn ProxySource,
    questions: impl IntoIterator<Item = (ProxyTarget, Question)>,
    at_once: usize,
    mut take: impl FnMut(&ProxyTarget, Answer),
) {
    let places = Arc::new(Semaphore::new(at_once));
    let mut tasks = JoinSet::new();
    for (proxy, question) in questions {
        let Some(address) = proxy.admin else {
            take(&proxy, Err(Failure::away("it has no address yet")));
            continue;
        };
        let Some(token) = source.token(&proxy) else {
            take(&proxy, Err(Failure::away("the controller cannot sign a token yet")));
            continue;
        };
        let places = places.clone();
        tasks.spawn(async move {
            // Nobody closes it.
            let _place = places.acquire_owned().await;
            let answer = time::timeout(question.deadline, ask(address, &token, &question)).await;
            let late = || Failure {
                why: format!("it does not answer within {} s", question.deadline.as_secs_f64()),
                is_away: question.deadline <= MAX_PROMPT,
            };
            (proxy, answer.unwrap_or_else(|_| Err(late())))
        });
    }
    while let Some(done) = tasks.join_next().await {
        if let Ok((proxy, answer)) = done {
            take(&proxy, answer);
        }
    }
}

async fn ask(address: SocketAddr, token: &str, question: &Question) -> Answer {
    let method = if question.document.is_some() { Method::POST } else { Method::GET };
    let request = Request::builder()
        .method(method)
        .uri(&question.path)
        .header(HOST, address.to_string())
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(question.document.clone().unwrap_or_default()));
    let request = request.map_err(|error| Failure { why: error.to_string(), is_away: false })?;
    let (response, _connection) =
        exchange(address, request).await.map_err(|error| Failure::away(format!("it does not answer: {error}")))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), question.most).collect().await;
    let body = body.map_err(|error| Failure { why: error.to_string(), is_away: false })?.to_bytes();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(Failure::away(format!("it refuses the controller's token ({}): is it of an older version?", status.as_u16())))
        }
        _ => {
            let words: String = String::from_utf8_lossy(&body).trim().chars().take(200).collect();
            Err(Failure { why: format!("it answers {}: {words}", status.as_u16()), is_away: false })
        }
    }
}
