//! The path of a request: faults, key, route.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, RETRY_AFTER};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde::de::DeserializeOwned;

use crate::api;
use crate::app::App;
use crate::faults::FaultKind;
use crate::kv_transfer;
use crate::metrics;
use crate::mishap::{Break, BrokenBody, End, Link};
use crate::reply::{ApiError, Body, Reply, json, with_type};

/// A request that has arrived whole.
pub(crate) struct Call {
    pub(crate) head: Parts,
    /// The path below the prefix.
    pub(crate) path: String,
    pub(crate) body: Bytes,
    pub(crate) link: Arc<Link>,
}

impl Call {
    /// The body as JSON. Of a repeated key the last counts, as in Python.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        let value: serde_json::Value = serde_json::from_slice(&self.body)
            .map_err(|error| ApiError::bad_request(format!("The body is not valid JSON: {error}.")))?;
        T::deserialize(value).map_err(|error| ApiError::bad_request(format!("Invalid request: {error}.")))
    }
}

/// Answers a request, or never does if a fault says so.
pub(crate) async fn answer(app: Arc<App>, link: Arc<Link>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let is_control = path.starts_with("/sim/") || path == "/query";
    let aside = path == "/health" || path == "/metrics" || is_control;
    if !aside {
        app.note(&head);
    }
    let fault = if is_control { None } else { app.faults.strike(path) };
    let anthropic = path.ends_with("/v1/messages") || path.ends_with("/v1/messages/count_tokens");
    let reply = match suffer(fault, &link).await {
        Some(status) => Err(injected(status)),
        None => respond(&app, head, body, &link, fault).await,
    };
    let mut response = match reply {
        Ok(response) => response,
        Err(error) if anthropic => error.into_anthropic(),
        Err(error) => error.into_response(),
    };
    if matches!(fault, Some(FaultKind::Status(_) | FaultKind::EarlyStatus(_))) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.headers_mut().insert("x-sim-server", app.server_name.clone());
    spoil(response, fault, link)
}

/// Applies a fault before the body is read. Returns the status of an immediate answer, if any.
async fn suffer(fault: Option<FaultKind>, link: &Link) -> Option<u16> {
    match fault {
        Some(FaultKind::EarlyStatus(status)) => return Some(status),
        Some(FaultKind::Delay(delay)) => tokio::time::sleep(delay).await,
        Some(FaultKind::Stall(None)) => std::future::pending().await,
        Some(FaultKind::Reset(None)) => {
            link.break_off(End::Reset);
            std::future::pending().await
        }
        Some(FaultKind::Garbage) => {
            link.break_off(End::Garbage);
            std::future::pending().await
        }
        _ => {}
    }
    None
}

/// Applies a fault to the response.
fn spoil(response: Response<Body>, fault: Option<FaultKind>, link: Arc<Link>) -> Response<Body> {
    let (chunks, how) = match fault {
        Some(FaultKind::Reset(Some(chunks))) => (chunks, Break::Reset),
        Some(FaultKind::Stall(Some(chunks))) => (chunks, Break::Stall),
        Some(FaultKind::Close(chunks)) => (chunks, Break::Close),
        Some(FaultKind::NoDone) => {
            return response.map(|mut body| {
                if let Body::Events(events) = &mut body {
                    events.without_end = true;
                }
                body
            });
        }
        _ => return response,
    };
    response.map(|body| Body::Broken(Box::new(BrokenBody::new(body, chunks, how, link))))
}

async fn respond(app: &Arc<App>, head: Parts, body: Incoming, link: &Arc<Link>, fault: Option<FaultKind>) -> Reply {
    let rate = match fault {
        Some(FaultKind::SlowRead(rate)) => Some(rate),
        _ => None,
    };
    let (body, trailers) = read(&head, body, app.config.max_body_bytes, rate).await?;
    if let Some(FaultKind::Status(status)) = fault {
        return Err(injected(status));
    }
    let path = head.uri.path().to_owned();
    let call = Call { head, path, body, link: link.clone() };
    if call.path == "/echo" || call.head.headers.contains_key("x-sim-echo") {
        return api::echo::echo(app, &call, trailers.as_ref());
    }
    route(app, call).await
}

async fn route(app: &Arc<App>, mut call: Call) -> Reply {
    match call.path.as_str() {
        "/health" => return Ok(with_type(StatusCode::OK, "text/plain", "")),
        "/metrics" => {
            let mut page = app.driver.observe(|state| metrics::render(&app.config, state));
            if app.config.kv_transfer.is_some() {
                page.push_str(&app.transfers.render());
            }
            return Ok(with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", page));
        }
        "/sim/faults" => return api::control::faults(app, &call),
        "/sim/stats" => return api::control::stats(app),
        "/sim/kv/fetch" => return kv_transfer::fetch(app, &call),
        "/sim/kv/join" => return kv_transfer::join(app, &call).await,
        "/query" => return kv_transfer::query(app).unwrap_or_else(|| Err(not_found())),
        _ => {}
    }
    if !app.config.path_prefix.is_empty() {
        let rest = call.path.strip_prefix(app.config.path_prefix.as_str()).filter(|rest| rest.starts_with('/'));
        call.path = rest.ok_or_else(not_found)?.to_owned();
    }
    authorise(app, &call)?;
    match (&call.head.method, call.path.as_str()) {
        (&Method::GET, "/v1/models") => api::models::list(app),
        (&Method::GET, path) if path.starts_with("/v1/models/") => api::models::one(app, &path["/v1/models/".len()..]),
        (&Method::GET, "/version") => json(&serde_json::json!({"version": env!("CARGO_PKG_VERSION")})),
        (&Method::POST, _) => post(app, &call).await,
        _ => Err(not_found()),
    }
}

async fn post(app: &Arc<App>, call: &Call) -> Reply {
    match call.path.as_str() {
        "/v1/chat/completions" => api::chat::create(app, call).await,
        "/v1/completions" => api::completions::create(app, call).await,
        "/inference/v1/generate" => api::generate::create(app, call).await,
        "/v1/responses" => api::responses::create(app, call).await,
        "/v1/messages" => api::messages::create(app, call).await,
        "/v1/messages/count_tokens" => api::messages::count_tokens(app, call),
        "/v1/images/generations" => api::images::create(app, call).await,
        "/v1/embeddings" => api::embeddings::create(app, call).await,
        "/v1/rerank" | "/rerank" => api::rerank::rerank(app, call).await,
        "/v1/score" | "/score" => api::rerank::score(app, call).await,
        "/v1/audio/transcriptions" => api::audio::transcribe(app, call).await,
        "/tokenize" => api::tokens::tokenize(app, call),
        "/v1/chat/completions/render" => api::tokens::render_chat(app, call),
        "/v1/completions/render" => api::tokens::render_completion(app, call),
        "/reset_prefix_cache" => api::control::reset_cache(app),
        "/detokenize" => api::tokens::untokenize(app, call),
        "/v1/load_lora_adapter" => api::models::load_adapter(app, call),
        "/v1/unload_lora_adapter" => api::models::unload_adapter(app, call),
        _ => Err(not_found()),
    }
}

fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "NotFoundError", "Not Found")
}

fn injected(status: u16) -> ApiError {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    ApiError::new(status, "InjectedFault", "This error was asked for by a fault.")
}

/// Checks the key, if one is required. Only the API is guarded, as in vLLM.
fn authorise(app: &App, call: &Call) -> Result<(), ApiError> {
    let Some(key) = &app.config.api_key else { return Ok(()) };
    let headers = &call.head.headers;
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let given = bearer.or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes));
    if given == Some(key.expose().as_bytes()) || !call.path.starts_with("/v1/") {
        return Ok(());
    }
    let message = match given {
        Some(_) => "Incorrect API key provided.",
        None => "You didn't provide an API key.",
    };
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
    Err(ApiError { code: Some("invalid_api_key"), ..error })
}

/// Reads a body of at most `limit` bytes, at `rate` bytes a second if given.
async fn read(
    head: &Parts,
    mut body: Incoming,
    limit: usize,
    rate: Option<u32>,
) -> Result<(Bytes, Option<http::HeaderMap>), ApiError> {
    let too_large = || {
        let message = format!("The request's body is larger than {limit} bytes.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    };
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut whole = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::bad_request("The request's body ended early."))?;
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        if let Some(rate) = rate {
            tokio::time::sleep(Duration::from_secs_f64(data.len() as f64 / f64::from(rate))).await;
        }
        if whole.len() + data.len() > limit {
            return Err(too_large());
        }
        if whole.is_empty() && body.is_end_stream() {
            return Ok((data, trailers));
        }
        if whole.is_empty() {
            whole.reserve(announced.unwrap_or(data.len()).max(data.len()));
        }
        whole.extend_from_slice(&data);
    }
    Ok((whole.freeze(), trailers))
}
