//! The statuses of all objects.

use std::sync::Arc;

use super::{Condition, Note, Severity, Status, StatusBody};
use crate::by_key::ByKey;
use pailou_api::ObjectKey;

/// The status of every object that was compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses(ByKey<Arc<Status>>);

/// Something that is not as asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding<'a> {
    /// The object.
    pub object: &'a ObjectKey,
    /// The part of it (a listener, a parent); empty for the whole.
    pub part: String,
    /// How bad it is.
    pub severity: Severity,
    /// The condition; `None` for a [`Note`].
    pub condition: Option<&'a Condition>,
    /// Problem and remedy.
    pub message: &'a str,
}

/// An object whose status has changed.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// The object.
    pub key: &'a Arc<ObjectKey>,
    /// Its status before, if it had one.
    pub before: Option<&'a Status>,
    /// Its status now.
    pub now: &'a Status,
}

impl Statuses {
    /// The status of one object.
    pub fn get(&self, object: &ObjectKey) -> Option<&Status> {
        self.0.get(object).map(|status| &**status)
    }

    /// Every object with its status, by group, kind, namespace and name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ObjectKey, &Status)> {
        self.0.iter().map(|(key, status)| (&**key, &**status))
    }

    /// Whether the object is known and nothing of it fails; warnings do not count.
    pub fn is_accepted(&self, object: &ObjectKey) -> bool {
        self.0.get(object).is_some_and(|status| status.severity() < Severity::Error)
    }

    /// Everything that is not as asked, by object.
    pub fn problems(&self) -> Vec<Finding<'_>> {
        let worth = self.0.iter().filter(|(_, status)| status.severity() > Severity::Fine);
        worth.flat_map(|(object, status)| findings(object, status)).collect()
    }

    /// Whether anything that is not as asked is another than before.
    pub fn differ_in_problems(&self, before: &Statuses) -> bool {
        let mut differences = before.0.differences(&self.0, |before, now| Arc::ptr_eq(before, now) || before == now);
        let is_worth = |status: Option<&Arc<Status>>| status.is_some_and(|status| status.severity() > Severity::Fine);
        differences.any(|(_, before, now)| is_worth(before) || is_worth(now))
    }

    pub(crate) fn set(&mut self, object: ObjectKey, body: StatusBody) {
        self.of(object).body = body;
    }

    pub(crate) fn note(&mut self, object: ObjectKey, severity: Severity, message: impl Into<String>) {
        self.of(object).notes.push(Note { severity, message: message.into() });
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The objects whose status is new or has changed. It lacks those that are gone.
    pub fn changed_since<'a>(&'a self, before: &'a Statuses) -> impl Iterator<Item = Changed<'a>> {
        let is_same = |before: &Arc<Status>, now: &Arc<Status>| Arc::ptr_eq(before, now) || before == now;
        let differences = before.0.differences(&self.0, is_same);
        differences.filter_map(|(key, before, now)| Some(Changed { key, before: before.map(|it| &**it), now: now? }))
    }

    /// Every status that has changed; an empty one for each object that is gone.
    pub(crate) fn news_since(&self, before: &Statuses) -> Vec<(Arc<ObjectKey>, Arc<Status>)> {
        let differences = before.0.differences(&self.0, |before, now| Arc::ptr_eq(before, now) || before == now);
        differences.map(|(key, _, now)| (key.clone(), now.cloned().unwrap_or_default())).collect()
    }

    /// All but those of these objects.
    pub fn without<'a>(&self, objects: impl IntoIterator<Item = &'a ObjectKey>) -> Self {
        let mut rest = self.clone();
        objects.into_iter().for_each(|object| rest.remove(object));
        rest
    }

    /// Whether the object is one of those that have a status.
    pub(crate) fn contains(&self, object: &ObjectKey) -> bool {
        self.0.contains_key(object)
    }

    /// Says this of an object.
    pub(crate) fn put(&mut self, object: &Arc<ObjectKey>, status: Arc<Status>) {
        self.0.insert(object.clone(), status);
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, object: &ObjectKey) {
        self.0.remove(object);
    }

    pub(crate) fn shared(&self) -> impl Iterator<Item = (&Arc<ObjectKey>, &Arc<Status>)> {
        self.0.iter()
    }

    /// Sees to it that the object has a status, if an empty one.
    pub(crate) fn mention(&mut self, object: ObjectKey) {
        self.of(object);
    }

    fn of(&mut self, object: ObjectKey) -> &mut Status {
        Arc::make_mut(self.0.entry(object))
    }
}

fn findings<'a>(object: &'a ObjectKey, status: &'a Status) -> Vec<Finding<'a>> {
    let conditions = status.conditions().into_iter().flat_map(|(part, list)| {
        list.iter().filter(|condition| condition.severity() > Severity::Fine).map(move |condition| Finding {
            object,
            part: part.clone(),
            severity: condition.severity(),
            condition: Some(condition),
            message: &condition.message,
        })
    });
    let notes = status.notes.iter().filter(|note| note.severity > Severity::Fine).map(|note| Finding {
        object,
        part: String::new(),
        severity: note.severity,
        condition: None,
        message: &note.message,
    });
    conditions.chain(notes).collect()
}
