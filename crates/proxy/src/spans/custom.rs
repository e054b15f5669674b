//! Names and attributes of spans by the configuration: a rule's go before those of its Gateway's tracer.

use pailou_snapshot::{CustomSpans, LogText, SpanTag};
use pailou_telemetry::attributes::Attributes;

use crate::{
    gateway_log::{Facts, text_of},
    request_notes::RequestNotes,
    trace::{CustomNotes, KeptTrace},
};

/// The name that the configuration gives a span; `None` where it gives none.
pub(super) fn name<'r>(
    kept: &'r KeptTrace,
    of: fn(&CustomSpans) -> Option<&LogText>,
    facts: impl Fn(&'r RequestNotes) -> Facts<'r>,
) -> Option<String> {
    let (text, notes) = kept.custom.iter().rev().find_map(|custom| Some((of(&custom.spans)?, &custom.notes)))?;
    Some(text_of(text, &facts(notes), "")).filter(|name| !name.is_empty())
}

/// Appends the attributes that the configuration gives spans; those without a value are none.
pub(super) fn append<'r>(kept: &'r KeptTrace, attributes: &mut Attributes<'_>, facts: impl Fn(&'r RequestNotes) -> Facts<'r>) {
    for (place, CustomNotes { spans, notes, .. }) in kept.custom.iter().enumerate() {
        if spans.tags.is_empty() {
            continue;
        }
        let facts = facts(notes);
        let later = &kept.custom[place + 1..];
        for SpanTag { name, value, default } in &spans.tags {
            if later.iter().any(|other| other.spans.tags.iter().any(|tag| tag.name == *name)) {
                continue;
            }
            let text = text_of(value, &facts, "");
            let text = if text.is_empty() { default.as_deref() } else { Some(text.as_str()) };
            attributes.option(name, text);
        }
    }
}
