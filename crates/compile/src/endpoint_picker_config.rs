//! llm-d's `EndpointPickerConfig`, as far as the built-in picker acts on it. The rest is named.

mod filters;
mod flow_control;
mod parsed;
mod plugin;
mod profiles;
mod scorers;

use std::{collections::BTreeMap, sync::Arc};

use pailou_api::endpoint_picker_config::{EndpointPickerConfig, PluginSpec};
use pailou_snapshot::{ContextRange, EndpointRole, KvEvents, ModelServer, Pool, Queueing, RoutingStrategy, ScorerWeights};

use crate::{disaggregation, kv_events, pool_annotations, queueing};

pub(crate) use self::parsed::ParsedConfigurations;
use self::{
    filters::{Filters, label_filter},
    plugin::PluginUse,
    profiles::{Prefills, StageProfiles},
};

/// Settings of a picker that its configuration file has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PickerConfiguration {
    scorers: Option<ScorerWeights>,
    /// Those of prompts that are prefilled elsewhere, where they have a profile of their own.
    prefill_scorers: Option<ScorerWeights>,
    prefills: Prefills,
    filters: Filters,
    kv_events: Option<KvEvents>,
    queueing: Option<Queueing>,
    max_concurrency: Option<u32>,
    runtime: Option<ModelServer>,
    /// Parts of the file that the picker does not act on, and why.
    pub unsupported: Vec<String>,
}

impl PickerConfiguration {
    /// Reads a file.
    ///
    /// # Errors
    /// It does not decode, names a field, plugin type or feature gate that does not exist, or refers to a plugin or profile that it does not
    /// have.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config = EndpointPickerConfig::parse(text)?;
        let mut configuration = Self::default();
        for (place, plugin) in config.plugins.iter().enumerate() {
            if config.plugins[..place].iter().any(|earlier| earlier.name() == plugin.name()) {
                return Err(format!("plugins[{place}]: there are two plugins {:?}", plugin.name()));
            }
            configuration.take_plugin(place, plugin)?;
        }
        configuration.take_profiles(&config)?;
        configuration.queueing = flow_control::queueing(&config, configuration.max_concurrency, &mut configuration.unsupported)?;
        for (field, is_there) in [("dataLayer", config.data_layer.is_some()), ("requestHandler", config.request_handler.is_some())]
        {
            if is_there {
                configuration
                    .note(field, "the picker reads engines' metrics and all forms of requests that it knows, without settings");
            }
        }
        for (field, reference) in [("parser", &config.parser), ("saturationDetector", &config.saturation_detector)] {
            if let Some(reference) = reference {
                plugin::find(&config.plugins, &reference.plugin_ref, field)?;
            }
        }
        Ok(configuration)
    }

    /// Engine of the pool, where the configuration names it.
    pub(crate) fn runtime(&self) -> Option<ModelServer> {
        self.runtime
    }

    /// Queueing, where the configuration switches it on.
    pub(crate) fn queueing(&self) -> Option<Queueing> {
        self.queueing
    }

    /// Gives a pool these settings. What the configuration does not have stays as the pool's annotations say it.
    pub(crate) fn apply(&self, pool: &mut Pool) {
        let all = || [self.scorers, self.prefill_scorers].into_iter().flatten();
        if all().next().is_some() {
            let has_prefixes = all().any(|weights| weights.prefix > 0.0 || weights.no_hit > 0.0);
            pool.strategy = if has_prefixes { RoutingStrategy::PrefixCache } else { RoutingStrategy::Load };
        }
        pool.scorers = self.scorers.map(Arc::new);
        pool.prefill_scorers = self.prefill_scorers.map(Arc::new);
        pool.kv_events = self.kv_events.or(pool.kv_events);
        pool.queueing = self.queueing.or(pool.queueing);
        match (self.prefills, &mut pool.disaggregation) {
            (Prefills::Never, disaggregation) => *disaggregation = None,
            (Prefills::From(tokens), Some(disaggregation)) => disaggregation.min_uncached_tokens = tokens,
            (Prefills::From(_), None) | (Prefills::AsPool, _) => {}
        }
    }

    /// Annotations that a pool may have and these settings take the place of.
    pub(crate) fn overridden(&self) -> Vec<&'static str> {
        let has_scorers = self.scorers.is_some() || self.prefill_scorers.is_some();
        let disaggregation = match self.prefills {
            Prefills::Never => &disaggregation::ANNOTATIONS[..],
            Prefills::From(_) => &[disaggregation::MIN_UNCACHED_ANNOTATION],
            Prefills::AsPool => &[],
        };
        let parts = [
            (self.runtime.is_some(), &[pool_annotations::RUNTIME_ANNOTATION][..]),
            (has_scorers, &[pool_annotations::STRATEGY_ANNOTATION]),
            (self.kv_events.is_some(), &kv_events::ANNOTATIONS),
            (self.queueing.is_some(), &queueing::ANNOTATIONS),
            (true, disaggregation),
        ];
        parts.into_iter().filter(|(is_set, _)| *is_set).flat_map(|(_, annotations)| annotations).copied().collect()
    }

    /// Role that its filters leave to a Pod of this one; `None`: requests never go there.
    pub(crate) fn role(&self, role: EndpointRole, labels: &BTreeMap<String, String>) -> Option<EndpointRole> {
        self.filters.role(role, labels)
    }

    /// Context lengths that a Pod is for, where they count.
    pub(crate) fn context(&self, labels: &BTreeMap<String, String>) -> Option<ContextRange> {
        self.filters.context(labels)
    }

    fn note(&mut self, what: &str, why: &str) {
        self.unsupported.push(format!("{what}: {why}"));
    }

    fn take_plugin(&mut self, place: usize, plugin: &PluginSpec) -> Result<(), String> {
        let at = format!("plugins[{place}]");
        let effect = plugin::effect(plugin, &format!("{at}.parameters"))
            .map_err(|error| if error.starts_with(&at) { error } else { format!("{at}.type: {error}") })?;
        match effect {
            PluginUse::Honoured => {}
            PluginUse::KvEvents(events) => self.kv_events = Some(events),
            PluginUse::MaxConcurrency(most) => self.max_concurrency = Some(most),
            PluginUse::Engine(engine) => self.runtime = Some(engine),
            PluginUse::ContextLabel(label) => {
                let other = self.filters.context_label.get_or_insert_with(|| label.clone());
                if *other != label {
                    return Err(format!("{at}.parameters.label: {label:?}; another plugin reads {other:?}, and one label is read"));
                }
            }
            PluginUse::Unsupported(why) => self.note(&format!("plugin {}", plugin.name()), &why),
        }
        Ok(())
    }

    fn take_profiles(&mut self, config: &EndpointPickerConfig) -> Result<(), String> {
        let StageProfiles { decode, prefill, prefills } = profiles::by_stage(config, &mut self.unsupported)?;
        self.prefills = prefills;
        self.scorers = scorers::weights(config, decode)?;
        let filters = |profile| {
            let all = plugin::of_profile(config, profile)?.into_iter();
            let filters =
                all.filter_map(|(place, plugin)| label_filter(plugin, &format!("plugins[{place}].parameters")).transpose());
            filters.collect::<Result<Vec<_>, String>>()
        };
        self.filters.decode = filters(decode)?;
        match prefill {
            Some(prefill) => {
                // Without scorers of its own it has those of nobody: any endpoint is as good.
                self.prefill_scorers = Some(scorers::weights(config, Some(prefill))?.unwrap_or_default());
                self.filters.prefill = filters(Some(prefill))?;
            }
            None => self.filters.prefill = self.filters.decode.clone(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
