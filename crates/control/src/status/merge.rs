//! Merges a compiled status into the one that the API server has.

use pailou_compile::status::{Status, StatusBody};
use serde_json::{Map, Value};

use super::{conditions, entries::List, ours::Ours};
use crate::source::status_cache::CachedStatus;

/// The most `parents` of a route or a pool.
const MAX_PARENTS: usize = 32;
/// The most `ancestors` of a policy.
const MAX_ANCESTORS: usize = 16;

/// The status as it should be; `None` if it is so already, or is not ours to write.
pub(super) fn merge(kind: &str, live: &CachedStatus, status: &Status, ours: &Ours<'_>, now: &str) -> Option<Value> {
    let before = match live.status.value() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let desired = match serde_json::to_value(&status.body) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut after = before.clone();
    match &status.body {
        StatusBody::Class(_) => {
            put(&mut after, "supportedFeatures", desired.get("supportedFeatures").cloned());
            merge_conditions(&mut after, &desired, now);
        }
        StatusBody::Gateway(_) => {
            put(&mut after, "addresses", desired.get("addresses").cloned());
            put(&mut after, "attachedListenerSets", desired.get("attachedListenerSets").cloned());
            merge_conditions(&mut after, &desired, now);
            let listeners = array(&desired, "listeners").iter().map(|desired| listener(desired, array(&before, "listeners"), now));
            after.insert("listeners".to_owned(), listeners.collect());
        }
        // These say not whose opinion it is: where another controller has one, two would overwrite each other without end.
        StatusBody::Conditions(_) if live.other_writer.is_some() => return None,
        StatusBody::Conditions(_) => merge_conditions(&mut after, &desired, now),
        StatusBody::Route { .. } => {
            merge_list(&mut after, &desired, ("parents", "parentRef", MAX_PARENTS), &|it| ours.is_stale(it), now)
        }
        StatusBody::Policy { .. } => {
            merge_list(&mut after, &desired, ("ancestors", "ancestorRef", MAX_ANCESTORS), &|it| ours.is_stale(it), now);
        }
        StatusBody::Pool { .. } => {
            merge_list(&mut after, &desired, ("parents", "parentRef", MAX_PARENTS), &|it| ours.is_stale_of_pool(it), now);
        }
        StatusBody::PoolV1Alpha2 { parent } => {
            let is_ours = |it: &Value| ours.is_stale_of_pool(it) || (!parent.is_empty() && is_placeholder(it));
            merge_list(&mut after, &desired, ("parent", "parentRef", MAX_PARENTS), &is_ours, now);
        }
        StatusBody::None => {
            for list in ["parents", "parent", "ancestors"] {
                withdraw(&mut after, list, kind, ours);
            }
        }
    }
    (after != before).then_some(Value::Object(after))
}

/// Whether this is what the API server puts into the status of an InferencePool v1alpha2 for want of anything else.
fn is_placeholder(entry: &Value) -> bool {
    entry["parentRef"]["kind"] == "Status" && entry["parentRef"]["name"] == "default"
}

/// Removes our entries from an object that is no longer ours to judge.
fn withdraw(after: &mut Map<String, Value>, list: &str, kind: &str, ours: &Ours<'_>) {
    if let Some(Value::Array(entries)) = after.get_mut(list) {
        let is_pool = kind == "InferencePool";
        entries.retain(|entry| !if is_pool { ours.is_stale_of_pool(entry) } else { ours.is_stale(entry) });
    }
}

fn merge_list(
    after: &mut Map<String, Value>,
    desired: &Map<String, Value>,
    (field, reference, limit): (&str, &'static str, usize),
    is_ours: &dyn Fn(&Value) -> bool,
    now: &str,
) {
    let live = array(after, field).to_vec();
    let desired = array(desired, field).to_vec();
    if live.is_empty() && desired.is_empty() {
        return;
    }
    let merged = List { reference, limit, is_ours }.merge(&live, desired, now);
    after.insert(field.to_owned(), merged.into());
}

fn merge_conditions(after: &mut Map<String, Value>, desired: &Map<String, Value>, now: &str) {
    let merged = conditions::merge(array(after, "conditions"), array(desired, "conditions").to_vec(), now);
    after.insert("conditions".to_owned(), merged.into());
}

/// One listener's status: the fields are ours, of the conditions those that are.
fn listener(desired: &Value, live: &[Value], now: &str) -> Value {
    let before = live.iter().find(|it| it["name"] == desired["name"]);
    let mut after = match (before, desired) {
        (Some(Value::Object(before)), Value::Object(desired)) => {
            let mut fields = before.clone();
            fields.extend(desired.clone());
            Value::Object(fields)
        }
        _ => desired.clone(),
    };
    let conditions = |value: Option<&Value>| value.and_then(|it| it["conditions"].as_array()).cloned().unwrap_or_default();
    after["conditions"] = conditions::merge(&conditions(before), conditions(Some(desired)), now).into();
    after
}

fn put(fields: &mut Map<String, Value>, field: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
}

fn array<'a>(fields: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    fields.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests;
