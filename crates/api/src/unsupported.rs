//! Fields that the API has and the gateway does not act on.

use std::fmt;

use serde::de::{Deserialize, Deserializer};

/// Remembers that a field was set, whatever its value, so that a condition can name it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unsupported, D::Error> {
        // Not `IgnoredAny`: the field is known, and must not be listed among those that are not.
        serde_json::Value::deserialize(deserializer).map(|_| Unsupported)
    }
}

impl fmt::Debug for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unsupported")
    }
}

/// Gives a spec the list of its unsupported fields that are set, by path below `spec`.
macro_rules! unsupported_fields {
    ($spec:ty, $($path:literal => |$this:ident| $is_set:expr),+ $(,)?) => {
        impl $spec {
            /// The paths below `spec` of fields that are set and not acted on.
            pub fn unsupported(&self) -> Vec<&'static str> {
                let mut paths = Vec::new();
                $(
                    let $this = self;
                    if $is_set {
                        paths.push($path);
                    }
                )+
                paths
            }
        }
    };
}
pub(crate) use unsupported_fields;
