//! The scan of a `multipart/form-data` body (RFC 7578): `model` and `stream` among its parts, as audio APIs have them.

use std::fmt;
use std::ops::Range;

use memchr::memmem;

use crate::scan::{Encoding, MAX_MODELS, Scan};

/// Parts one body may have; the limit of Python's servers.
pub const MAX_PARTS: usize = 1000;
/// Bytes the headers of one part may have.
pub const MAX_PART_HEADERS: usize = 8 << 10;
/// RFC 2046's limit.
const MAX_BOUNDARY: usize = 70;

/// Why a form yields no [`Scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// The content type has no boundary, or one that cannot be.
    NoBoundary,
    /// The body does not divide into parts.
    Malformed {
        /// Offset of the first malformed byte.
        at: usize,
    },
    /// More than [`MAX_PARTS`] parts.
    TooManyParts,
    /// More than [`MAX_MODELS`] parts are called `model`.
    RepeatedModel,
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBoundary => f.write_str("the content type has no valid boundary"),
            Self::Malformed { at } => write!(f, "the body is not a form (byte {at})"),
            Self::TooManyParts => write!(f, "the form has more than {MAX_PARTS} parts"),
            Self::RepeatedModel => write!(f, "the form has more than {MAX_MODELS} parts called \"model\""),
        }
    }
}

impl std::error::Error for FormError {}

/// Reads a form. Of several parts with one name the last counts, as in the servers these APIs come from; a part with a file
/// name is a file and never counts. A model that is not UTF-8 is none.
pub fn scan(content_type: &str, body: &[u8]) -> Result<Scan, FormError> {
    let boundary = boundary(content_type).ok_or(FormError::NoBoundary)?;
    let mut parts = Parts::new(body, &boundary)?;
    let mut scan = Scan { encoding: Encoding::Form, ..Scan::default() };
    let mut count = 0;
    while let Some(Part { headers, value }) = parts.next_part()? {
        count += 1;
        if count > MAX_PARTS {
            return Err(FormError::TooManyParts);
        }
        match field_name(&body[headers]) {
            Some(b"model") => {
                scan.model = std::str::from_utf8(&body[value.clone()]).ok().map(str::to_owned);
                if !scan.models.push(value) {
                    return Err(FormError::RepeatedModel);
                }
            }
            Some(b"stream") => scan.stream = matches!(body[value].to_ascii_lowercase().as_slice(), b"true" | b"1"),
            _ => {}
        }
    }
    Ok(scan)
}

/// The boundary in a content type's parameters, which may be quoted.
fn boundary(content_type: &str) -> Option<Vec<u8>> {
    let (_, parameters) = content_type.split_once(';')?;
    let boundary = parameter(parameters.as_bytes(), b"boundary")?;
    ((1..=MAX_BOUNDARY).contains(&boundary.len()) && boundary.iter().all(|byte| (b' '..=b'~').contains(byte))).then_some(boundary)
}

/// The name of the form field that a part's headers announce, where it is no file.
fn field_name(headers: &[u8]) -> Option<&'static [u8]> {
    let disposition = headers.split(|&byte| byte == b'\n').find_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-disposition").then(|| &line[colon + 1..])
    })?;
    let parameters = &disposition[memchr::memchr(b';', disposition)? + 1..];
    if parameter(parameters, b"filename").is_some() || parameter(parameters, b"filename*").is_some() {
        return None;
    }
    let name = parameter(parameters, b"name")?;
    [&b"model"[..], b"stream"].into_iter().find(|known| *known == name)
}

/// The value of the first parameter called `name` in `a=b; c="d\"e"`.
fn parameter(mut rest: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    loop {
        let equals = memchr::memchr2(b'=', b';', rest)?;
        if rest[equals] == b';' {
            rest = &rest[equals + 1..];
            continue;
        }
        let this = rest[..equals].trim_ascii();
        let (value, len) = parameter_value(&rest[equals + 1..])?;
        if this.eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = &rest[equals + 1 + len..];
    }
}

/// A token or quoted string, and how many bytes it takes. `None` where a quote is not closed.
fn parameter_value(rest: &[u8]) -> Option<(Vec<u8>, usize)> {
    let start = rest.iter().position(|&byte| !matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    let Some(quoted) = rest[start..].strip_prefix(b"\"") else {
        let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
        return Some((rest[start..end].trim_ascii().to_vec(), end));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, start + 1 + at + 1)),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

/// Span of a part in the body.
struct Part {
    headers: Range<usize>,
    value: Range<usize>,
}

/// The parts of a body, one after another.
struct Parts<'a> {
    body: &'a [u8],
    delimiter: memmem::Finder<'static>,
    /// Just after the last delimiter.
    pos: usize,
}

impl<'a> Parts<'a> {
    fn new(body: &'a [u8], boundary: &[u8]) -> Result<Self, FormError> {
        let delimiter = memmem::Finder::new(&[b"\r\n--", boundary].concat()).into_owned();
        let needle = delimiter.needle();
        // The first delimiter needs no line end before it, if nothing else is before it either.
        let pos = if body.starts_with(&needle[2..]) {
            needle.len() - 2
        } else {
            delimiter.find(body).ok_or(FormError::Malformed { at: 0 })? + needle.len()
        };
        Ok(Self { body, delimiter, pos })
    }

    /// The next part, or `None` after the last.
    fn next_part(&mut self) -> Result<Option<Part>, FormError> {
        let malformed = FormError::Malformed { at: self.pos };
        let rest = &self.body[self.pos..];
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        let padding = rest.iter().position(|&byte| !matches!(byte, b' ' | b'\t')).ok_or(malformed)?;
        let headers = self.pos + padding;
        if !self.body[headers..].starts_with(b"\r\n") {
            return Err(malformed);
        }
        // Without headers, the line end just seen and the blank line are one.
        let bound = self.body.len().min(headers + MAX_PART_HEADERS + 4);
        let blank = headers + memmem::find(&self.body[headers..bound], b"\r\n\r\n").ok_or(malformed)?;
        // RFC 2046 lets the blank line's own end begin the delimiter; engines do not, and what they read is what counts.
        let value = blank + 4;
        let end = value + self.delimiter.find(&self.body[value..]).ok_or(malformed)?;
        self.pos = end + self.delimiter.needle().len();
        Ok(Some(Part { headers: headers..blank, value: value..end }))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::splice_model;

    const TYPE: &str = "multipart/form-data; boundary=b0";

    fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (disposition, value) in parts {
            body.extend(format!("--b0\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").as_bytes());
            body.extend(*value);
            body.extend(b"\r\n");
        }
        body.extend(b"--b0--\r\n");
        body
    }

    #[test]
    fn the_model_is_found_among_parts_and_files() {
        let body = form(&[
            ("name=\"file\"; filename=\"model\"", b"RIFF\r\n--b\r\n\xff"),
            ("name=\"model\"; filename=\"x\"", b"a file"),
            ("name=model", b"whisper"),
            ("name=\"stream\"", b"True"),
        ]);
        let scan = scan(TYPE, &body).unwrap();
        assert_eq!((scan.model.as_deref(), scan.stream), (Some("whisper"), true));
        let spliced = splice_model(&Bytes::from(body.clone()), &scan, "large-v3").to_bytes();
        assert_eq!(String::from_utf8_lossy(&spliced), String::from_utf8_lossy(&body).replace("whisper", "large-v3"));
    }

    #[test]
    fn of_several_models_the_last_counts_and_all_are_replaced() {
        let body = form(&[("name=\"model\"", b"a"), ("NAME = \"mod\\el\" ; x=\"; filename=1\"", b"b")]);
        let scan = scan(TYPE, &body).unwrap();
        assert_eq!(scan.model.as_deref(), Some("b"));
        let spliced = splice_model(&body.into(), &scan, "c").to_bytes();
        assert_eq!(spliced, form(&[("name=\"model\"", b"c"), ("NAME = \"mod\\el\" ; x=\"; filename=1\"", b"c")]));
        let many = form(&[("name=model", &b"a"[..]); MAX_MODELS + 1]);
        assert_eq!(super::scan(TYPE, &many), Err(FormError::RepeatedModel));
    }

    #[test]
    fn boundaries_may_be_quoted_and_must_be_possible() {
        let cases = [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("multipart/form-data;charset=x; Boundary=\"a b;c\\\"\"", Some("a b;c\"")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"abc", None),
        ];
        for (content_type, expected) in cases {
            assert_eq!(boundary(content_type).as_deref(), expected.map(str::as_bytes), "{content_type}");
        }
        assert_eq!(boundary(&format!("a/b; boundary={}", "x".repeat(71))), None);
    }

    #[test]
    fn forms_that_do_not_divide_are_refused() {
        let whole = form(&[("name=model", b"a")]);
        for cut in 0..whole.len() - 4 {
            assert!(matches!(scan(TYPE, &whole[..cut]), Err(FormError::Malformed { .. })), "{cut}");
        }
        let headers = [b"--b0\r\n", vec![b'x'; MAX_PART_HEADERS + 1].as_slice(), b"\r\n\r\n\r\n--b0--"].concat();
        assert!(matches!(scan(TYPE, &headers), Err(FormError::Malformed { .. })));
        assert_eq!(scan(TYPE, &form(&[("name=x", &b""[..]); MAX_PARTS + 1])), Err(FormError::TooManyParts));
    }

    #[test]
    fn parts_may_have_no_headers_no_value_and_padding() {
        let body = b"preamble\r\n--b0 \t\r\n\r\nx\r\n--b0\r\nContent-Disposition:form-data;name=model\r\n\r\n\r\n--b0--epilogue";
        assert_eq!(scan(TYPE, body).unwrap().model.as_deref(), Some(""));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_form_gives_back_its_model(
            before in prop::collection::vec(any::<u8>(), 0..200),
            model in "[a-zA-Z0-9/._: -]{0,40}",
            after in "(\r\n|--|b0|-|x){0,20}",
        ) {
            prop_assume!(memmem::find(&before, b"\r\n--b0").is_none() && !after.contains("\r\n--b0"));
            let body = form(&[("name=\"file\"; filename=\"f\"", &before), ("name=\"model\"", model.as_bytes()), ("name=p", after.as_bytes())]);
            let found = scan(TYPE, &body).unwrap();
            prop_assert_eq!(found.model.as_deref(), Some(model.as_str()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in "(--b0|\r\n|--|\r\n--b0|name=model|content-disposition:|;|\"|x| ){0,30}", kind in ".{0,30}") {
            let _ = scan(&format!("multipart/form-data; boundary={kind}"), body.as_bytes());
            if let Ok(found) = scan(TYPE, body.as_bytes()) {
                prop_assert!(found.model_edits("").iter().all(|edit| edit.span.end <= body.len()));
            }
        }
    }
}
