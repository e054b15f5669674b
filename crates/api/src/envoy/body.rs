//! Bodies of responses that the gateway makes up.

use serde::Deserialize;

use crate::refs::LocalObjectReference;

/// A response's body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawBody")]
pub enum CustomResponseBody {
    /// The text itself.
    Inline(String),
    /// A ConfigMap: its key `response.body`, or its only key.
    ValueRef(LocalObjectReference),
}

/// A body whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBody {
    /// `type: Inline` without the text.
    #[error("a body of type Inline needs the field inline")]
    Inline,
    /// `type: ValueRef` without the reference.
    #[error("a body of type ValueRef needs the field valueRef")]
    ValueRef,
    /// A reference to something else than a ConfigMap.
    #[error("a body's valueRef must name a ConfigMap of the core group")]
    NotConfigMap,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBody {
    #[serde(rename = "type", default)]
    kind: BodyType,
    #[serde(default)]
    inline: Option<String>,
    #[serde(default)]
    value_ref: Option<LocalObjectReference>,
}

#[derive(Default, Deserialize)]
enum BodyType {
    #[default]
    Inline,
    ValueRef,
}

impl TryFrom<RawBody> for CustomResponseBody {
    type Error = InvalidBody;

    fn try_from(raw: RawBody) -> Result<CustomResponseBody, InvalidBody> {
        match raw.kind {
            BodyType::Inline => raw.inline.map(CustomResponseBody::Inline).ok_or(InvalidBody::Inline),
            BodyType::ValueRef => {
                let reference = raw.value_ref.ok_or(InvalidBody::ValueRef)?;
                if reference.kind == "ConfigMap" && reference.group.is_empty() {
                    Ok(CustomResponseBody::ValueRef(reference))
                } else {
                    Err(InvalidBody::NotConfigMap)
                }
            }
        }
    }
}
