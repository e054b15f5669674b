//! Names of the gateway's objects in spans: the same texts as their `Display`, without the machinery of formats.

use pailou_snapshot::{EndpointKey, ListenerName, Name, PathMatch, RouteName};
use pailou_telemetry::text_writer::TextWriter;

pub(super) fn push_name(text: &mut TextWriter<'_>, name: &Name) {
    text.push_all([&name.namespace, "/", &name.name]);
}

/// `namespace/gateway/listener`.
pub(super) fn push_listener(text: &mut TextWriter<'_>, name: &ListenerName) {
    push_name(text, &name.gateway);
    if let Some(set) = &name.set {
        text.push("/");
        push_name(text, set);
    }
    text.push_all(["/", &name.section]);
}

/// `HTTPRoute/namespace/name/rule`.
pub(super) fn push_rule(text: &mut TextWriter<'_>, name: &RouteName) {
    text.push_all([name.kind.name(), "/"]);
    push_name(text, &name.name);
    text.push("/");
    match &name.rule_name {
        Some(rule) => text.push(rule),
        None => text.push_number(name.rule.into()),
    }
}

/// A match's path as `http.route` has it.
pub(super) fn push_http_route(text: &mut TextWriter<'_>, path: &PathMatch) {
    match path {
        PathMatch::Exact(path) => text.push(path),
        PathMatch::Prefix(path) => text.push_all([path, "/*"]),
        PathMatch::Regex(regex) => text.push(regex.as_str()),
    }
}

/// A Service, a Backend or a pool.
pub(super) fn push_endpoints(text: &mut TextWriter<'_>, key: &EndpointKey) {
    let (kind, port, after) = match key {
        EndpointKey::Service(_, port) => ("service/", Some(port), ""),
        EndpointKey::UdpService(_, port) => ("service/", Some(port), "/udp"),
        EndpointKey::Backend(_) => ("backend/", None, ""),
        EndpointKey::Pool(_) => ("pool/", None, ""),
    };
    text.push(kind);
    push_name(text, key.name());
    if let Some(port) = port {
        text.push(":");
        text.push_number((*port).into());
    }
    text.push(after);
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;

    use pailou_snapshot::RouteKind;

    use super::*;
    use crate::http_attributes::HttpRoute;

    #[track_caller]
    fn agree(write: impl FnOnce(&mut TextWriter<'_>), shown: impl Display) {
        let mut out = Vec::new();
        write(&mut TextWriter::new(&mut out));
        assert_eq!(String::from_utf8(out).unwrap(), shown.to_string());
    }

    #[test]
    fn names_read_as_elsewhere() {
        let name = Name::new("shop", "web");
        for key in [
            EndpointKey::Service(name.clone(), 8080),
            EndpointKey::UdpService(name.clone(), 53),
            EndpointKey::Backend(name.clone()),
            EndpointKey::Pool(name.clone()),
        ] {
            agree(|text| push_endpoints(text, &key), &key);
        }
        for set in [None, Some(Name::new("team", "set"))] {
            let listener = ListenerName { gateway: name.clone(), set, section: "https".into() };
            agree(|text| push_listener(text, &listener), &listener);
        }
        for rule_name in [None, Some("first".into())] {
            let rule = RouteName { kind: RouteKind::Grpc, name: name.clone(), rule: 12, rule_name };
            agree(|text| push_rule(text, &rule), format_args!("GRPCRoute/{rule}"));
        }
        for path in [PathMatch::Exact("/a".into()), PathMatch::Prefix("/b".into()), PathMatch::Prefix("".into())] {
            agree(|text| push_http_route(text, &path), HttpRoute(&path));
        }
    }
}
