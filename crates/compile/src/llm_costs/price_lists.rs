//! ConfigMaps with prices of models. A list may have a megabyte: it is read again only if its ConfigMap is another one.

use std::{collections::HashMap, sync::Arc};

use pailou_api::ConfigMap;
use pailou_limits::ModelPrices;
use pailou_snapshot::Name;

/// Key with the list; another is read where it is the only one.
const KEY: &str = "model_prices_and_context_window.json";
/// Most entries of a list that a condition names.
const MAX_NAMED: usize = 5;

/// Lists by the name of their ConfigMap.
#[derive(Debug, Default)]
pub(super) struct PriceLists(HashMap<Name, (Arc<ConfigMap>, PriceList)>);

/// A list.
#[derive(Clone, Debug)]
pub(super) enum PriceList {
    /// Its prices, and entries that are left out.
    Read(Arc<ModelPrices>, Vec<String>),
    /// It cannot be read.
    Wrong(String),
}

impl PriceLists {
    /// The list of a ConfigMap, as these or those before have it, else read now.
    pub(super) fn read(&mut self, map: &Arc<ConfigMap>, before: &Self) -> PriceList {
        let name = Name::new(&map.meta.namespace, &map.meta.name);
        let known = [&*self, before].into_iter().find_map(|lists| lists.0.get(&name));
        let known = known.filter(|(object, _)| Arc::ptr_eq(object, map)).map(|(_, list)| list.clone());
        let list = known.unwrap_or_else(|| read(map));
        self.0.insert(name, (map.clone(), list.clone()));
        list
    }
}

fn read(map: &ConfigMap) -> PriceList {
    let data = &map.spec;
    let only = || {
        let mut keys = data.data.keys().chain(data.binary_data.keys());
        keys.next().filter(|_| keys.next().is_none())
    };
    let Some(text) = data.bytes(KEY).or_else(|| data.bytes(only()?)) else {
        return PriceList::Wrong(format!("it has no key {KEY}, and not just one key"));
    };
    match ModelPrices::parse(text) {
        Ok((prices, mut problems)) => {
            let more = problems.len().saturating_sub(MAX_NAMED);
            problems.truncate(MAX_NAMED);
            if more > 0 {
                problems.push(format!("{more} others"));
            }
            let name = format!("ConfigMap {}/{}", map.meta.namespace, map.meta.name);
            let problems = problems.into_iter().map(|problem| format!("{name}: {problem}")).collect();
            PriceList::Read(Arc::new(prices), problems)
        }
        Err(error) => PriceList::Wrong(error.to_string()),
    }
}
