//! The ConfigMap with a pool's configuration.

use crate::InferencePool;

/// Annotation of an InferencePool: `NAME` or `NAME/KEY` of a ConfigMap of its namespace.
pub const ENDPOINT_PICKER_CONFIG_ANNOTATION: &str = "pailou.dev/endpoint-picker-config";

/// Name of the ConfigMap that may have a pool's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationSource<'a> {
    /// The pool's annotation names it.
    Named {
        /// Its name.
        name: &'a str,
        /// The key in it; `None` unless the annotation has one.
        key: Option<&'a str>,
    },
    /// The pool's endpoint picker bears its name, as llm-d's chart has it.
    OfPicker {
        /// Its name.
        name: &'a str,
    },
}

impl<'a> ConfigurationSource<'a> {
    /// The source of a pool's configuration; `None` where it has neither the annotation nor an endpoint picker.
    pub fn of(pool: &'a InferencePool) -> Option<Self> {
        if let Some(annotation) = pool.meta.annotation(ENDPOINT_PICKER_CONFIG_ANNOTATION) {
            let (name, key) = annotation.split_once('/').map_or((annotation, None), |(name, key)| (name, Some(key.trim())));
            return Some(Self::Named { name: name.trim(), key: key.filter(|key| !key.is_empty()) });
        }
        let picker = pool.spec.endpoint_picker.as_ref()?;
        Some(Self::OfPicker { name: &picker.name })
    }

    /// The ConfigMap's name.
    pub fn name(self) -> &'a str {
        let (Self::Named { name, .. } | Self::OfPicker { name }) = self;
        name
    }
}
