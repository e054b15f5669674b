//! A list with entries of several controllers: `parents` of routes and pools, `ancestors` of policies.

use serde_json::Value;

use super::conditions;

/// Identity of entries in such a list.
pub(super) struct List<'a> {
    /// The field of an entry that says what it is about.
    pub(super) reference: &'static str,
    /// The most entries.
    pub(super) limit: usize,
    /// Whether we wrote a live entry for which the compiler makes none any more.
    pub(super) is_ours: &'a dyn Fn(&Value) -> bool,
}

impl List<'_> {
    /// The list with our entries as they are now.
    pub(super) fn merge(&self, live: &[Value], mut ours: Vec<Value>, now: &str) -> Vec<Value> {
        let mut merged = Vec::with_capacity(live.len().max(ours.len()));
        for entry in live {
            match ours.iter().position(|it| self.is_same(it, entry)) {
                Some(place) => merged.push(with_conditions(ours.remove(place), Some(entry), now)),
                None if (self.is_ours)(entry) => {}
                None => merged.push(entry.clone()),
            }
        }
        let room = self.limit.saturating_sub(merged.len());
        merged.extend(ours.into_iter().take(room).map(|entry| with_conditions(entry, None, now)));
        merged
    }

    /// Whether both are about the same and by the same controller. An entry without a controller, as in InferencePool v1alpha2,
    /// belongs to the one that serves its parent.
    fn is_same(&self, ours: &Value, live: &Value) -> bool {
        let controller = &ours["controllerName"];
        (controller.is_null() || live["controllerName"] == *controller)
            && Reference::of(&ours[self.reference]) == Reference::of(&live[self.reference])
    }
}

fn with_conditions(mut entry: Value, live: Option<&Value>, now: &str) -> Value {
    let before = live.and_then(|live| live["conditions"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let Value::Array(ours) = entry["conditions"].take() else { return entry };
    entry["conditions"] = conditions::merge(before, ours, now).into();
    // The same reference may be written with its defaults and without.
    if let (Some(live), Value::Object(fields)) = (live, &mut entry) {
        for field in ["parentRef", "ancestorRef"] {
            if let (Some(mine), Some(theirs)) = (fields.get_mut(field), live.get(field)) {
                let adds_nothing = mine
                    .as_object()
                    .zip(theirs.as_object())
                    .is_some_and(|(mine, theirs)| mine.iter().all(|(key, value)| theirs.get(key) == Some(value)));
                if adds_nothing {
                    *mine = theirs.clone();
                }
            }
        }
    }
    entry
}

/// The reference of an entry, with the API's defaults.
#[derive(PartialEq)]
struct Reference<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    section: Option<&'a str>,
    port: Option<u64>,
}

impl<'a> Reference<'a> {
    fn of(value: &'a Value) -> Self {
        Self {
            group: value["group"].as_str().unwrap_or("gateway.networking.k8s.io"),
            kind: value["kind"].as_str().unwrap_or("Gateway"),
            namespace: value["namespace"].as_str(),
            name: value["name"].as_str(),
            section: value["sectionName"].as_str(),
            port: value["port"].as_u64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const OURS: &str = "pailou.dev/gateway-controller";

    fn entry(controller: &str, gateway: &str, section: Option<&str>, time: Option<&str>) -> Value {
        let mut condition = json!({ "type": "Accepted", "status": "True", "reason": "Accepted", "message": "" });
        if let Some(time) = time {
            condition["lastTransitionTime"] = time.into();
        }
        let mut entry = json!({ "parentRef": { "name": gateway }, "controllerName": controller, "conditions": [condition] });
        if let Some(section) = section {
            entry["parentRef"]["sectionName"] = section.into();
        }
        entry
    }

    fn merge(live: &[Value], ours: Vec<Value>, limit: usize) -> Vec<Value> {
        let is_ours = |entry: &Value| entry["controllerName"] == OURS;
        List { reference: "parentRef", limit, is_ours: &is_ours }.merge(live, ours, "now")
    }

    #[test]
    fn entries_of_others_stay_where_they_are_even_about_the_same_parent() {
        let foreign = entry("example.com/other", "g", None, Some("then"));
        let live = [entry(OURS, "gone", None, Some("old")), foreign.clone(), entry(OURS, "g", None, Some("old"))];
        let merged = merge(&live, vec![entry(OURS, "g", None, None), entry(OURS, "g", Some("s"), None)], 32);
        assert_eq!(merged, [foreign, live[2].clone(), entry(OURS, "g", Some("s"), Some("now"))]);
    }

    #[test]
    fn a_reference_with_its_defaults_is_the_same_as_without() {
        let mut live = entry(OURS, "g", None, Some("old"));
        live["parentRef"]["group"] = "gateway.networking.k8s.io".into();
        live["parentRef"]["kind"] = "Gateway".into();
        assert_eq!(merge(std::slice::from_ref(&live), vec![entry(OURS, "g", None, None)], 32), [live]);
    }

    #[test]
    fn a_list_is_not_made_longer_than_it_may_be() {
        let live: Vec<Value> = (0..16).map(|it| entry("example.com/other", &format!("g{it}"), None, Some("t"))).collect();
        assert_eq!(merge(&live, vec![entry(OURS, "g", None, None)], 16), live);
    }

    fn entries() -> impl Strategy<Value = Vec<Value>> {
        let controller = prop_oneof![Just(OURS), Just("example.com/other"), Just("example.com/third")];
        let one = (controller, 0..4_u8, proptest::option::of(Just("s")), prop_oneof![Just("a"), Just("b")]);
        let make = |(controller, gateway, section, time): (&str, u8, Option<&str>, &str)| {
            entry(controller, &format!("g{gateway}"), section, Some(time))
        };
        proptest::collection::vec(one.prop_map(make), 0..12)
    }

    /// Ours alone, each about something else, as the compiler says them.
    fn desired() -> impl Strategy<Value = Vec<Value>> {
        proptest::collection::btree_set((0..4_u8, proptest::bool::ANY), 0..8).prop_map(|about| {
            let section = |some| if some { Some("s") } else { None };
            about.into_iter().map(|(gateway, some)| entry(OURS, &format!("g{gateway}"), section(some), None)).collect()
        })
    }

    fn of_others(list: &[Value]) -> Vec<&Value> {
        list.iter().filter(|entry| entry["controllerName"] != OURS).collect()
    }

    proptest! {
        #[test]
        fn entries_of_others_are_never_touched_and_a_second_time_changes_nothing(live in entries(), ours in desired()) {
            let once = merge(&live, ours.clone(), 32);
            prop_assert_eq!(of_others(&once), of_others(&live));
            prop_assert_eq!(once.len() - of_others(&once).len(), ours.len());
            prop_assert_eq!(merge(&once, ours, 32), once);
        }
    }
}
