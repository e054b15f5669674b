//! The rules that a request met: the one that took it, and those that it beat.

use pailou_snapshot::{Contender, KnownRequest, Listener, Miss, RouteName, Rule, Snapshot};
use pailou_telemetry::receipt::{BeatenRule, MAX_BEATEN};

use super::listener;
use crate::{
    request_record::RequestRecord,
    stored_receipt::{RequestRules, RuleNotes},
};

/// Most matches of a host that are looked at for those that a request has not taken.
const MAX_MATCHES: usize = 512;
/// Matches of other paths that are named where no rule took the request.
const MAX_STRANGERS: usize = 3;

/// `HTTPRoute namespace/name/rule`.
pub(crate) fn rule_name(route: &RouteName) -> String {
    format!("{} {route}", route.kind.name())
}

/// The rules of a request that has ended, with what was noted of those that it beat.
pub(super) fn rules_of(record: &RequestRecord, notes: RuleNotes) -> RequestRules {
    let rule = record.rule.as_deref();
    RequestRules {
        listener: record.listener.as_ref().map(ToString::to_string).unwrap_or_default().into(),
        route: rule.map(|rule| rule_name(&rule.route)).unwrap_or_default().into(),
        filters: rule.map(Rule::filter_names).unwrap_or_default(),
        policies: rule.map(Rule::policy_names).unwrap_or_default(),
        notes,
    }
}

/// The rules that a request met, as far as they can still be told when it has ended.
pub(super) fn notes_of(record: &RequestRecord, snapshot: Option<&Snapshot>) -> RuleNotes {
    let found = snapshot.zip(record.listener.as_ref()).and_then(|(snapshot, name)| Some((snapshot, listener(snapshot, name)?)));
    let Some((snapshot, listener)) = found else { return RuleNotes::default() };
    let model = model_of(record);
    let base_model = model.and_then(|model| snapshot.base_models.get(model)).map(String::as_str);
    let path = pailou_snapshot::normalize_path(&record.path, listener.client.path);
    let path = path.as_ref().map_or(&*record.path, |normal| &normal.path);
    let request = KnownRequest { host: &record.host, method: &record.method, path, rest: None, model, base_model };
    let taken = record.rule.as_deref();
    if let Some(taken) = taken
        && !listener.routes.entries_of(&record.host).any(|entry| std::ptr::eq(&*entry.rule, taken))
    {
        return RuleNotes {
            note: Some("the configuration has changed since: the rules beaten are not known"),
            ..RuleNotes::default()
        };
    }
    rules(listener, &request, taken)
}

/// The model that a request was matched by.
pub(super) fn model_of(record: &RequestRecord) -> Option<&str> {
    record.replaced_model.as_deref().or(record.model.as_deref())
}

/// The matches of a listener that a request met. `taken`: the rule that it took, where only part of the request is known.
pub(crate) fn rules(listener: &Listener, request: &KnownRequest<'_>, taken: Option<&Rule>) -> RuleNotes {
    let mut notes = RuleNotes::default();
    let mut strangers = Vec::new();
    for contender in listener.routes.contenders(request, taken, MAX_MATCHES) {
        match &contender.miss {
            None => notes.by = contender.entry.to_string(),
            Some(Miss::Path) => {
                notes.others += 1;
                if strangers.len() < MAX_STRANGERS {
                    strangers.push(beaten(&contender));
                }
            }
            Some(_) if notes.beaten.len() <= MAX_BEATEN => notes.beaten.push(beaten(&contender)),
            Some(_) => {}
        }
    }
    if notes.beaten.is_empty() && notes.by.is_empty() {
        notes.others -= strangers.len();
        notes.beaten = strangers;
    }
    notes
}

fn beaten(contender: &Contender<'_>) -> BeatenRule {
    let miss = contender.miss.as_ref().map(ToString::to_string).unwrap_or_default();
    BeatenRule { rule: rule_name(&contender.entry.rule.route), by: contender.entry.to_string(), why: miss }
}
