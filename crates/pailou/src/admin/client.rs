//! Requests to the admin endpoint of a running gateway.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use pailou_snapshot::Name;

use crate::exit::Error;

/// Time that the endpoint may take for each piece of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the receipt of a request that has yet to come.
const TRACE_TIMEOUT: Duration = Duration::from_secs(250);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// An answer.
#[derive(Debug)]
pub(crate) struct AdminAnswer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The token of a file, if one is given.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn read_token(file: Option<&Path>) -> Result<Option<String>, Error> {
    let Some(path) = file else { return Ok(None) };
    let read = fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(Some(read.trim().to_owned()))
}

/// The target of a question about the proxies of a Gateway, or about all.
pub(crate) fn of_gateway(target: &str, gateway: Option<&Name>) -> String {
    let Some(gateway) = gateway else { return target.to_owned() };
    let sign = if target.contains('?') { '&' } else { '?' };
    format!("{target}{sign}gateway={gateway}")
}

/// Asks for a path.
///
/// # Errors
/// No answer, or none in HTTP.
pub(crate) fn get(address: SocketAddr, target: &str, token: Option<&str>) -> io::Result<AdminAnswer> {
    ask(address, &format!("GET {target}"), token, None)
}

/// Sends a JSON document to a path.
///
/// # Errors
/// No answer, or none in HTTP.
pub(crate) fn post(address: SocketAddr, target: &str, token: Option<&str>, document: &str) -> io::Result<AdminAnswer> {
    ask(address, &format!("POST {target}"), token, Some(document))
}

fn ask(address: SocketAddr, line: &str, token: Option<&str>, document: Option<&str>) -> io::Result<AdminAnswer> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    let timeout = if line.starts_with("GET /receipts/next") { TRACE_TIMEOUT } else { ANSWER_TIMEOUT };
    stream.set_read_timeout(Some(timeout))?;
    let mut request = format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    if let Some(token) = token {
        request.push_str(&format!("authorization: Bearer {token}\r\n"));
    }
    if let Some(document) = document {
        request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", document.len()));
    }
    request.push_str("\r\n");
    request.push_str(document.unwrap_or_default());
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
    let head = head.ok_or_else(|| io::Error::other("its answer is not HTTP"))?;
    let line = String::from_utf8_lossy(&answer[..head]).lines().next().unwrap_or_default().to_owned();
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other("its answer is not HTTP"))?;
    Ok(AdminAnswer { status, body: answer.split_off(head) })
}

impl AdminAnswer {
    /// The error of an answer that is none: the endpoint's own words.
    pub(crate) fn refusal(&self) -> io::Error {
        let words = String::from_utf8_lossy(&self.body);
        io::Error::other(format!("it answered {}: {}", self.status, words.trim()))
    }
}
