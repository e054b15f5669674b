//! Questions from one simulated engine to another: one HTTP request on a connection of its own.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::reply::ApiError;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;

/// Asks for a prompt; gives its tokens.
pub(super) async fn ask(host: &str, port: u16, path: &str, question: &Value, patience: Duration) -> Result<u32, ApiError> {
    match timeout(patience, exchange(host, port, path, question)).await {
        Ok(Ok(Some(tokens))) => Ok(tokens),
        Ok(Ok(None)) => Err(lost(&format!("{host}:{port} does not have the prompt"))),
        Ok(Err(error)) => Err(lost(&format!("{host}:{port}: {error}"))),
        Err(_) => Err(lost(&format!("{host}:{port} did not send the prompt in time"))),
    }
}

async fn exchange(host: &str, port: u16, path: &str, question: &Value) -> std::io::Result<Option<u32>> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let body = question.to_string();
    let length = body.len();
    let request = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map(|end| &answer[end + 4..]);
    let answer: Option<Value> =
        body.filter(|_| answer.starts_with(b"HTTP/1.1 200")).and_then(|body| serde_json::from_slice(body).ok());
    Ok(answer.and_then(|answer| answer.get("tokens")?.as_u64()).map(|tokens| tokens as u32))
}

/// A prompt that does not arrive.
pub(super) fn lost(why: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "KVTransferError", format!("KV transfer failed: {why}."))
}
