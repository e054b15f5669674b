//! The documents of a YAML stream, found by their separators.
//!
//! A stream is split before it is parsed, so that a document with broken syntax does not take the
//! rest along. YAML forbids `---` and `...` at the beginning of a line inside a document, in every
//! kind of scalar, so the split is exact.

/// One document of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document<'a> {
    /// Its text, without the separator.
    pub(super) text: &'a str,
    /// The line on which the text begins, from 1.
    pub(super) line: usize,
}

/// The documents of a stream that have more in them than blanks, comments and directives.
pub(super) fn split(stream: &str) -> impl Iterator<Item = Document<'_>> {
    let mut rest = Some(Document { text: stream, line: 1 });
    std::iter::from_fn(move || {
        while let Some(current) = rest.take() {
            let (document, next) = cut(&current);
            rest = next;
            if let Some(document) = without_preamble(&document) {
                return Some(document);
            }
        }
        None
    })
}

/// Whether a separator divides the stream. No line of JSON can look like one: a string holds no line break.
pub(super) fn are_several(stream: &str) -> bool {
    stream.lines().any(|line| is_separator(line, "---"))
}

/// The document from its first line that is not blank, a comment or a directive.
fn without_preamble<'a>(document: &Document<'a>) -> Option<Document<'a>> {
    let mut offset = 0;
    for (index, line) in document.text.split_inclusive('\n').enumerate() {
        if has_content(line) {
            return Some(Document { text: &document.text[offset..], line: document.line + index });
        }
        offset += line.len();
    }
    None
}

/// The text up to the first separator, and what follows it.
fn cut<'a>(stream: &Document<'a>) -> (Document<'a>, Option<Document<'a>>) {
    let mut offset = 0;
    for (index, line) in stream.text.split_inclusive('\n').enumerate() {
        if let Some(marker) = ["---", "..."].into_iter().find(|marker| is_separator(line, marker)) {
            let document = Document { text: &stream.text[..offset], line: stream.line };
            let next = Document { text: &stream.text[offset + marker.len()..], line: stream.line + index };
            return (document, Some(next));
        }
        offset += line.len();
    }
    (Document { text: stream.text, line: stream.line }, None)
}

fn is_separator(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#') && !line.starts_with('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(stream: &str) -> Vec<(usize, &str)> {
        split(stream).map(|document| (document.line, document.text.trim())).collect()
    }

    #[test]
    fn separators_at_the_beginning_of_a_line_cut() {
        assert_eq!(texts("a: 1\n---\nb: 2\n--- # c\nd: 3\n"), [(1, "a: 1"), (3, "b: 2"), (5, "d: 3")]);
        assert_eq!(texts("---\r\na: 1\r\n...\r\n---\r\nb: 2"), [(2, "a: 1"), (5, "b: 2")]);
        assert_eq!(texts("--- {a: 1}\n"), [(1, "{a: 1}")]);
    }

    #[test]
    fn what_only_resembles_a_separator_does_not_cut() {
        assert_eq!(texts("a: |\n  ---\n  x\nb: ---x\n---y: 2\n").len(), 1);
    }

    #[test]
    fn a_separator_tells_a_stream_from_one_document() {
        assert!(are_several("{\"a\": 1}\n---\n{}"));
        assert!(!are_several("{\"a\": \"---\",\n  \"---\": 1}"));
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert_eq!(texts("%YAML 1.2\n---\n# nothing\n---\n\n---\na: 1\n---\n"), [(7, "a: 1")]);
        assert_eq!(texts(""), []);
    }
}
