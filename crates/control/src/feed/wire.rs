//! The feed's messages, one JSON line each.

use pailou_api::ObjectKey;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line, in bytes. Kubernetes keeps no object of more than 1.5 MiB.
pub(crate) const MAX_LINE: usize = 8 << 20;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE", deny_unknown_fields)]
pub(crate) enum Line {
    /// An object is as it stands here.
    Upsert {
        /// The object.
        object: serde_json::Value,
    },
    /// The object was deleted, or its Gateway needs it no longer.
    Delete {
        /// Its identity.
        key: WireKey,
    },
    /// The batch ends: what came since the last one holds from now on, together.
    Synced {},
    /// Nothing has changed.
    Pulse {},
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
enum WrittenLine<'a> {
    Upsert { object: &'a RawValue },
    Delete { key: WireKey },
    Synced {},
    Pulse {},
}

/// An [`ObjectKey`] as it is written.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct WireKey {
    group: String,
    kind: String,
    namespace: String,
    name: String,
}

impl From<&ObjectKey> for WireKey {
    fn from(key: &ObjectKey) -> Self {
        let ObjectKey { group, kind, namespace, name } = key;
        Self { group: group.to_string(), kind: kind.to_string(), namespace: namespace.clone(), name: name.clone() }
    }
}

impl From<WireKey> for ObjectKey {
    fn from(key: WireKey) -> Self {
        ObjectKey { group: key.group.into(), kind: key.kind.into(), namespace: key.namespace, name: key.name }
    }
}

/// Writes that an object is as its JSON says. JSON that is none is left out: it could not have been read to begin with.
pub(crate) fn write_upsert(lines: &mut Vec<u8>, json: &str) {
    if let Ok(object) = serde_json::from_str(json) {
        write(lines, &WrittenLine::Upsert { object });
    }
}

/// Writes the deletion of an object.
pub(crate) fn write_delete(lines: &mut Vec<u8>, key: &ObjectKey) {
    write(lines, &WrittenLine::Delete { key: key.into() });
}

/// Writes that a batch ends.
pub(crate) fn write_synced(lines: &mut Vec<u8>) {
    write(lines, &WrittenLine::Synced {});
}

/// Writes that nothing has changed.
pub(crate) fn write_pulse(lines: &mut Vec<u8>) {
    write(lines, &WrittenLine::Pulse {});
}

fn write(lines: &mut Vec<u8>, line: &WrittenLine<'_>) {
    // Writing to a Vec cannot fail, nor can these types be written wrongly.
    let _ = serde_json::to_writer(&mut *lines, line);
    lines.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let key = ObjectKey::new("gateway.networking.k8s.io", "HTTPRoute", "default", "r");
        let mut lines = Vec::new();
        write_upsert(&mut lines, r#"{"kind":"HTTPRoute","n":12345678901234567890}"#);
        write_delete(&mut lines, &key);
        write_synced(&mut lines);
        write_pulse(&mut lines);
        let read: Vec<Line> = String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(matches!(&read[0], Line::Upsert { object } if object["kind"] == "HTTPRoute"));
        assert!(matches!(&read[2], Line::Synced {}));
        assert!(matches!(&read[3], Line::Pulse {}));
        let Line::Delete { key: read } = read.into_iter().nth(1).unwrap() else { panic!("no deletion") };
        assert_eq!(ObjectKey::from(read), key);
    }
}
