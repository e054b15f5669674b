//! Comparison with libraries that wrap deserializers.

use k8s_openapi::api::core::v1::Service;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::http_route::HttpRouteSpec;

type Decoded = (Result<String, (String, String)>, Vec<String>);

fn decode_tracked<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> Decoded {
    let mut ignored = Vec::new();
    let decoded = decode::<T>(value, "", &mut ignored).map_err(|(at, error)| (at, error.to_string()));
    (decoded.map(|decoded| format!("{decoded:?}")), ignored.into_iter().map(|field| field.path).collect())
}

/// The same by `serde_path_to_error` and `serde_ignored`.
fn reference<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> Decoded {
    let plain = |path: String| path.replace(".?", "").replace("?.", "").replace('?', "").trim_start_matches('.').to_owned();
    let (mut track, mut ignored) = (serde_path_to_error::Track::new(), Vec::new());
    let watched = serde_path_to_error::Deserializer::new(value, &mut track);
    let decoded = serde_ignored::deserialize::<_, _, T>(watched, |path| ignored.push(plain(path.to_string())));
    // One writes an item's place in brackets, the other behind a dot.
    let decoded = decoded.map_err(|error: Error| (dotted(plain(track.path().to_string())), error.to_string()));
    (decoded.map(|decoded| format!("{decoded:?}")), ignored)
}

fn dotted(path: String) -> String {
    path.replace('[', ".").replace(']', "").trim_start_matches('.').to_owned()
}

/// Values of the names and kinds that routes and Services have, in places where they may be right or wrong.
fn values() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-1..70_000i64).prop_map(Value::from),
        "(Exact|PathPrefix|URLRewrite|RequestHeaderModifier|TCP|/v1|gw|a\\.b|10s|1\\.5|http)".prop_map(Value::from),
    ];
    let name = "(rules|matches|path|type|value|filters|urlRewrite|requestHeaderModifier|set|name|backendRefs|port|weight|timeouts|\
                request|hostnames|parentRefs|spec|ports|targetPort|selector|clusterIP|x)";
    scalar.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_failures_and_unknown_fields_are_those_of_the_libraries(rules in values(), service in values()) {
        let route = json!({"rules": rules.clone(), "hostnames": [rules.clone()], "x": 1});
        let rule = json!({"rules": [{"matches": [{"path": rules.clone()}], "filters": [rules]}]});
        for (ours, theirs) in [
            (decode_tracked::<HttpRouteSpec>(route.clone()), reference::<HttpRouteSpec>(route)),
            (decode_tracked::<HttpRouteSpec>(rule.clone()), reference::<HttpRouteSpec>(rule)),
            (decode_tracked::<Service>(json!({"spec": service})), reference::<Service>(json!({"spec": service}))),
        ] {
            let ours = (ours.0.map_err(|(at, error)| (dotted(at), error)), ours.1.into_iter().map(dotted).collect());
            prop_assert_eq!(ours, theirs);
        }
    }
}
