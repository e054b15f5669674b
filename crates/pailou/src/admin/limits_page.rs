//! Counters of limits, page by page, as the admin endpoint shows them at `/limits`.

use pailou_limits::{CounterQuery, CounterView};
use serde_json::{Value, json};

use super::query;

/// Counters of a page: most, and those of a request that does not say.
pub(crate) const MAX_PAGE: usize = 1000;
/// Most counters before a page: all of them are copied for it.
const MAX_OFFSET: usize = 100_000;

/// Counters that a request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LimitsPage {
    /// Text in the rule's name.
    pub(crate) rule: Option<String>,
    /// Text in the client's name.
    pub(crate) client: Option<String>,
    /// Counters before the page.
    pub(crate) offset: usize,
    /// Most counters of the page.
    pub(crate) limit: usize,
}

impl LimitsPage {
    /// Reads a query. What it does not know has no effect.
    pub(crate) fn of_query(query: &str) -> Self {
        let value = |name| query::value(query, name);
        let number = |name| query::number(query, name);
        let limit = number("limit").unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
        let offset = number("offset").unwrap_or(0).min(MAX_OFFSET);
        Self { rule: value("rule"), client: value("client"), offset, limit }
    }

    /// The query that asks for it.
    pub(crate) fn query(&self) -> String {
        let mut query = format!("offset={}&limit={}", self.offset, self.limit);
        for (name, text) in [("rule", &self.rule), ("client", &self.client)] {
            let Some(text) = text else { continue };
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            query.push_str(&format!("&{name}={escaped}"));
        }
        query
    }

    /// The counters to look for: those of the page, those before it, and one that says whether there is another page.
    pub(crate) fn counters(&self) -> CounterQuery {
        CounterQuery { rule: self.rule.clone(), client: self.client.clone(), first: self.offset + self.limit + 1 }
    }

    /// The page, of the counters that were found.
    pub(crate) fn of(&self, counters: Vec<CounterView>) -> Value {
        let mut found = counters.into_iter().skip(self.offset);
        let page: Vec<Value> = found.by_ref().take(self.limit).map(|counter| shown(&counter)).collect();
        let next = found.next().map(|_| self.offset + page.len());
        json!({"counters": page, "next": next})
    }
}

fn shown(counter: &CounterView) -> Value {
    json!({
        "rule": &*counter.rule,
        "client": counter.client,
        "limit": counter.limit,
        "spent": counter.spent,
        "reserved": counter.reserved,
        "windowSeconds": counter.seconds,
        "resetsInSeconds": counter.reset,
        "shadow": counter.is_shadow,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(count: usize) -> Vec<CounterView> {
        let counter = |at: usize| CounterView {
            rule: format!("default/limits/rule/{}", at % 2).into(),
            client: format!("client-{at}"),
            limit: 10,
            seconds: 60,
            spent: 1,
            reserved: 0,
            reset: 30,
            is_shadow: false,
        };
        (0..count).map(counter).collect()
    }

    #[test]
    fn pages_follow_each_other_and_end() {
        let mut page = LimitsPage::of_query("limit=2");
        let mut seen = Vec::new();
        loop {
            let shown = page.of(counters(5));
            seen.extend(shown["counters"].as_array().unwrap().iter().map(|it| it["client"].as_str().unwrap().to_owned()));
            match shown["next"].as_u64() {
                Some(next) => page.offset = next as usize,
                None => break,
            }
        }
        assert_eq!(seen, ["client-0", "client-1", "client-2", "client-3", "client-4"]);
    }

    #[test]
    fn a_query_is_read_as_it_was_written() {
        let page = LimitsPage { rule: Some("a&b=ü".to_owned()), client: Some("x y".to_owned()), offset: 7, limit: 9 };
        assert_eq!(LimitsPage::of_query(&page.query()), page);
        assert_eq!(LimitsPage::of_query("limit=0&offset=x").limit, 1);
        assert_eq!(LimitsPage::of_query("limit=999999999").limit, MAX_PAGE);
        let wanted = LimitsPage::of_query("rule=rule/1&client=client-3&offset=999999999&limit=5").counters();
        assert_eq!(
            (wanted.rule.as_deref(), wanted.client.as_deref(), wanted.first),
            (Some("rule/1"), Some("client-3"), MAX_OFFSET + 6)
        );
    }
}
