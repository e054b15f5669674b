//! Names of the conventions, of which Prometheus has other forms.

/// Beginnings of metrics whose names the conventions give.
const FAMILIES: [&str; 3] = ["gen_ai_", "http_server_", "http_client_"];
/// Parts of such names whose underscores stay.
const WORDS: [&str; 5] =
    ["active_requests", "time_to_first_token", "time_per_output_token", "time_to_first_chunk", "time_per_output_chunk"];
/// Labels of such metrics.
const LABELS: [(&str, &str); 16] = [
    ("error_type", "error.type"),
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_original_model", "gen_ai.original.model"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_response_model", "gen_ai.response.model"),
    ("gen_ai_system", "gen_ai.system"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("http_request_method", "http.request.method"),
    ("http_response_status_code", "http.response.status_code"),
    ("http_route", "http.route"),
    ("network_protocol_version", "network.protocol.version"),
    ("server_address", "server.address"),
    ("server_port", "server.port"),
    ("url_scheme", "url.scheme"),
    ("user_agent_original", "user_agent.original"),
];

/// A metric's name, and its unit where the name tells it.
pub(super) fn metric(name: &str) -> (String, &'static str) {
    let Some(family) = FAMILIES.iter().find(|family| name.starts_with(**family)) else {
        return (name.to_owned(), unit(name));
    };
    let rest = name[family.len()..].trim_end_matches("_seconds");
    let mut dotted = rest.replace('_', ".");
    for word in WORDS {
        dotted = dotted.replace(&word.replace('_', "."), word);
    }
    let unit = if name.ends_with("_seconds") || name.ends_with("_duration") { "s" } else { unit(name) };
    let beginning = match *family {
        "gen_ai_" => "gen_ai.",
        "http_server_" => "http.server.",
        _ => "http.client.",
    };
    (format!("{beginning}{dotted}"), unit)
}

/// A label's name.
pub(super) fn label<'l>(metric: &str, label: &'l str) -> &'l str {
    if !FAMILIES.iter().any(|family| metric.starts_with(family)) {
        return label;
    }
    LABELS.iter().find(|(known, _)| *known == label).map_or(label, |(_, name)| *name)
}

fn unit(name: &str) -> &'static str {
    let units =
        [("_seconds", "s"), ("_bytes", "By"), ("_tokens", "{token}"), ("_token_usage", "{token}"), ("_requests", "{request}")];
    units.into_iter().find(|(end, _)| name.ends_with(end)).map_or("", |(_, unit)| unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_conventions_have_dots_and_others_stay() {
        for (name, expected) in [
            ("gen_ai_server_time_to_first_token_seconds", ("gen_ai.server.time_to_first_token", "s")),
            ("gen_ai_client_token_usage", ("gen_ai.client.token.usage", "{token}")),
            ("http_server_request_duration_seconds", ("http.server.request.duration", "s")),
            ("http_server_active_requests", ("http.server.active_requests", "{request}")),
            ("pailou_request_body_bytes", ("pailou_request_body_bytes", "By")),
        ] {
            let (dotted, unit) = metric(name);
            assert_eq!((dotted.as_str(), unit), expected);
        }
        assert_eq!(label("gen_ai_client_token_usage", "gen_ai_token_type"), "gen_ai.token.type");
        assert_eq!(label("pailou_requests", "error_type"), "error_type");
    }
}
