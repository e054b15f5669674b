//! The request that the command line describes.

use std::{fs, path::Path};

use pailou_proxy::explanation::{ExplainRequest, MAX_BODY};

use crate::{cli::ExplainArgs, exit::Error};

/// Subject of an explanation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// A request that has ended, by its id.
    Receipt(String),
    /// The next one that meets an expression.
    Next(String),
    /// One that nobody sends.
    Request(ExplainRequest),
}

/// The subject that the flags name.
///
/// # Errors
/// A file cannot be read, or is no request; a header is none.
pub(super) fn of(args: &ExplainArgs) -> Result<Subject, Error> {
    if let Some(path) = &args.request {
        let text = read(path)?;
        let parsed = parse(&text).ok_or_else(|| Error::RequestFile(path.clone()))?;
        return Ok(Subject::Request(parsed));
    }
    if let Some(expression) = &args.next {
        return Ok(Subject::Next(expression.clone()));
    }
    let target = args.target.clone().unwrap_or_default();
    if !target.contains("://") {
        return Ok(Subject::Receipt(target));
    }
    let header = |line: &String| {
        let (name, value) = line.split_once(':').ok_or_else(|| Error::RequestHeader(line.clone()))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers = args.headers.iter().map(header).collect::<Result<_, Error>>()?;
    let body = match args.data.as_deref() {
        Some(data) => match data.strip_prefix('@') {
            Some(path) => Some(read(Path::new(path))?),
            None => Some(data.to_owned()),
        },
        None => None,
    };
    Ok(Subject::Request(ExplainRequest { method: args.method.clone().unwrap_or_default(), url: target, headers, body }))
}

fn read(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > 2 * MAX_BODY as u64 {
        return Err(failed(std::io::Error::other("it is longer than 2 MiB")));
    }
    fs::read_to_string(path).map_err(failed)
}

/// A request as HTTP/1.1 writes it, with either kind of line ends.
fn parse(text: &str) -> Option<ExplainRequest> {
    let (head, body) = match text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")) {
        Some((head, body)) => (head, Some(body).filter(|body| !body.is_empty())),
        None => (text, None),
    };
    let mut lines = head.lines();
    let mut line = lines.next()?.split_whitespace();
    let (method, target) = (line.next()?, line.next()?);
    let headers: Option<Vec<_>> = lines
        .filter(|line| !line.is_empty())
        .map(|line| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())))
        .collect();
    let headers = headers?;
    let url = if target.starts_with('/') {
        let (_, host) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?;
        format!("http://{host}{target}")
    } else {
        target.to_owned()
    };
    Some(ExplainRequest { method: method.to_owned(), url, headers, body: body.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_request_as_http_writes_it() {
        let text =
            "POST /v1/chat/completions HTTP/1.1\r\nHost: a.test:8080\r\ncontent-type: application/json\r\n\r\n{\"model\": \"m\"}";
        let expected = ExplainRequest {
            method: "POST".to_owned(),
            url: "http://a.test:8080/v1/chat/completions".to_owned(),
            headers: vec![
                ("Host".to_owned(), "a.test:8080".to_owned()),
                ("content-type".to_owned(), "application/json".to_owned()),
            ],
            body: Some("{\"model\": \"m\"}".to_owned()),
        };
        assert_eq!(parse(text), Some(expected.clone()));
        assert_eq!(parse(&text.replace("\r\n", "\n")), Some(expected));
        assert_eq!(parse("GET https://a.test/b").map(|it| it.url), Some("https://a.test/b".to_owned()));
        assert!(parse("").is_none() && parse("GET /").is_none() && parse("GET / HTTP/1.1\nno header").is_none());
    }
}
