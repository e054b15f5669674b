//! Form of spans of model calls: contents by OpenTelemetry's variable, off by default, names by Agent Router's, and parts hidden by OpenInference's.

use pailou_proxy::model_spans::{ContentSides, ModelSpans, SpanConvention};
use pailou_telemetry::export::Signal;

use super::{Reader, Variables};

const CONTENT: &str = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT";
const CONVENTION: &str = "AI_GATEWAY_TRACING_SEMCONV";
/// Variables of which each hides a side: what is left of it would tell what is hidden, or nothing.
const HIDE_INPUTS: [&str; 4] = ["INPUTS", "INPUT_MESSAGES", "INPUT_TEXT", "PROMPTS"];
const HIDE_OUTPUTS: [&str; 4] = ["OUTPUTS", "OUTPUT_MESSAGES", "OUTPUT_TEXT", "CHOICES"];

/// Reads the variables. A value that is not known switches nothing on.
pub(crate) fn read(variables: &Variables<'_>) -> ModelSpans {
    let variables = Reader { variables, signal: Signal::Traces };
    let convention = match variables.text(CONVENTION).as_deref() {
        Some("openinference") => SpanConvention::OpenInference,
        None | Some("gen_ai") => SpanConvention::GenAi,
        Some(other) => {
            tracing::warn!("{CONVENTION}: {other:?}: expected gen_ai or openinference; gen_ai is in force");
            SpanConvention::GenAi
        }
    };
    ModelSpans { convention, content: content(&variables) }
}

fn content(variables: &Reader<'_>) -> Option<ContentSides> {
    let text = variables.text(CONTENT)?.to_ascii_lowercase();
    match text.as_str() {
        "true" | "span_only" | "span_and_event" => {}
        "false" | "no_content" | "event_only" => return None,
        _ => {
            tracing::warn!("{CONTENT}: expected true or false; spans have no contents");
            return None;
        }
    }
    let is_hidden = |names: [&str; 4]| {
        let is_set = |name| variables.text(&format!("OPENINFERENCE_HIDE_{name}")).is_some_and(|text| !is_no(&text));
        names.into_iter().any(is_set)
    };
    Some(ContentSides { inputs: !is_hidden(HIDE_INPUTS), outputs: !is_hidden(HIDE_OUTPUTS) })
}

/// Whether a text leaves a part shown. Any other hides it: a word that is spelt wrong must not.
fn is_no(text: &str) -> bool {
    text.eq_ignore_ascii_case("false") || text == "0"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_of(list: &[(&str, &str)]) -> ModelSpans {
        read(&|name: &str| list.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn contents_are_off_until_they_are_asked_for() {
        assert_eq!(read_of(&[]), ModelSpans::default());
        for value in ["false", "no_content", "event_only", "yes", "1"] {
            assert_eq!(read_of(&[(CONTENT, value)]).content, None, "{value}");
        }
        let both = Some(ContentSides { inputs: true, outputs: true });
        assert_eq!([read_of(&[(CONTENT, "true")]).content, read_of(&[(CONTENT, "SPAN_ONLY")]).content], [both, both]);
    }

    #[test]
    fn a_side_is_hidden_by_each_of_its_variables() {
        let sides = |name: &str, value| read_of(&[(CONTENT, "true"), (name, value)]).content.map(|it| (it.inputs, it.outputs));
        for name in ["INPUTS", "INPUT_MESSAGES", "INPUT_TEXT", "PROMPTS"] {
            assert_eq!(sides(&format!("OPENINFERENCE_HIDE_{name}"), "true"), Some((false, true)));
        }
        assert_eq!(sides("OPENINFERENCE_HIDE_OUTPUTS", "ture"), Some((true, false)), "a slip hides");
        assert_eq!(sides("OPENINFERENCE_HIDE_CHOICES", "false"), Some((true, true)));
    }

    #[test]
    fn a_convention_is_chosen_by_its_name() {
        assert_eq!(read_of(&[(CONVENTION, "openinference")]).convention, SpanConvention::OpenInference);
        assert_eq!(read_of(&[(CONVENTION, "other")]).convention, SpanConvention::GenAi);
    }
}
