//! Members of a JSON object, found and set without a look at the rest.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    document::{Document, Members},
    json, message_parts,
    scan::ScanError,
    splice::Edit,
};

/// A member that an object is to have, or not to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, without anything to escape.
    pub name: &'static str,
    /// Its value as JSON; `None` takes it out.
    pub value: Option<Bytes>,
}

impl Member {
    /// A member with this value.
    pub fn new(name: &'static str, value: impl Into<Bytes>) -> Self {
        Self { name, value: Some(value.into()) }
    }

    /// A member that is not to be there.
    pub const fn absent(name: &'static str) -> Self {
        Self { name, value: None }
    }
}

/// The edits that give the outermost object these members: each that is there gets its value, under however many copies of its name, and
/// those that are absent come first in it. One that is to go becomes `null`, which APIs read as absent.
///
/// # Errors
/// The body is no JSON object.
pub fn member_edits(body: &[u8], members: &[Member]) -> Result<Vec<Edit>, ScanError> {
    let mut found = Found { members, edits: Vec::new(), present: 0, is_empty: true };
    Document::default().read(body, true, &mut found)?;
    let Found { mut edits, present, is_empty, .. } = found;
    let mut text = Vec::new();
    for (_, member) in members.iter().enumerate().filter(|(place, _)| present & (1 << place) == 0) {
        let Some(value) = &member.value else { continue };
        json::push_string(&mut text, member.name);
        text.push(b':');
        text.extend_from_slice(value);
        text.push(b',');
    }
    if is_empty {
        text.pop();
    }
    let begin = body.iter().position(|byte| *byte == b'{').filter(|_| !text.is_empty());
    edits.extend(begin.map(|begin| Edit { span: begin + 1..begin + 1, with: text.into() }));
    Ok(edits)
}

/// Place of the value of a member of the outermost object, the last of several; `None` where there is none, or no object.
pub fn member(body: &[u8], name: &str) -> Option<Range<usize>> {
    let mut found = One { name, value: None };
    Document::default().read(body, true, &mut found).ok()?;
    found.value
}

/// Place of the first object in a list; `None` where there is none. The list is JSON.
pub fn first_object(list: &[u8]) -> Option<Range<usize>> {
    message_parts::containers(list).next().filter(|span| list[span.start] == b'{')
}

struct Found<'m> {
    members: &'m [Member],
    edits: Vec<Edit>,
    /// A bit for each of the members.
    present: u32,
    is_empty: bool,
}

impl Members for Found<'_> {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        self.is_empty = false;
        let name = json::text(body, &name)?;
        if let Some(place) = self.members.iter().position(|member| *member.name == *name) {
            self.present |= 1 << place;
            let with = self.members[place].value.clone().unwrap_or_else(|| Bytes::from_static(b"null"));
            self.edits.push(Edit { span: value, with });
        }
        Ok(())
    }
}

struct One<'m> {
    name: &'m str,
    value: Option<Range<usize>>,
}

impl Members for One<'_> {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        if *self.name == *json::text(body, &name)? {
            self.value = Some(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::splice;

    fn edited(body: &str, members: &[Member]) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let edits = member_edits(&body, members).unwrap();
        String::from_utf8(splice(&body, edits).to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn members_are_set_wherever_they_are_and_nothing_else_changes() {
        let members = [Member::new("stream", "false"), Member::absent("stream_options"), Member::new("max_tokens", "1")];
        for (body, expected) in [
            ("{}", r#"{"stream":false,"max_tokens":1}"#),
            (" { } ", r#" {"stream":false,"max_tokens":1 } "#),
            (r#"{"a" : 1.50}"#, r#"{"stream":false,"max_tokens":1,"a" : 1.50}"#),
            (
                r#"{"stream":true,"stream_options":{"include_usage":true},"max_tokens":9}"#,
                r#"{"stream":false,"stream_options":null,"max_tokens":1}"#,
            ),
            // Of several the engine may read any, and names may be escaped.
            (
                r#"{"max_tokens":9,"max_t\u006fkens":8,"b":{"stream":true}}"#,
                r#"{"stream":false,"max_tokens":1,"max_t\u006fkens":1,"b":{"stream":true}}"#,
            ),
        ] {
            assert_eq!(edited(body, &members), expected, "{body}");
        }
        assert!(member_edits(b"[1]", &members).is_err());
        assert!(member_edits(b"{", &members).is_err());
    }

    #[test]
    fn a_members_value_is_found_as_it_stands() {
        let body = br#"{"a":{"kv":1},"kv": {"x":[[1, 2]]} ,"kv":{"y":2}}"#;
        assert_eq!(member(body, "kv").map(|span| &body[span]), Some(&br#"{"y":2}"#[..]));
        assert_eq!(member(body, "b"), None);
        assert_eq!(member(b"[1]", "a"), None);
        assert_eq!(first_object(br#"[ {"a":[{}]}, {}]"#), Some(2..12));
        assert_eq!((first_object(b"[]"), first_object(b"[[{}]]")), (None, None));
    }
}
