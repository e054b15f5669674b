//! Costs of models' responses: a Gateway's GatewayConfig, and prices of its models.

mod price_lists;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    gateway::Gateways,
    gateway_costs::GatewayCosts,
    index::Index,
    status::{Condition, ConditionList, Problem, Severity, StatusBody, Statuses},
    warnings,
};
use pailou_api::{
    Gateway, GatewayConfig, ObjectKey,
    ai_gateway::{
        AI_GATEWAY_GROUP,
        gateway_config::{GATEWAY_CONFIG_ANNOTATION, MODEL_PRICES_ANNOTATION},
        llm_request_cost::{LlmRequestCost, LlmRequestCostType},
    },
    references::Reference,
};
use pailou_limits::{CostExpression, LlmCost, LlmCostEntry, LlmCosts, TokenCount};
use pailou_snapshot::Name;

use price_lists::{PriceList, PriceLists};

/// Most ConfigMaps with prices of one Gateway.
const MAX_LISTS: usize = 8;

/// Results of reading GatewayConfigs and price lists, kept while the objects stay the same ones.
#[derive(Debug, Default)]
pub(crate) struct CostCache {
    configs: HashMap<Name, CachedConfig>,
    lists: PriceLists,
}

#[derive(Debug)]
struct CachedConfig {
    object: Arc<GatewayConfig>,
    costs: Arc<ConfigCosts>,
}

/// Costs of a GatewayConfig.
type ConfigCosts = Vec<LlmCostEntry>;

/// Reads what the Gateways' annotations name, and writes down the GatewayConfigs' statuses.
pub(crate) fn apply(index: &Index<'_>, gateways: &mut Gateways<'_>, cache: &mut CostCache, statuses: &mut Statuses) {
    let before = std::mem::take(cache);
    let mut used = BTreeMap::new();
    for (_, gateway) in gateways.list.iter_mut() {
        gateway.costs = of_gateway(index, gateway.object, &before, cache, &mut used);
    }
    for object in index.gateway_configs.iter() {
        let key = ObjectKey::new(AI_GATEWAY_GROUP, "GatewayConfig", &object.meta.namespace, &object.meta.name);
        match used.get(&(&*object.meta.namespace, &*object.meta.name)) {
            Some(costs) => statuses.set(key, StatusBody::Conditions(ConditionList { conditions: conditions(object, costs) })),
            None => {
                let message =
                    format!("no Gateway names it: set the annotation {GATEWAY_CONFIG_ANNOTATION} of one in its namespace");
                statuses.note(key, Severity::Warning, message);
            }
        }
    }
}

/// GatewayConfigs in use by namespace and name.
type Used<'a> = BTreeMap<(&'a str, &'a str), Arc<ConfigCosts>>;

fn of_gateway<'a>(
    index: &Index<'a>,
    gateway: &Gateway,
    before: &CostCache,
    cache: &mut CostCache,
    used: &mut Used<'a>,
) -> GatewayCosts {
    let mut found = GatewayCosts::default();
    let (mut costs, mut lost_config, mut lacks_prices) = (ConfigCosts::new(), None, false);
    let (config, lists) = (Reference::gateway_config(gateway), Reference::model_prices(gateway).collect::<Vec<_>>());
    if config.is_none() && lists.is_empty() {
        return found;
    }
    if let Some(to) = config.map(|config| config.to) {
        match index.gateway_configs.shared(to.namespace, to.name) {
            Some(object) => {
                let read = of_config(object, before, cache);
                costs.clone_from(&read);
                used.insert((&object.meta.namespace, &object.meta.name), read);
            }
            None => {
                let problem = missing(GATEWAY_CONFIG_ANNOTATION, "GatewayConfig", to.namespace, to.name);
                lost_config = Some(Arc::from(&*problem.message));
                found.problems.push(problem);
            }
        }
    }
    if lists.len() > MAX_LISTS {
        let message = format!(
            "metadata.annotations[{MODEL_PRICES_ANNOTATION}]: {} ConfigMaps are named, of which {MAX_LISTS} are read",
            lists.len()
        );
        found.problems.push(Problem::refs("InvalidModelPrices", message));
    }
    let (mut prices, mut wrong) = (Vec::new(), Vec::new());
    for to in lists.iter().take(MAX_LISTS).map(|list| list.to) {
        let Some(map) = index.config_maps.shared(to.namespace, to.name) else {
            found.problems.push(missing(MODEL_PRICES_ANNOTATION, "ConfigMap", to.namespace, to.name));
            lacks_prices = true;
            continue;
        };
        match cache.lists.read(map, &before.lists) {
            PriceList::Read(list, left_out) => {
                prices.push(list);
                wrong.extend(left_out);
            }
            PriceList::Wrong(why) => {
                lacks_prices = true;
                let message =
                    format!("metadata.annotations[{MODEL_PRICES_ANNOTATION}]: ConfigMap {}/{}: {why}", to.namespace, to.name);
                found.problems.push(Problem::refs("InvalidModelPrices", message));
            }
        }
    }
    found.warning = (!wrong.is_empty()).then(|| {
        let message = format!("entries without a price: {}", wrong.join("; "));
        Condition::holds(warnings::PARTIALLY_SUPPORTED, "InvalidModelPrices", message, gateway.meta.generation)
    });
    found.costs = Some(Arc::new(LlmCosts::new(costs, prices).lacking(lost_config, lacks_prices)));
    found
}

fn missing(annotation: &str, kind: &str, namespace: &str, name: &str) -> Problem {
    let message = format!("metadata.annotations[{annotation}]: there is no {kind} {name} in namespace {namespace}");
    Problem::refs("RefNotFound", message)
}

fn of_config(object: &Arc<GatewayConfig>, before: &CostCache, cache: &mut CostCache) -> Arc<ConfigCosts> {
    let name = Name::new(&object.meta.namespace, &object.meta.name);
    let known = [&*cache, before].into_iter().find_map(|cache| cache.configs.get(&name));
    let known = known.filter(|known| Arc::ptr_eq(&known.object, object)).map(|known| known.costs.clone());
    let costs = known.unwrap_or_else(|| {
        let specs = object.spec.global_llm_request_costs.iter().enumerate();
        let read = specs.map(|(place, spec)| {
            let cost = cost(spec).map_err(|why| format!("spec.globalLLMRequestCosts[{place}].cel: {why}").into());
            (spec.metadata_key.as_str().into(), cost)
        });
        Arc::new(read.collect())
    });
    cache.configs.insert(name, CachedConfig { object: object.clone(), costs: costs.clone() });
    costs
}

fn cost(spec: &LlmRequestCost) -> Result<LlmCost, String> {
    let count = match spec.kind {
        LlmRequestCostType::InputToken => TokenCount::Input,
        LlmRequestCostType::CachedInputToken => TokenCount::CachedInput,
        LlmRequestCostType::CacheCreationInputToken => TokenCount::CacheCreationInput,
        LlmRequestCostType::OutputToken => TokenCount::Output,
        LlmRequestCostType::TotalToken => TokenCount::Total,
        LlmRequestCostType::ReasoningToken => TokenCount::Reasoning,
        LlmRequestCostType::Cel => {
            let text = spec.cel.as_deref().unwrap_or_default();
            let expression = CostExpression::parse(text).map_err(|error| error.to_string())?;
            return Ok(LlmCost::Expression(Arc::new(expression)));
        }
    };
    Ok(LlmCost::Tokens(count))
}

fn conditions(object: &GatewayConfig, costs: &[LlmCostEntry]) -> Vec<Condition> {
    let generation = object.meta.generation;
    let problems: Vec<_> = costs
        .iter()
        .filter_map(|(key, cost)| {
            let why = cost.as_ref().err()?;
            Some(Problem::accepted("NotAccepted", format!("{why}; a limit that charges {key} answers 500")))
        })
        .collect();
    let accepted = Condition::summary("Accepted", &problems, generation);
    std::iter::once(accepted).chain(warnings::unsupported(object.spec.unsupported(), generation)).collect()
}
