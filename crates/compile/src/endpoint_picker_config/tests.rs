use super::*;

const HEAD: &str = "apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\n";

fn parse(text: &str) -> Result<PickerConfiguration, String> {
    PickerConfiguration::parse(&format!("{HEAD}{text}"))
}

/// The file of llm-d's guides.
const GUIDE: &str = "plugins:\n- type: decode-filter\n- type: queue-scorer\n- type: kv-cache-utilization-scorer\n- type: prefix-cache-scorer\n\
                     - type: no-hit-lru-scorer\n- type: max-score-picker\n- type: single-profile-handler\n\
                     schedulingProfiles:\n- name: default\n  plugins:\n  - {pluginRef: decode-filter}\n  - {pluginRef: max-score-picker}\n\
                     \x20 - {pluginRef: queue-scorer, weight: 2}\n  - {pluginRef: kv-cache-utilization-scorer, weight: 2}\n\
                     \x20 - {pluginRef: prefix-cache-scorer, weight: 3}\n  - {pluginRef: no-hit-lru-scorer, weight: 2}\n";

#[test]
fn the_guides_scorers_have_their_weights() {
    let configuration = parse(GUIDE).unwrap();
    assert!(configuration.unsupported.is_empty(), "{:?}", configuration.unsupported);
    let weights = configuration.scorers.unwrap();
    assert_eq!((weights.queue, weights.kv_cache, weights.prefix, weights.no_hit, weights.running), (2.0, 2.0, 3.0, 2.0, 0.0));
}

#[test]
fn without_profiles_every_scorer_weighs_1_and_without_scorers_the_picker_is_itself() {
    let weights = parse("plugins: [{type: queue-scorer}, {type: load-aware-scorer, parameters: {threshold: 10}}]\n")
        .unwrap()
        .scorers
        .unwrap();
    assert_eq!((weights.queue, weights.load_aware, weights.load_threshold), (1.0, 1.0, 10.0));
    assert_eq!(parse("plugins: [{type: max-score-picker}]\n").unwrap().scorers, None);
}

#[test]
fn events_and_queues_are_switched_on() {
    let configuration = parse(
        "featureGates: [flowControl]\nplugins:\n- {type: concurrency-detector, parameters: {maxConcurrency: 32}}\n\
         - type: precise-prefix-cache-producer\n  parameters: {kvEventsConfig: {podDiscoveryConfig: {socketPort: 5560, replaySocketPort: 5570}}}\n\
         flowControl: {maxRequests: 100, defaultRequestTTL: 5s, defaultPriorityBand: {maxBytes: 1Mi, maxRequests: 40}}\n",
    )
    .unwrap();
    let events = configuration.kv_events.unwrap();
    assert_eq!((events.port, events.replay_port), (5560, Some(5570)));
    let queueing = configuration.queueing.unwrap();
    assert_eq!((queueing.max_requests, queueing.max_bytes, queueing.max_concurrency), (40, 1 << 20, Some(32)));
    assert_eq!(queueing.timeout.as_secs(), 5);
    assert!(configuration.unsupported.is_empty(), "{:?}", configuration.unsupported);
}

/// The file that llm-d's chart makes, with its values' defaults and another engine.
const CHART: &str = "plugins:\n- type: queue-scorer\n- type: kv-cache-utilization-scorer\n- type: prefix-cache-scorer\n\
                     - {type: metrics-data-source, parameters: {scheme: http, path: /metrics, insecureSkipVerify: true}}\n\
                     - {type: core-metrics-extractor, parameters: {defaultEngine: sglang}}\n- type: passthrough-parser\n\
                     schedulingProfiles:\n- name: default\n  plugins:\n  - {pluginRef: queue-scorer, weight: 2}\n\
                     \x20 - {pluginRef: kv-cache-utilization-scorer, weight: 2}\n  - {pluginRef: prefix-cache-scorer, weight: 3}\n";

#[test]
fn the_charts_own_file_has_an_effect_as_a_whole() {
    let configuration = parse(CHART).unwrap();
    assert!(configuration.unsupported.is_empty(), "{:?}", configuration.unsupported);
    assert_eq!(configuration.runtime, Some(ModelServer::Sglang));
    let error = parse("plugins: [{type: core-metrics-extractor, parameters: {defaultEngine: sg-lang}}]\n").unwrap_err();
    assert!(error.contains("plugins[0].parameters.defaultEngine"), "{error}");
    let other_path = parse("plugins: [{type: metrics-data-source, parameters: {path: /stats}}]\n").unwrap();
    assert!(other_path.unsupported[0].contains("metrics-data-source"), "{:?}", other_path.unsupported);
}

#[test]
fn what_is_not_acted_on_is_named() {
    let configuration = parse(
        "plugins: [{type: weighted-random-picker}, {name: near, type: topology-affinity-scorer}, {type: utilization-detector, parameters: \
         {queueDepthThreshold: 9}}]\nflowControl: {enableEviction: true}\ndataLayer: {}\n",
    )
    .unwrap();
    for named in ["weighted-random-picker", "near", "utilization-detector", "flowControl", "dataLayer"] {
        assert!(configuration.unsupported.iter().any(|it| it.contains(named)), "{named}: {:?}", configuration.unsupported);
    }
    let evicting = parse("featureGates: [flowControl=true]\nflowControl: {enableEviction: true}\n").unwrap();
    assert!(evicting.queueing.unwrap().evicts && evicting.unsupported.is_empty(), "{:?}", evicting.unsupported);
}

#[test]
fn what_does_not_exist_is_an_error_that_names_its_place() {
    for (text, named) in [
        ("plugins: [{type: queue-scores}]\n", "plugins[0].type"),
        ("plugins: [{type: queue-scorer, parameters: {depth: 1}}]\n", "plugins[0].parameters.depth"),
        ("plugins: [{type: prefix-cache-scorer, parameters: {matchLengthWeight: 2}}]\n", "plugins[0].parameters.matchLengthWeight"),
        ("plugins: [{type: queue-scorer}, {type: queue-scorer}]\n", "plugins[1]"),
        ("schedulingProfiles: [{name: default, plugins: [{pluginRef: none}]}]\n", "schedulingProfiles[0].plugins[0].pluginRef"),
        ("featureGates: [flowcontrol]\n", "featureGates[0]"),
        ("featureGates: [flowControl=on]\n", "featureGates[0]"),
        ("flowControls: {}\n", "flowControls"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
    let weight = parse(
        "plugins: [{type: queue-scorer}]\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer, weight: -1}]}]\n",
    );
    assert!(weight.unwrap_err().contains("queue-scorer"));
}

/// Profiles for both stages, with a handler of these parameters.
fn apart(handler: &str) -> Result<PickerConfiguration, String> {
    parse(&format!(
        "plugins: [{{type: queue-scorer}}, {handler}, {{type: prefix-based-pd-decider, parameters: {{nonCachedTokens: 100}}}}, {{type: \
         always-disagg-pd-decider}}]\nschedulingProfiles:\n- {{name: prefill, plugins: [{{pluginRef: queue-scorer, weight: 9}}]}}\n- {{name: \
         decode, plugins: [{{pluginRef: queue-scorer, weight: 4}}]}}\n"
    ))
}

#[test]
fn each_stage_has_the_scorers_of_its_profile() {
    let by_prefix = "{type: disagg-profile-handler, parameters: {deciders: {prefill: prefix-based-pd-decider}}}";
    for handler in [by_prefix, "{type: pd-profile-handler}"] {
        let configuration = apart(handler).unwrap();
        assert_eq!(configuration.scorers.unwrap().queue, 4.0);
        assert_eq!(configuration.prefill_scorers.unwrap().queue, 9.0);
        assert_eq!(configuration.prefills, Prefills::From(100));
        assert!(configuration.unsupported.is_empty(), "{:?}", configuration.unsupported);
    }
    let swapped = "{type: disagg-profile-handler, parameters: {profiles: {decode: prefill, prefill: decode}}}";
    let configuration = apart(swapped).unwrap();
    assert_eq!((configuration.scorers.unwrap().queue, configuration.prefill_scorers.unwrap().queue), (9.0, 4.0));
    assert_eq!(configuration.prefills, Prefills::Never, "without a decider no prompt is prefilled elsewhere");
    let always = "{type: disagg-profile-handler, parameters: {deciders: {prefill: always-disagg-pd-decider}}}";
    assert_eq!(apart(always).unwrap().prefills, Prefills::From(1));
}

#[test]
fn profiles_that_no_handler_runs_are_refused_or_named() {
    for (handler, named) in [
        ("{type: max-score-picker}", "schedulingProfiles: 2 profiles need a handler"),
        ("{type: single-profile-handler}", "schedulingProfiles: 2 profiles need a handler"),
        ("{type: disagg-profile-handler}, {type: pd-profile-handler}", "plugins[2]: \"pd-profile-handler\" is a second"),
        ("{type: disagg-profile-handler, parameters: {profiles: {decode: d}}}", "there is no profile \"d\""),
        (
            "{type: disagg-profile-handler, parameters: {deciders: {prefill: d}}}",
            "plugins[1].parameters.deciders.prefill: there is no",
        ),
        ("{type: disagg-profile-handler, parameters: {deciders: {prefill: queue-scorer}}}", "decides on no prefill"),
        ("{type: disagg-profile-handler, parameters: {decider: a}}", "plugins[1].parameters.decider"),
    ] {
        let error = apart(handler).unwrap_err();
        assert!(error.contains(named), "{handler}: {error}");
    }
    let other = apart("{type: disagg-profile-handler, parameters: {profiles: {prefill: p}}}").unwrap();
    assert!(other.unsupported[0].contains("profile prefill"), "{:?}", other.unsupported);
    let by_header = apart("{type: header-profile-handler}").unwrap();
    assert_eq!((by_header.scorers.unwrap().queue, by_header.unsupported.len()), (9.0, 2), "{:?}", by_header.unsupported);
}

#[test]
fn filters_are_those_of_the_profiles() {
    let text = "plugins:\n- {name: fast, type: label-selector-filter, parameters: {matchLabels: {gpu: h100}, matchExpressions: [{key: zone, \
                operator: In, values: [a]}]}}\n- {name: old, type: by-label, parameters: {label: llm-d.ai/role, validValues: [decode], \
                allowsNoLabel: true}}\n- {type: context-length-aware, parameters: {enableFiltering: true}}\n";
    let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let all = parse(text).unwrap();
    assert!(all.unsupported.is_empty(), "{:?}", all.unsupported);
    assert_eq!(all.role(EndpointRole::Whole, &labels(&[("gpu", "h100"), ("zone", "a")])), Some(EndpointRole::Whole));
    assert_eq!(all.role(EndpointRole::Whole, &labels(&[("gpu", "h100"), ("zone", "b")])), None);
    assert!(all.scorers.is_some_and(|weights| weights.filters_context && weights.context_length == 1.0));
    assert!(all.context(&labels(&[("llm-d.ai/context-length-range", "0-9")])).is_some());
    let one = parse(&format!("{text}schedulingProfiles: [{{name: default, plugins: [{{pluginRef: old}}]}}]\n")).unwrap();
    assert_eq!(one.role(EndpointRole::Whole, &labels(&[("gpu", "a100")])), Some(EndpointRole::Whole));
    assert_eq!(one.role(EndpointRole::Whole, &labels(&[("llm-d.ai/role", "prefill")])), None);
    assert!(one.scorers.is_none());
    for (plugins, named) in [
        (
            "{type: context-length-aware}, {name: b, type: context-length-aware, parameters: {label: b}}",
            "plugins[1].parameters.label",
        ),
        (
            "{type: context-length-aware, parameters: {reusableTokensProducerName: p}}",
            "plugins[0].parameters.reusableTokensProducerName",
        ),
        ("{type: by-label, parameters: {label: a, matchLabels: {b: c}}}", "plugins[0].parameters.label"),
        ("{type: label-selector-filter, parameters: {matchLabel: {}}}", "plugins[0].parameters.matchLabel"),
    ] {
        let error = parse(&format!("plugins: [{plugins}]\n")).unwrap_err();
        assert!(error.contains(named), "{plugins}: {error}");
    }
}
