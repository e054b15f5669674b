//! A picker's changes of headers.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::{
    core::{HeaderAppendAction, HeaderValueOption},
    ext_proc::HeaderMutation,
};

/// Applies changes: removals first, then additions, in order. It leaves pseudo-headers and headers of framing alone: they come
/// of echoes. A value overwrites, but different values of one name in the same message add up, so that an echo loses none; a
/// picker that sets and also echoes a value sets it once. It skips names and values that are no header.
pub fn apply(mutation: &HeaderMutation, headers: &mut HeaderMap) {
    apply_where(mutation, headers, |_| true);
}

/// The same, limited to the headers whose names `may_change` allows.
pub fn apply_where(mutation: &HeaderMutation, headers: &mut HeaderMap, may_change: impl Fn(&HeaderName) -> bool) {
    let changeable = |name: &str| changeable(name).filter(&may_change);
    for name in &mutation.remove_headers {
        if let Some(name) = changeable(name) {
            headers.remove(name);
        }
    }
    let mut overwritten = HashSet::new();
    for option in &mutation.set_headers {
        let Some(header) = &option.header else { continue };
        if let (Some(name), Ok(value)) = (changeable(&header.key), HeaderValue::from_bytes(header.bytes())) {
            set(option, name, value, headers, &mut overwritten);
        }
    }
}

fn set(
    option: &HeaderValueOption,
    name: HeaderName,
    value: HeaderValue,
    headers: &mut HeaderMap,
    overwritten: &mut HashSet<HeaderName>,
) {
    let action = match (option.append, option.append_action()) {
        (Some(true), _) => HeaderAppendAction::AppendIfExistsOrAdd,
        (Some(false), _) | (None, HeaderAppendAction::AppendIfExistsOrAdd) => HeaderAppendAction::OverwriteIfExistsOrAdd,
        (None, action) => action,
    };
    match action {
        HeaderAppendAction::AddIfAbsent if headers.contains_key(&name) => {}
        HeaderAppendAction::OverwriteIfExists if !headers.contains_key(&name) => {}
        HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::AddIfAbsent => {
            headers.append(name, value);
        }
        HeaderAppendAction::OverwriteIfExistsOrAdd | HeaderAppendAction::OverwriteIfExists => {
            if overwritten.insert(name.clone()) {
                headers.insert(name, value);
            } else if !headers.get_all(&name).iter().any(|known| known == value) {
                headers.append(name, value);
            }
        }
    }
}

/// The name of a header that a picker may change.
fn changeable(name: &str) -> Option<HeaderName> {
    // A pseudo-header is no header's name.
    let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
    let framing = [
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    (!framing.contains(&name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core;

    fn option(key: &str, value: &'static str, action: HeaderAppendAction) -> HeaderValueOption {
        let header = Some(core::HeaderValue::new(key, value));
        HeaderValueOption { header, append: None, append_action: action as i32, keep_empty_value: false }
    }

    #[test]
    fn headers_are_set_appended_and_removed() {
        use HeaderAppendAction::{AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd};
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("b", "1"), ("gone", "1"), ("cookie", "x"), ("cookie", "y")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mutation = HeaderMutation {
            set_headers: vec![
                option("A", "2", AppendIfExistsOrAdd),
                HeaderValueOption { append: Some(true), ..option("b", "2", AppendIfExistsOrAdd) },
                option("b", "3", AddIfAbsent),
                option("c", "1", AddIfAbsent),
                option("d", "1", OverwriteIfExists),
                option("e", "1", OverwriteIfExistsOrAdd),
                option("cookie", "x", AppendIfExistsOrAdd),
                option("cookie", "y", AppendIfExistsOrAdd),
                option("cookie", "x", AppendIfExistsOrAdd),
                option(":path", "/evil", OverwriteIfExistsOrAdd),
                option("content-length", "3", OverwriteIfExistsOrAdd),
            ],
            remove_headers: vec!["GONE".into(), ":status".into(), "host".into()],
        };
        apply(&mutation, &mut headers);
        let mut all: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
        all.sort();
        assert_eq!(all, ["a=2", "b=1", "b=2", "c=1", "cookie=x", "cookie=y", "e=1"]);
    }
}
