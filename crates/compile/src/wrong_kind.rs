//! Messages about references to a kind that their field cannot have.

use pailou_api::{Kind, parse::advice};

/// Object that a field names.
#[derive(Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) group: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) name: &'a str,
}

/// Problem and remedy. A kind by its right name in a wrong group is told as that.
pub(crate) fn message(named: Named<'_>, allowed: &[Kind]) -> String {
    let Named { group, kind, name } = named;
    if let Some(known) = allowed.iter().find(|known| known.name() == kind) {
        let group = if group.is_empty() { "empty".to_owned() } else { format!("{group:?}") };
        return match known.groups()[0] {
            "" => format!("{kind} {name}: group is {group}: leave it empty"),
            meant => format!("{kind} {name}: group is {group}: write {meant}"),
        };
    }
    let group_text = if group.is_empty() { "the core group".to_owned() } else { format!("group {group}") };
    if let Some(advice) = advice(group, kind) {
        return format!("{kind} {name} ({group_text}) is not served: {advice}");
    }
    format!("{kind} {name} ({group_text}) is not of a kind that the field can have: use {}", list(allowed))
}

/// Kinds with their groups, as the end of a sentence.
fn list(kinds: &[Kind]) -> String {
    let texts: Vec<_> = kinds
        .iter()
        .map(|kind| match kind.groups()[0] {
            "" => kind.name().to_owned(),
            group => format!("{} ({group})", kind.name()),
        })
        .collect();
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => texts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(group: &str, kind: &str, allowed: &[Kind]) -> String {
        message(Named { group, kind, name: "a" }, allowed)
    }

    #[test]
    fn a_wrong_group_is_told_as_that() {
        let backends = [Kind::Service, Kind::Backend, Kind::InferencePool];
        assert_eq!(told("", "InferencePool", &backends), "InferencePool a: group is empty: write inference.networking.k8s.io");
        assert_eq!(told("apps", "Service", &backends), "Service a: group is \"apps\": leave it empty");
        assert_eq!(
            told("apps", "Deployment", &backends),
            "Deployment a (group apps) is not of a kind that the field can have: use Service, Backend (gateway.envoyproxy.io) or \
             InferencePool (inference.networking.k8s.io)"
        );
        assert_eq!(
            told("aigateway.envoyproxy.io", "AIServiceBackend", &backends),
            "AIServiceBackend a (group aigateway.envoyproxy.io) is not served: write a Backend (gateway.envoyproxy.io), and a \
             BackendTLSPolicy on it"
        );
    }
}
