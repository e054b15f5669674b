//! The statuses of all objects.

use std::collections::BTreeMap;

use super::{Condition, Note, Severity, Status, StatusBody};
use crate::resources::ObjectKey;

/// The status of every object that was compiled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses(BTreeMap<ObjectKey, Status>);

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
    /// What is the matter.
    pub message: &'a str,
}

impl Statuses {
    /// The status of one object.
    pub fn get(&self, object: &ObjectKey) -> Option<&Status> {
        self.0.get(object)
    }

    /// Every object with its status, by group, kind, namespace and name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ObjectKey, &Status)> {
        self.0.iter()
    }

    /// Whether the object is known and nothing of it fails; warnings do not count.
    pub fn is_accepted(&self, object: &ObjectKey) -> bool {
        self.0.get(object).is_some_and(|status| status.severity() < Severity::Error)
    }

    /// Everything that is not as asked, by object.
    pub fn problems(&self) -> Vec<Finding<'_>> {
        self.0.iter().flat_map(|(object, status)| findings(object, status)).collect()
    }

    pub(crate) fn set(&mut self, object: ObjectKey, body: StatusBody) {
        self.0.entry(object).or_default().body = body;
    }

    pub(crate) fn note(&mut self, object: ObjectKey, severity: Severity, message: impl Into<String>) {
        self.0.entry(object).or_default().notes.push(Note { severity, message: message.into() });
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the objects are just these, which come in the order of keys.
    pub(crate) fn covers<'a>(&self, objects: impl Iterator<Item = &'a ObjectKey>) -> bool {
        self.0.keys().eq(objects)
    }

    /// Makes the objects just these, which come in the order of keys: others are forgotten, and those of which nothing is said are
    /// put in.
    pub(crate) fn cover<'a>(&mut self, objects: impl Iterator<Item = &'a ObjectKey>) {
        let mut known = std::mem::take(&mut self.0).into_iter().peekable();
        // Both come in the order of keys.
        self.0 = objects
            .map(|key| {
                while known.next_if(|(before, _)| before < key).is_some() {}
                known.next_if(|(same, _)| same == key).unwrap_or_else(|| (key.clone(), Status::default()))
            })
            .collect();
    }

    /// Sees to it that the object has a status, if an empty one.
    pub(crate) fn mention(&mut self, object: ObjectKey) {
        self.0.entry(object).or_default();
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
