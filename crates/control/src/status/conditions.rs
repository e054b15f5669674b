//! One list of conditions.

use serde_json::Value;

/// Types of conditions that this controller answers for. All others are someone else's.
const OURS: [&str; 13] = [
    "Accepted",
    "AddressesAssigned",
    "Aggregated",
    "Conflicted",
    "InsecureFrontendValidationMode",
    "Merged",
    "Overridden",
    "PartiallySupported",
    "Programmed",
    "ReplacesGatewaySettings",
    "ResolvedRefs",
    "SupportedVersion",
    "Warning",
];

/// The longest message that the API server takes, in characters.
const MAX_MESSAGE: usize = 32_768;
/// The most conditions in one list.
const MAX_CONDITIONS: usize = 8;

/// The list with our conditions as they are now. One whose status is as before keeps its time, all others get `now`.
pub(super) fn merge(live: &[Value], ours: Vec<Value>, now: &str) -> Vec<Value> {
    let mut ours: Vec<Value> = ours.into_iter().map(|condition| dated(condition, live, now)).collect();
    let mut merged = Vec::with_capacity(live.len().max(ours.len()));
    for condition in live {
        match ours.iter().position(|it| it["type"] == condition["type"]) {
            Some(place) => merged.push(ours.remove(place)),
            None if is_ours(condition) => {}
            None => merged.push(condition.clone()),
        }
    }
    let room = MAX_CONDITIONS.saturating_sub(merged.len());
    merged.extend(ours.into_iter().take(room));
    merged
}

/// Whether this controller answers for the condition.
fn is_ours(condition: &Value) -> bool {
    condition["type"].as_str().is_some_and(|kind| OURS.contains(&kind))
}

fn dated(mut condition: Value, live: &[Value], now: &str) -> Value {
    let before = live.iter().find(|it| it["type"] == condition["type"]);
    let time = before.filter(|it| it["status"] == condition["status"]).and_then(|it| it["lastTransitionTime"].as_str());
    condition["lastTransitionTime"] = time.unwrap_or(now).into();
    if let Some(Value::String(message)) = condition.get_mut("message")
        && let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE)
    {
        message.truncate(end);
    }
    condition
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn condition(kind: &str, status: &str, time: &str) -> Value {
        json!({ "type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": time })
    }

    fn desired(kind: &str, status: &str) -> Value {
        json!({ "type": kind, "status": status, "reason": "R", "message": "" })
    }

    #[test]
    fn the_time_changes_with_the_status_alone() {
        let live = [condition("Accepted", "True", "old"), condition("Programmed", "Unknown", "old")];
        let mut accepted = desired("Accepted", "True");
        accepted["reason"] = "Another".into();
        let merged = merge(&live, vec![accepted, desired("Programmed", "True"), desired("ResolvedRefs", "True")], "now");
        let times: Vec<_> = merged.iter().map(|it| it["lastTransitionTime"].as_str().unwrap()).collect();
        assert_eq!(times, ["old", "now", "now"]);
        assert_eq!(merged[0]["reason"], "Another");
    }

    #[test]
    fn what_others_say_stays_where_it_is() {
        let mut foreign = condition("example.com/Seen", "True", "then");
        foreign["more"] = json!({ "b": 1, "a": [2.5] });
        let live = [condition("ResolvedRefs", "False", "old"), foreign.clone(), condition("Accepted", "True", "old")];
        let merged = merge(&live, vec![desired("Accepted", "True")], "now");
        assert_eq!(merged, [foreign, live[2].clone()]);
        assert_eq!(merged[0].to_string(), live[1].to_string());
    }

    #[test]
    fn a_list_has_at_most_eight_and_a_message_an_end() {
        let live: Vec<Value> = (0..7).map(|it| condition(&format!("example.com/C{it}"), "True", "t")).collect();
        let mut long = desired("Accepted", "True");
        long["message"] = "é".repeat(40_000).into();
        let merged = merge(&live, vec![long, desired("Programmed", "True")], "now");
        assert_eq!(merged.len(), 8);
        assert_eq!(merged[7]["message"].as_str().unwrap().chars().count(), 32_768);
    }
}
