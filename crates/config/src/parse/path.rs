//! Field paths in the form `spec.rules[0].name`.

use serde_ignored::Path;

/// The path of an ignored field, below `root`.
pub(super) fn of_ignored(root: &str, path: &Path<'_>) -> String {
    let mut text = root.to_owned();
    append(&mut text, path);
    text
}

fn append(text: &mut String, path: &Path<'_>) {
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            append(text, parent);
            text.push_str(&format!("[{index}]"));
        }
        Path::Map { parent, key } => {
            append(text, parent);
            push_key(text, key);
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => append(text, parent),
    }
}

/// Appends one field's name.
pub(super) fn push_key(text: &mut String, key: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(key);
}

/// Puts two paths together; either may be empty.
pub(super) fn join(root: &str, rest: &str) -> String {
    match (root.is_empty(), rest.is_empty() || rest == ".") {
        (_, true) => root.to_owned(),
        (true, false) => rest.to_owned(),
        (false, false) if rest.starts_with('[') => format!("{root}{rest}"),
        (false, false) => format!("{root}.{rest}"),
    }
}
