//! HTTP/1.1 as the strictest of backends reads it: whatever could be read in two ways is an error.

/// A request that can be read in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Request {
    /// The values of a header, joined by `|`.
    pub(crate) fn header(&self, name: &str) -> String {
        let values: Vec<_> = self.headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect();
        values.join("|")
    }

    /// `METHOD target host body`, for comparison.
    pub(crate) fn shown(&self) -> String {
        format!("{} {} {} {}", self.method, self.target, self.header("host"), self.body).trim_end().to_owned()
    }
}

/// All requests in these bytes, and whether they end within one.
///
/// # Errors
/// Bytes that are ambiguous or no HTTP.
pub(crate) fn requests(mut bytes: &[u8]) -> Result<(Vec<Request>, bool), String> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match request(bytes)? {
            None => return Ok((requests, true)),
            Some((request, rest)) => {
                requests.push(request);
                bytes = rest;
            }
        }
    }
    Ok((requests, false))
}

/// The first request, and what is behind it; `None` where more has to come.
fn request(bytes: &[u8]) -> Result<Option<(Request, &[u8])>, String> {
    let Some((head, rest)) = split(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = Vec::new();
    for line in String::from_utf8_lossy(head).split("\r\n") {
        if line.chars().any(|char| char.is_control() && char != '\t') {
            return Err(format!("a control character in {line:?}"));
        }
        lines.push(line.to_owned());
    }
    let [method, target, "HTTP/1.1"] = lines[0].split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("the line {:?}", lines[0]));
    };
    let mut request = Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: String::new() };
    for line in &lines[1..] {
        let Some((name, value)) = line.split_once(": ") else { return Err(format!("the field {line:?}")) };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&byte)) {
            return Err(format!("the name {name:?}"));
        }
        request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    check(&request)?;
    Ok(body(&request, rest)?.map(|(body, rest)| (Request { body, ..request.clone() }, rest)))
}

fn check(request: &Request) -> Result<(), String> {
    let count = |name: &str| request.headers.iter().filter(|(found, _)| found == name).count();
    if !request.target.starts_with('/') {
        return Err(format!("the target {:?}", request.target));
    }
    if count("host") != 1 || count("content-length") > 1 || count("transfer-encoding") > 1 {
        return Err(format!("a field that is missing or there twice: {:?}", request.headers));
    }
    if count("content-length") + count("transfer-encoding") > 1 {
        return Err(format!("two framings: {:?}", request.headers));
    }
    if count("transfer-encoding") == 1 && request.header("transfer-encoding") != "chunked" {
        return Err(format!("the coding {:?}", request.header("transfer-encoding")));
    }
    Ok(())
}

fn body<'a>(request: &Request, rest: &'a [u8]) -> Result<Option<(String, &'a [u8])>, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let length = request.header("content-length");
    if !length.is_empty() {
        if !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("the length {length:?}"));
        }
        let length: usize = length.parse().map_err(|_| length.clone())?;
        return Ok((rest.len() >= length).then(|| (text(&rest[..length]), &rest[length..])));
    }
    if request.header("transfer-encoding").is_empty() {
        return Ok(Some((String::new(), rest)));
    }
    let (mut body, mut rest) = (Vec::new(), rest);
    loop {
        let Some((size, behind)) = split(rest, b"\r\n") else { return Ok(None) };
        let size = text(size);
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("the chunk size {size:?}"));
        }
        let size = usize::from_str_radix(&size, 16).map_err(|error| error.to_string())?;
        if behind.len() < size + 2 {
            return Ok(None);
        }
        if &behind[size..size + 2] != b"\r\n" {
            return Err("a chunk without an end, or trailers that nobody announced".to_owned());
        }
        body.extend_from_slice(&behind[..size]);
        rest = &behind[size + 2..];
        if size == 0 {
            return Ok(Some((text(&body), rest)));
        }
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let begins = bytes.windows(at.len()).position(|window| window == at)?;
    Some((&bytes[..begins], &bytes[begins + at.len()..]))
}
