//! Objects with their conditions, page by page: `/objects`, and what `/routes` has in common with it.

use std::collections::BTreeSet;

use pailou_compile::status::{Severity, Status, Statuses};
use serde_json::{Value, json};

use super::{query, routes_page};

/// Objects of an answer that does not say how many.
const DEFAULT_LIMIT: usize = 50;
/// Most objects of an answer.
pub(super) const MAX_LIMIT: usize = 200;

/// Objects that a request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageQuery {
    /// Text to look for, in lower case.
    search: String,
    /// Only objects that are not served as asked, or not all of it.
    problems: bool,
    /// Names to look for; all where there are none.
    names: BTreeSet<String>,
    /// Objects before the page.
    offset: usize,
    /// Most objects of the page.
    limit: usize,
}

impl PageQuery {
    /// Reads a query. What it does not know has no effect.
    pub(super) fn of_query(query: &str) -> Self {
        let value = |name| query::value(query, name);
        let number = |name| query::number(query, name);
        Self {
            search: value("search").unwrap_or_default().to_lowercase(),
            problems: value("problems").is_some_and(|value| matches!(&*value, "1" | "true")),
            names: query::values(query, "name", MAX_LIMIT).into_iter().collect(),
            offset: number("offset").unwrap_or(0),
            limit: number("limit").unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
        }
    }

    /// Whether an object with this status is wanted.
    pub(super) fn wants(&self, status: &Status) -> bool {
        !self.problems || status.severity() > Severity::Fine
    }

    /// Whether an object of this name is wanted.
    pub(super) fn names(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.contains(name)
    }

    /// Whether a text is looked for.
    pub(super) fn searches(&self) -> bool {
        !self.search.is_empty()
    }

    /// Whether the text that is looked for is in this one.
    pub(super) fn finds(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.search)
    }

    /// The page of all that was found, the offset of the next one, and how many there are.
    pub(super) fn page<T>(&self, found: Vec<T>) -> (Vec<T>, Option<usize>, usize) {
        let total = found.len();
        let page: Vec<T> = found.into_iter().skip(self.offset).take(self.limit).collect();
        let end = self.offset.saturating_add(page.len());
        (page, (end < total).then_some(end), total)
    }
}

/// The page of objects that are no routes.
pub(crate) fn page(query: &PageQuery, statuses: &Statuses) -> Value {
    let objects = statuses.iter().filter(|(key, status)| routes_page::kind(key).is_none() && query.wants(status));
    let named = objects.map(|(key, status)| match key.namespace.is_empty() {
        true => (key, key.name.to_string(), status),
        false => (key, format!("{}/{}", key.namespace, key.name), status),
    });
    let found = named.filter(|(key, name, _)| query.names(name) && query.finds(&format!("{} {name}", key.kind))).collect();
    let (page, next, total) = query.page(found);
    let rows = page.iter().map(|(key, name, status)| {
        json!({
            "kind": &*key.kind,
            "name": name,
            "severity": status.severity().name(),
            "conditions": conditions(status),
            "ignored": ignored(status),
        })
    });
    json!({"objects": rows.collect::<Vec<_>>(), "next": next, "total": total})
}

/// Conditions of an object, with the part of it that they are about.
pub(super) fn conditions(status: &Status) -> Vec<Value> {
    let lists = status.conditions();
    let all = lists.iter().flat_map(|(part, conditions)| conditions.iter().map(move |condition| (part, condition)));
    let row = |(part, condition): (&String, &pailou_compile::status::Condition)| {
        json!({
            "parent": part,
            "type": condition.kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "severity": condition.severity().name(),
        })
    };
    all.map(row).collect()
}

/// Fields of an object that are not acted on, and notes about it.
pub(super) fn ignored(status: &Status) -> BTreeSet<String> {
    let lists = status.conditions();
    let all = lists.iter().flat_map(|(_, conditions)| *conditions);
    let partly = all.filter(|condition| condition.kind == "PartiallySupported").map(|condition| &condition.message);
    status.notes.iter().map(|note| &note.message).chain(partly).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_bounded() {
        let query = PageQuery::of_query("search=A%2FB&offset=7&limit=9999&problems=1");
        assert_eq!(
            query,
            PageQuery { search: "a/b".to_owned(), problems: true, offset: 7, limit: MAX_LIMIT, ..PageQuery::default() }
        );
        assert_eq!(PageQuery::of_query("limit=x&offset=-1"), PageQuery { limit: DEFAULT_LIMIT, ..PageQuery::default() });
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let page = |query: &str| PageQuery::of_query(query).page((0..5).collect());
        assert_eq!(page("limit=2"), (vec![0, 1], Some(2), 5));
        assert_eq!(page("limit=2&offset=4"), (vec![4], None, 5));
        assert_eq!(page("limit=2&offset=18446744073709551615"), (vec![], None, 5));
    }
}
